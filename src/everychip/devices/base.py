"""What every device is: a law from target conductance to programmed conductance."""

from __future__ import annotations

import tomllib
from abc import abstractmethod
from difflib import get_close_matches
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, ClassVar, Self

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from everychip.config.component import Component, merge, refusal
from everychip.config.toml import read_toml
from everychip.config.validation import Kind
from everychip.errors import ConfigError, known_names, shown

Sigma = Annotated[float, Field(ge=0, le=1_000)]

FACTS = ("source", "unit", "range")
"""What a preset says of itself beside its fields: its origin, the unit of its numbers, where it holds."""


class Device(Component, family="device"):
    """The physics of one memory cell. Conductances are fractions of G_max, 0 … 1.

    A device defines the deviation of the programmed from the target conductance; everything else follows:
    g' = g + deviation(g). name: what tables call the device, if not its kind; presets set it.
    """

    name: str | None = None

    example: ClassVar[str] = '{ kind = "gaussian", sigma = 0.1 }, in Python devices.Gaussian(sigma=0.1)'

    symmetric: ClassVar[bool] = True
    """Whether the deviation is distributed symmetrically about zero: then a weight's sign cannot matter."""

    needs_digits: ClassVar[bool] = False

    needs_cells: ClassVar[bool] = False
    """Whether the law is one of a whole cell (it has a bias, or was measured), so that none of it scales."""

    levels: ClassVar[int | None] = None
    """How many states a cell has, where that is not for the mapping to say."""

    @abstractmethod
    def deviation(self, g: Float[Tensor, "*cells"], rng: torch.Generator) -> Float[Tensor, "*cells"]:
        """One draw of g' − g for every cell, in units of G_max.

        Args:
            g: target conductances, 0 … 1 of G_max.
            rng: the generator of the draw.

        Returns:
            g' − g, a fraction of G_max, in the shape of g.
        """

    @abstractmethod
    def std(self, g: Float[Tensor, "*cells"]) -> Float[Tensor, "*cells"]:
        """The standard deviation of g' at target conductance g, in units of G_max.

        Args:
            g: target conductances, 0 … 1 of G_max.

        Returns:
            A standard deviation for every g, a fraction of G_max.
        """

    def program(self, g: Float[Tensor, "*cells"], rng: torch.Generator) -> Float[Tensor, "*cells"]:
        """One draw of the programmed conductance g' for every target g, both in units of G_max.

        Args:
            g: target conductances, 0 … 1 of G_max.
            rng: the generator of the draw.

        Returns:
            g', a fraction of G_max, in the shape of g.
        """
        return g + self.deviation(g, rng)

    def on_die(self, rng: torch.Generator) -> Self:
        """The device as the cells of one die have it: what all of them share, if anything, is drawn once.

        Args:
            rng: the generator of the draw.

        Returns:
            The device of one die.
        """
        del rng
        return self

    def mean(self, g: Float[Tensor, "*cells"]) -> Float[Tensor, "*cells"]:
        """The expected g' at target conductance g, in units of G_max: g itself unless the law has a bias.

        Args:
            g: target conductances, 0 … 1 of G_max.

        Returns:
            E[g'] for every g, a fraction of G_max.
        """
        return g

    @property
    def additive(self) -> bool:
        """Whether g' − g has the same symmetric law at every conductance, as read from `std` unless said."""
        std = self.std(torch.linspace(0, 1, 9, dtype=torch.float64))
        return self.symmetric and bool((std == std[0]).all())

    @property
    def averages(self) -> bool:
        """Whether independent errors of a weight's slices add up to one error of the whole weight.

        A multiplicative or biased law does not: it acts on the weight as a whole.
        """
        return self.additive

    def sliced(self, factor: float) -> Device:
        """The device as one cell in place of a weight's slices: σ·factor where errors average.

        Args:
            factor: what σ is multiplied by, without unit.

        Returns:
            The device of the one cell.
        """
        silent = self.averages and not bool(self.std(torch.zeros(1)).any())
        if silent or not self.averages:
            return self
        return self.with_sigma(factor * (self.nominal_sigma or 0.0))

    @property
    def uniform_std(self) -> float | None:
        """σ in units of G_max where g' = g + σ·N(0, 1) at every conductance (the fast path), else None."""
        return None

    @property
    def label(self) -> str:
        """The name that tables print."""
        return self.name or self.kind

    @property
    def ageless_label(self) -> str:
        """The label without a time, for tables that tell the time by itself."""
        return self.name or self.kind

    @property
    def nominal_sigma(self) -> float | None:
        """The σ this device is named by, or None where it has none."""
        return getattr(self, "sigma", None)

    def with_sigma(self, sigma: float) -> Self:
        """The same device at another nominal σ.

        Args:
            sigma: the nominal σ, a fraction of G_max.

        Returns:
            The same device at that σ.
        """
        if self.nominal_sigma is None:
            raise ConfigError(
                f"device {self.label}",
                found=f"that it has no nominal σ to set to {sigma:g}",
                remedy="use a device with one (gaussian, levels, log_normal, mismatch)",
            )
        return self.replace(sigma=sigma)

    @property
    def ages(self) -> bool:
        """Whether the law depends on the time since programming, so that the device answers `at`."""
        return type(self).at is not Device.at

    @property
    def age(self) -> float | None:
        """The time since programming at which a device that ages is read, in seconds."""
        return getattr(self, "time", None) if self.ages else None

    def at(self, time: float) -> Self:
        """The same device at another time since programming, in seconds.

        Args:
            time: seconds since programming.

        Returns:
            The same device at that time.
        """
        raise ConfigError(
            f"device {self.label}",
            found="that it does not age",
            expected="a device with a law over time (pcm, hermes, neurram, cmo_hfox)",
        )

    naming: ClassVar[tuple[str, ...]] = ("preset", "file")

    @classmethod
    def shorthand(cls) -> list[dict[str, Any]]:
        """A preset, or the file of a fitted device; fields beside it change what it says."""
        preset = {"enum": sorted(presets()), "description": "A device as published: `everychip devices`."}
        file = {"type": "string", "description": "The TOML of a device, relative to the recipe."}
        return [
            {"type": "object", "properties": {name: value}, "required": [name]}
            for name, value in (("preset", preset), ("file", file))
        ]

    @classmethod
    def expand(cls, data: dict[str, Any]) -> dict[str, Any]:
        """Replace `preset = "RRAM1"`, or `file = "mydevice.toml"`, by the table that it names."""
        if "file" in data:
            return cls.expand(_from_file(data))
        if str(data.get("kind")).endswith(".toml"):
            raise refusal(("kind",), f"the file {shown(data['kind'])}", f'{{ file = "{data["kind"]}" }}')
        if str(data.get("kind")) in presets():
            raise refusal(("kind",), f"the preset {data['kind']!r}", f'{{ preset = "{data["kind"]}" }}')
        if "preset" not in data:
            _refuse_near_preset(data.get("kind"))
            return data
        name, known = data.pop("preset"), presets()
        if str(name) not in known:
            found = f"unknown preset {shown(name)}"
            raise refusal(("preset",), found, known_names(str(name), known), kind=Kind.UNKNOWN)
        table = {key: value for key, value in known[name].items() if key not in FACTS}
        return merge({"name": name, **table}, data)


