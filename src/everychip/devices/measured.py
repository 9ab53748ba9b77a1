"""A device as somebody measured it: bias and standard deviation as tables over the conductance."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, ClassVar, Self

import torch
from jaxtyping import Float
from pydantic import Field, model_validator
from torch import Tensor

from everychip.config.component import Config, refusal
from everychip.devices.ageing import Time, duration
from everychip.devices.base import Device, Sigma, standard_normal

Fraction = Annotated[float, Field(ge=0, le=1)]
CELL_PARTS = ("cell_to_cell", "device_to_device", "cycle_to_cycle")
"""The parts that every cell draws for itself; the remaining one, die_to_die, all cells share."""


class Law(Config):
    """What was measured at one time: tables over g, of equal length, everything in units of G_max.

    time: seconds after programming, or absent. g: the conductances of the table, ascending; outside of them
    nothing was measured, and the outermost values hold. bias: E[g'] − g.
    The parts of the standard deviation, whose variances add: cell_to_cell, cells programmed once each; or in
    its place device_to_device, the means of different cells, and cycle_to_cycle, one cell programmed again;
    die_to_die, what all cells of a die share.

    >>> Law(g=(0.0, 1.0), bias=(0.0, 0.0), cell_to_cell=(0.01, 0.03)).valid
    (0.0, 1.0)
    """

    time: Time | None = None
    g: Annotated[tuple[Fraction, ...], Field(min_length=2)]
    bias: tuple[float, ...]
    cell_to_cell: tuple[Sigma, ...] | None = None
    device_to_device: tuple[Sigma, ...] | None = None
    cycle_to_cycle: tuple[Sigma, ...] | None = None
    die_to_die: tuple[Sigma, ...] | None = None

    @model_validator(mode="after")
    def _tables_agree(self) -> Self:
        if any(high <= low for low, high in zip(self.g, self.g[1:], strict=False)):
            raise refusal(("g",), str(list(self.g)), "ascending conductances")
        for name in ("bias", *CELL_PARTS, "die_to_die"):
            values = getattr(self, name)
            if values is not None and len(values) != len(self.g):
                raise refusal((name,), f"{len(values)} values", f"{len(self.g)}, one for each g")
        if all(getattr(self, name) is None for name in (*CELL_PARTS, "die_to_die")):
            raise refusal((), "no standard deviation", "one of " + ", ".join((*CELL_PARTS, "die_to_die")))
        if self.cell_to_cell is not None and (self.device_to_device or self.cycle_to_cycle):
            raise refusal(
                ("cell_to_cell",),
                "the variation between cells twice",
                "cell_to_cell, or device_to_device and cycle_to_cycle",
            )
        return self

    def __repr_args__(self) -> Iterator[tuple[str | None, Any]]:
        """How many conductances, in which range, and which parts; the tables themselves are in `table()`."""
        yield from (("time", self.time), ("conductances", len(self.g)), ("valid", self.valid))
        yield "parts", [n for n in ("bias", *CELL_PARTS, "die_to_die") if getattr(self, n) is not None]

    @property
    def valid(self) -> tuple[float, float]:
        """The range of conductances that was measured, in units of G_max."""
        return self.g[0], self.g[-1]

    def bias_at(self, g: Float[Tensor, "*cells"]) -> Float[Tensor, "*cells"]:
        """E[g'] − g, interpolated linearly.

        Args:
            g: target conductances, 0 … 1 of G_max.

        Returns:
            The bias for every g, a fraction of G_max.
        """
        return interpolated(g, self.g, self.bias)

    def cells_at(self, g: Float[Tensor, "*cells"]) -> Float[Tensor, "*cells"]:
        """The standard deviation that every cell draws for itself.

        Args:
            g: target conductances, 0 … 1 of G_max.

        Returns:
            A standard deviation for every g, a fraction of G_max.
        """
        return self._together(g, CELL_PARTS)

    def std_at(self, g: Float[Tensor, "*cells"]) -> Float[Tensor, "*cells"]:
        """The standard deviation of all parts together.

        Args:
            g: target conductances, 0 … 1 of G_max.

        Returns:
            A standard deviation for every g, a fraction of G_max.
        """
        return self._together(g, (*CELL_PARTS, "die_to_die"))

    def _together(self, g: Tensor, names: tuple[str, ...]) -> Tensor:
        tables = [table for table in (getattr(self, name) for name in names) if table is not None]
        if not tables:
            return torch.zeros_like(g)
        parts = [interpolated(g, self.g, table) for table in tables]
        # A norm has a gradient at zero where the root of a sum of squares has none.
        return parts[0] if len(parts) == 1 else torch.linalg.vector_norm(torch.stack(parts), dim=0)


class Measured(Device):
    """A device from measurements: g' = g + bias(g) + σ_cell(g)·N(0, 1) + σ_die(g)·D, all in units of G_max.

    bias and σ are interpolated linearly between the conductances of a table; outside of its range its
    outermost values hold. σ_cell² = device_to_device² + cycle_to_cycle², or cell_to_cell² where the data do
    not tell these two apart. D ~ N(0, 1) is drawn once for each chip: a chip is one die, and all its cells
    move together, by σ_die at their conductance. Nothing is clipped at zero: what that did to the measured
    cells is in their bias and σ. The law is one of a cell, so the mapping has cells: `mapping = "direct"`, or
    `bit_sliced` with `quantize = true`.
    laws: the tables, one for each time. time: which of them holds, in seconds or as "1h"; a time between two
    measured ones is refused. die: D, the same for every chip; absent, each draws its own. g_max: G_max in µS.
    source: the file of measurements.

    `everychip device fit measured.csv --unit uS -o mydevice.toml` writes one; a recipe reads it with
    `hardware = { device = { file = "mydevice.toml" }, mapping = "direct" }`.

    Source: your measurements; this project's own estimator, everychip.device_fit.

    >>> import torch
    >>> law = Law(g=(0, 1), bias=(0.1, 0), cell_to_cell=(0, 0.2))
    >>> Measured(laws=(law,), g_max=25, source="a.csv").std(torch.tensor([0.0, 0.5, 1.0]))
    tensor([0.0000, 0.1000, 0.2000])
    """

    laws: Annotated[tuple[Law, ...], Field(min_length=1)]
    time: Time | None = None
    die: float | None = None
    g_max: Annotated[float, Field(gt=0)]
    source: str

    needs_cells: ClassVar[bool] = True
    """A law of one cell, which a mapping must not scale: a bias is no noise."""

    @model_validator(mode="after")
    def _time_was_measured(self) -> Self:
        times = [law.time for law in self.laws]
        if len(set(times)) < len(times):
            raise refusal(("laws",), "two laws of one time", "one law for each time")
        if self.time not in times and not (self.time is None and len(times) == 1):
            found = "no time" if self.time is None else f"{self.time:g} s, which was not measured"
            known = ", ".join("absent" if time is None else f"{time:g}" for time in times)
            raise refusal(("time",), found, f"one of the measured times: {known}; nothing is interpolated")
        return self

    @property
    def law(self) -> Law:
        """The tables that hold at `time`."""
        if self.time is None:
            return self.laws[0]
        return next(law for law in self.laws if law.time == self.time)

    @property
    def times(self) -> tuple[float, ...]:
        """The measured times in seconds."""
        return tuple(law.time for law in self.laws if law.time is not None)

    @property
    def ages(self) -> bool:
        """Whether there is another time to ask for."""
        return len(self.laws) > 1

    def at(self, time: float) -> Self:
        """The same device at another measured time, in seconds."""
        return self.replace(time=time)

    @property
    def symmetric(self) -> bool:  # type: ignore[override]
        """A bias has a direction, and so has a shift that all cells share."""
        return self.law.die_to_die is None and not any(self.law.bias)

    @property
    def label(self) -> str:
        """Its name, and the time where there are several."""
        name = super().label
        return name if self.time is None or not self.ages else f"{name} at {duration(self.time)}"

    @property
    def nominal_sigma(self) -> None:
        """A measured device is what it is: it has no σ to set."""
        return None

    def on_die(self, rng: torch.Generator) -> Self:
        """The device of one die, whose D is drawn unless it is given."""
        if self.law.die_to_die is None or self.die is not None:
            return self
        return self.replace(die=float(torch.randn((), generator=rng, device=rng.device)))

    def deviation(self, g: Float[Tensor, "*cells"], rng: torch.Generator) -> Float[Tensor, "*cells"]:
        law = self.law
        deviation = law.bias_at(g) + law.cells_at(g) * standard_normal(g, rng)
        if law.die_to_die is None:
            return deviation
        shared = standard_normal(g.new_empty(()), rng) if self.die is None else self.die
        return deviation + interpolated(g, law.g, law.die_to_die) * shared

    def mean(self, g: Float[Tensor, "*cells"]) -> Float[Tensor, "*cells"]:
        law, middle = self.law, g + self.law.bias_at(g)
        if law.die_to_die is None or self.die is None:
            return middle
        return middle + interpolated(g, law.g, law.die_to_die) * self.die

    def std(self, g: Float[Tensor, "*cells"]) -> Float[Tensor, "*cells"]:
        return self.law.std_at(g) if self.die is None else self.law.cells_at(g)


def interpolated(
    g: Float[Tensor, "*cells"], knots: tuple[float, ...], values: tuple[float, ...]
) -> Float[Tensor, "*cells"]:
    """Linear interpolation in a table, the outermost values held outside; its slope is its gradient.

    >>> interpolated(torch.tensor([-1.0, 0.25, 1.0]), (0.0, 0.5), (0.0, 2.0))
    tensor([0., 1., 2.])
    """
    x, y = (torch.tensor(table, dtype=torch.float64) for table in (knots, values))
    slope = y.diff() / x.diff()
    start = y[:-1] - slope * x[:-1]
    inside = g.clamp(knots[0], knots[-1])
    piece = torch.bucketize(inside.detach().contiguous(), x[1:-1].to(g))
    return start.to(g)[piece] + slope.to(g)[piece] * inside
