"""Layers whose cells, mapping or array are others than those of the rest of the network."""

from __future__ import annotations

from collections.abc import Callable
from fnmatch import fnmatchcase
from typing import Any, Self

from pydantic import Field, model_validator

from everychip.array import Array
from everychip.config.component import Config, refusal
from everychip.devices import Device
from everychip.errors import ConfigError
from everychip.mapping import CellMapping


class Layer(Config):
    """What is different for the parameters that a pattern names; what is absent is the hardware's own.

    match: glob patterns of parameters or modules, as in `digital`. device, mapping, array: those of these
    layers.

    >>> from everychip.mapping import BitSliced
    >>> Layer(match=("conv1",), mapping=BitSliced(weight_bits=8)).names("conv1.weight")
    True
    """

    match: tuple[str, ...] = Field(min_length=1)
    device: Device | None = None
    mapping: CellMapping | None = None
    array: Array | None = None

    @model_validator(mode="before")
    @classmethod
    def _one_pattern_is_a_list_of_one(cls, data: Any) -> Any:
        if isinstance(data, dict) and isinstance(data.get("match"), str):
            return {**data, "match": (data["match"],)}
        return data

    @model_validator(mode="after")
    def _something_is_different(self) -> Self:
        if not self.changes():
            raise refusal((), "no device, mapping or array", "at least one that differs from the default")
        return self

    @property
    def label(self) -> str:
        """What is different, in words."""
        return "; ".join(_words(one) for one in self.changes().values())

    def names(self, name: str) -> bool:
        """Whether a pattern names this parameter or a module that holds it.

        Args:
            name: of a parameter.

        Returns:
            True where one does.
        """
        return any(matches(pattern, name) for pattern in self.match)

    def changes(self) -> dict[str, Any]:
        """What is different."""
        every = {"device": self.device, "mapping": self.mapping, "array": self.array}
        return {name: value for name, value in every.items() if value is not None}

    def with_sigma(self, sigma: float, default: float | None) -> Self:
        """These layers where the default's σ becomes another: their own keeps its ratio to it.

        Args:
            sigma: the default's new nominal σ, a fraction of G_max.
            default: what it was; without one, or with 0, these layers keep their own.

        Returns:
            The same layers at the new σ.
        """
        own = self.device.nominal_sigma if self.device is not None else None
        if self.device is None or own is None or not default:
            return self
        return self.replace(device=self.device.with_sigma(own * sigma / default))

    def at(self, time: float) -> Self:
        """These layers read at another time, where their own device ages.

        Args:
            time: seconds since programming.

        Returns:
            The same layers at that time.
        """
        aged = self.device is not None and self.device.ages
        return self.replace(device=self.device.at(time)) if self.device is not None and aged else self

    def with_array(self, change: Callable[[Array], Array]) -> Self:
        """These layers with their own array changed, where they have one.

        Args:
            change: from an array to another.

        Returns:
            The same layers with the other array.
        """
        return self if self.array is None else self.replace(array=change(self.array))


def _words(part: Config) -> str:
    """A device with its σ, or a mapping or an array, as a line names it."""
    if isinstance(part, Device):
        sigma = part.nominal_sigma
        return part.label if sigma is None else f"{part.label}, σ {sigma:g}"
    return getattr(part, "label", None) or _table(part)


def _table(part: Config) -> str:
    return ", ".join(f"{key} {value}" for key, value in part.table().items())


def must_be_alike(layers: tuple[Layer, ...], where: str) -> None:
    """Refuse layers with hardware of their own where one law is taken to hold for all.

    Args:
        layers: those of a hardware.
        where: what takes it so.
    """
    if layers:
        raise ConfigError(
            where,
            found=f"layers with other hardware ({', '.join(layers[0].match)})",
            expected="one device, mapping and array for all layers",
            remedy="no hardware.layers here, or another method",
        )


def matches(pattern: str, name: str) -> bool:
    """Whether a glob names the parameter itself or any module that holds it.

    >>> matches("layers.*", "layers.0.weight"), matches("fc", "fc2.weight")
    (True, False)
    """
    parts = name.split(".")
    return any(fnmatchcase(".".join(parts[:end]), pattern) for end in range(1, len(parts) + 1))