def _refuse_near_preset(kind: Any) -> None:
    """Refuse a kind that no device has and that is nearly the name of a preset, such as RRAM-1."""
    if not isinstance(kind, str) or kind in Device.registry or kind in Device.kinds():
        return
    near = get_close_matches(kind, presets(), n=1)
    if near and not get_close_matches(kind, Device.kinds(), n=1):
        found = f"unknown device {kind!r}"
        raise refusal(("kind",), found, f'did you mean {{ preset = "{near[0]}" }}?', kind=Kind.UNKNOWN)


def _from_file(data: dict[str, Any]) -> dict[str, Any]:
    """The table of a device file, with the other keys laid over it; its name is the file's if it has none."""
    named = data.pop("file")
    if not isinstance(named, str):
        raise refusal(("file",), repr(named), "the path of a device's TOML file")
    path = Path(named)
    try:
        table = read_toml(path)
    except ConfigError as error:
        expected = f"{error.expected or 'TOML'}, as `everychip device fit` writes one from measured cells"
        raise refusal(("file",), f"{named}: {error.found.lower()}", expected) from None
    if "file" in table or not ("kind" in table or "preset" in table):
        raise refusal(("file",), f"{named}, which is no device", "a TOML file with a kind and its keys")
    return merge({"name": path.stem, **table}, data)


@cache
def presets() -> dict[str, dict[str, Any]]:
    """The shipped devices by name, each with its source.

    >>> presets()["RRAM-Milo"]["range"]
    '50 … 225 µS, right after programming'
    """
    return tomllib.loads(files("everychip.devices").joinpath("presets.toml").read_text(encoding="utf-8"))


def preset(name: str, **fields: Any) -> Device:
    """A shipped device by its name in the papers, with some fields set.

    Args:
        name: as the papers have it: `everychip devices`.
        fields: those of its kind that are to differ.

    Returns:
        The device.

    >>> preset("FeFET6", sigma=0.1).label
    'FeFET6'
    """
    return Device.parse({"preset": name, **fields})


def standard_normal(like: Tensor, rng: torch.Generator) -> Tensor:
    """Independent N(0, 1) draws in the shape of `like`.

    They are sampled contiguously, which is five times faster and makes them the same in every memory layout,
    and then laid out as `like` is, because arithmetic on mixed layouts is slow.
    """
    noise = torch.empty(like.shape, dtype=like.dtype, device=like.device).normal_(generator=rng)
    return noise if like.is_contiguous() else torch.empty_like(like, requires_grad=False).copy_(noise)
