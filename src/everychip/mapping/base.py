"""What every mapping is: weights onto conductances and back."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from everychip.config.component import Component
from everychip.devices import Device
from everychip.devices.base import standard_normal
from everychip.mapping.columns import OUTPUTS_FIRST, Columns
from everychip.mapping.quantize import integers, straight_through
from everychip.mapping.sign import Part, Sign, SignMagnitude


@dataclass(frozen=True)
class Slice:
    """One digit of every weight: its target and one draw of its deviation, in the weights' own unit.

    unit: what a cell at G_max counts for in this digit, in the same unit.
    """

    target: Float[Tensor, "*weights"]
    deviation: Float[Tensor, "*weights"]
    unit: Float[Tensor, ""]


class CellMapping(Component, family="mapping"):
    """How the weights of a layer become conductances. Pure: it returns new tensors.

    A kind says which cells hold a magnitude u, 0 … 1. With every kind compose:
    scale: which max|W| it is that G_max stands for: "layer", that of the whole layer; "column", that of each
    output (of each output channel), whose digital factor it then is. sign: how a weight's sign is held:
    sign_magnitude, differential or offset. on_off: G_max / G_min; the magnitude u is then the conductance
    g = G_min + (G_max − G_min)·u, and an error of g is 1 / (1 − 1/on_off) times that of u; absent, G_min = 0.
    full_scales: what G_max stands for where training has learned it, by the name of the parameter: one number
    for a layer, or one per column; weights beyond it are clipped. Absent, it is max|W|.
    """

    scale: Literal["layer", "column"] = "layer"
    sign: Sign = SignMagnitude()
    on_off: Annotated[float, Field(gt=1)] | None = None
    full_scales: dict[str, tuple[Annotated[float, Field(gt=0)], ...]] | None = None

    slicing: ClassVar[float | None] = None
    """What slices that are not held one by one leave of independent noise; None where each cell is held."""

    steps: ClassVar[int | None] = None
    """The steps of a magnitude that is rounded and held in digits; None where nothing is rounded."""

    @property
    def has_digits(self) -> bool:
        """Whether cells hold digits, so that a device may look up the level of each cell."""
        return self.steps is not None

    @abstractmethod
    def cells(self, magnitude: Float[Tensor, "*weights"]) -> list[tuple[float, Float[Tensor, "*weights"]]]:
        """The cells of magnitudes 0 … 1: what an error of each counts for, and what it holds, 0 … 1.

        Args:
            magnitude: |W| / max|W| of its column, 0 … 1.

        Returns:
            A weighting and a filling, 0 … 1, for each cell of a weight.
        """

    def table(self) -> dict[str, Any]:
        """The mapping as a TOML table; what is not used of the three has no key: runs keep ids."""
        unused = {n for n, field in CellMapping.model_fields.items() if getattr(self, n) == field.default}
        return {key: value for key, value in super().table().items() if key not in unused}

    def target(
        self, weight: Float[Tensor, "*weights"], *, columns: Columns = OUTPUTS_FIRST
    ) -> Float[Tensor, "*weights"]:
        """The weights that perfect cells would hold; the gradient passes straight through rounding.

        Args:
            weight: the weights, in their own unit.
            columns: which of the weights share a column.

        Returns:
            Weights of the same shape and unit.
        """
        if columns.full is not None:
            return self._at_learned_scale(weight, columns)
        return weight if self.steps is None else straight_through(weight, self._rounded(weight, columns))

    def _at_learned_scale(self, weight: Tensor, columns: Columns) -> Tensor:
        """The target where the full scale F is learned: clamp(W, ±F) + F·e, e the rounding error over F.

        What is clipped has the gradient of F, ±1, and all else that of a learned step, e = (round(v) − v) / Q
        at W = v·F/Q (Esser et al., ICLR 2020, eq. 3).
        """
        inside, full = columns.clipped(weight), columns.learned(weight)
        if self.steps is None or full is None:
            return inside
        with torch.no_grad():
            error = (self._rounded(inside, columns) - inside) / full
        return inside + full * error

    def _rounded(self, weight: Tensor, columns: Columns) -> Tensor:
        """What perfect cells hold of weights that are within their full scale."""
        assert self.steps is not None
        with torch.no_grad():
            full, held = self._full_scale(weight, columns), torch.zeros_like(weight)
            for part in self._parts(weight, full, columns):
                whole = integers(part.magnitude, steps=self.steps).to(weight.dtype) * part.gain
                held += columns.over_columns(whole, weight) if part.shared else part.signed(whole)
            rounded: Tensor = held * (full / self.steps)
            return rounded

    def deviation(
        self,
        weight: Float[Tensor, "*weights"],
        device: Device,
        rng: torch.Generator,
        *,
        columns: Columns = OUTPUTS_FIRST,
    ) -> Float[Tensor, "*weights"]:
        """One draw of the programmed weights less their target, in the weights' own unit.

        Args:
            weight: the weights, in their own unit.
            device: the cell.
            rng: the generator of the draw.
            columns: which of the weights share a column.

        Returns:
            In the shape and unit of the weights.
        """
        full, weight = self._full_scale(weight, columns), columns.clipped(weight)
        device, worth = self._law(device)
        if self._is_even(device):
            return standard_normal(weight, rng).mul_(self._even_spread(weight, full, device, worth))
        one_draw = self._draws_once
        errors = []
        for part in self._parts(weight, full, columns):
            if part.noisy:
                drawn = [(share, device.deviation(g, rng)) for share, g in self._held(part, worth)]
                if part.shared:
                    drawn = [(share, columns.over_columns(error, weight)) for share, error in drawn]
                error = _times(full, drawn)
                # The sign of the only draw of a symmetric law cannot matter.
                errors.append(error if one_draw and device.symmetric else part.signed(error))
        return sum(errors[1:], errors[0])

    def deviations(
        self,
        weight: Float[Tensor, "*weights"],
        device: Device,
        rngs: Sequence[torch.Generator],
        *,
        columns: Columns = OUTPUTS_FIRST,
    ) -> Float[Tensor, " chips *weights"]:
        """The draws of several chips, each what `deviation` draws with its own generator, to the bit.

        Args:
            weight: the weights, in their own unit.
            device: the cell.
            rngs: the generator of each chip's draw.
            columns: which of the weights share a column.

        Returns:
            Chips first, then in the shape and unit of the weights.
        """
        acting, worth = self._law(device)
        if not self._is_even(acting):
            return torch.stack([self.deviation(weight, device, rng, columns=columns) for rng in rngs])
        full, weight = self._full_scale(weight, columns), columns.clipped(weight)
        drawn = torch.empty((len(rngs), *weight.shape), dtype=weight.dtype, device=weight.device)
        for one, rng in zip(drawn, rngs, strict=True):
            one.normal_(generator=rng)
        return drawn.mul_(self._even_spread(weight, full, acting, worth))

    @property
    def _draws_once(self) -> bool:
        """Whether a weight is one cell that holds its magnitude as it is."""
        return self.steps is None and isinstance(self.sign, SignMagnitude)

    def _is_even(self, device: Device) -> bool:
        """Whether a weight's deviation is one normal draw, of a σ that all weights of a column share."""
        return self._draws_once and device.uniform_std is not None

    def _even_spread(self, weight: Tensor, full: Tensor, device: Device, worth: float) -> Tensor:
        """That σ, in the weights' own unit."""
        assert device.uniform_std is not None
        [(share, _)] = self._held(Part(weight), worth)
        return full * (share * device.uniform_std)

    def slices(
        self,
        weight: Float[Tensor, "*weights"],
        device: Device,
        rng: torch.Generator,
        *,
        columns: Columns = OUTPUTS_FIRST,
    ) -> list[Slice]:
        """The same draw as `deviation`, digit by digit from the lowest: what each slice of the weight holds.

        Args:
            weight: the weights, in their own unit.
            device: the cell.
            rng: the generator of the draw.
            columns: which of the weights share a column.

        Returns:
            One part for each digit, the lowest first.

        >>> import torch; from everychip.devices import Ideal; from everychip.mapping import BitSliced
        >>> whole = BitSliced(weight_bits=4, cell_bits=2, quantize=True)
        >>> [s.target for s in whole.slices(torch.tensor([1.0, -0.4]), Ideal(), torch.Generator())]
        [tensor([ 0.2000, -0.1333... tensor([ 0.8000, -0.2667])]
        """
        full, weight = self._full_scale(weight, columns), columns.clipped(weight)
        if self.steps is None:
            return [Slice(weight, self.deviation(weight, device, rng, columns=columns), full.amax())]
        found: dict[int, Slice] = {}
        for part in self._parts(weight, full, columns):
            held = zip(self.cells(part.magnitude), self._held(part), strict=True)
            for digit, ((share, u), (worth, g)) in enumerate(held):
                error = device.deviation(g, rng) * worth if part.noisy else torch.zeros_like(g)
                pair = (u * (share * part.gain), error)
                target, drawn = (
                    full * (columns.over_columns(v, weight) if part.shared else part.signed(v)) for v in pair
                )
                unit = full.amax() * abs(worth)
                before = found.get(digit, Slice(torch.zeros_like(weight), torch.zeros_like(weight), unit))
                found[digit] = Slice(before.target + target, before.deviation + drawn, unit)
        return list(found.values())

    def std(
        self, weight: Float[Tensor, "*weights"], device: Device, *, columns: Columns = OUTPUTS_FIRST
    ) -> Float[Tensor, "*weights"]:
        """The standard deviation σ_W of every programmed weight, in the weights' own unit.

        Args:
            weight: the weights, in their own unit.
            device: the cell.
            columns: which of the weights share a column.

        Returns:
            In the shape and unit of the weights.
        """
        full, weight = self._full_scale(weight, columns), columns.clipped(weight)
        device, worth = self._law(device)
        stds = []
        for part in self._parts(weight, full, columns):
            if part.noisy:
                own = [(share, device.std(g)) for share, g in self._held(part, worth)]
                stds += [(s, columns.over_columns(x, weight)) for s, x in own] if part.shared else own
        if len(stds) == 1:
            return _times(full, stds)
        variances = [(std * share).square() for share, std in stds]
        return _root(sum(variances[1:], variances[0])) * full

    def conductances(
        self, weight: Float[Tensor, "*weights"], *, columns: Columns = OUTPUTS_FIRST
    ) -> list[Float[Tensor, "*weights"]]:
        """The target conductance of every cell of every weight, in units of G_max: digits from the lowest.

        Of a differential pair the positive cells come first; an offset's reference, one per row, comes last.

        Args:
            weight: the weights, in their own unit.
            columns: which of the weights share a column.

        Returns:
            For each cell a tensor of the weights' shape, 0 … 1 of G_max.

        >>> import torch
        >>> from everychip.mapping import BitSliced
        >>> BitSliced(weight_bits=4, cell_bits=2, quantize=True).conductances(torch.tensor([1.0, 0.4]))
        [tensor([1.0000, 0.6667]), tensor([1.0000, 0.3333])]
        """
        full, weight = self._full_scale(weight, columns), columns.clipped(weight)
        parts = self._parts(weight, full, columns)
        return [g for part in parts for _, g in self._held(part)]

    def _full_scale(self, weight: Tensor, columns: Columns) -> Tensor:
        learned = columns.learned(weight)
        if learned is not None:
            return learned
        return columns.largest(weight) if self.scale == "column" else full_scale(weight)

    def _parts(self, weight: Tensor, full: Tensor, columns: Columns) -> tuple[Part, ...]:
        return self.sign.parts(_share_of(weight, full), columns=columns, steps=self.steps)

    def _law(self, device: Device) -> tuple[Device, float]:
        """What acts on a cell, and what its errors are multiplied by.

        Noise that averages over slices counts `slicing` times; a multiplicative or biased law is of the
        whole weight, and in a sequence each effect is what it is.
        """
        if self.slicing is None:
            return device, 1.0
        return (device, self.slicing) if device.averages else (device.sliced(self.slicing), 1.0)

    def _held(self, part: Part, worth: float = 1.0) -> list[tuple[float, Tensor]]:
        """The cells of a part: what one G_max of error counts for in units of max|W|, and the conductance."""
        cells = [(share * worth, u) for share, u in self.cells(part.magnitude)]
        if self.on_off is None:
            return [(share * part.gain, u) for share, u in cells]
        lowest = 1 / self.on_off
        return [(share * part.gain / (1 - lowest), lowest + (1 - lowest) * u) for share, u in cells]


def full_scale(weight: Float[Tensor, "*weights"]) -> Float[Tensor, ""]:
    """The weight that G_max stands for: max|W| of the layer, so that a layer of zeros has no noise.

    >>> import torch
    >>> full_scale(torch.tensor([[0.5, -2.0]]))
    tensor(2.)
    """
    return weight.abs().amax()


def conductance(weight: Float[Tensor, "*weights"]) -> Float[Tensor, "*weights"]:
    """The magnitudes as fractions of G_max: g = |W| / max|W|, and 0 in a layer of zeros.

    >>> import torch
    >>> conductance(torch.tensor([[0.5, -2.0]]))
    tensor([[0.2500, 1.0000]])
    """
    return _share_of(weight, full_scale(weight)).abs()


def _share_of(weight: Tensor, full: Tensor) -> Tensor:
    """W / max|W|, and 0 where all weights are."""
    return weight / torch.where(full > 0, full, torch.ones_like(full))


def _root(square: Tensor) -> Tensor:
    """The square root, with a gradient of 0 where it is 0: cells without noise say nothing of a weight."""
    return torch.where(square > 0, square, torch.ones_like(square)).sqrt() * (square > 0)


def _times(full: Tensor, cells: list[tuple[float, Tensor]]) -> Tensor:
    """max|W| · Σ share·value; the share of a single cell is multiplied into max|W|, which saves a pass."""
    if len(cells) == 1:
        [(share, value)] = cells
        return value * (full * share)
    return sum((value * share for share, value in cells[1:]), cells[0][1] * cells[0][0]) * full
