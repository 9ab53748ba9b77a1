"""One read of an array: inputs through the DAC, tile by tile through the cells and the ADC, sums."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from everychip.array.base import Ranges
from everychip.array.cells import Cells, RangeObserver
from everychip.array.converters import codes, largest, largest_sums, step
from everychip.array.input_range import unclipped
from everychip.array.product import Product
from everychip.array.tiles import RowOfTiles, Tiling, tiling
from everychip.devices.base import standard_normal
from everychip.errors import ConfigError

_HALF = (torch.bfloat16, torch.float16)


class Read(torch.autograd.Function):
    """y = product(x, W) as the array computes it; backward as if W had met the DAC's values exactly.

    weight: the tensor that gradients go to; what the cells hold is in `cells`. full: a learned range of the
    DAC (`InputRange`), which has a gradient of its own; None, it is fixed or that of the inputs.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, full: Tensor | None, cells: Cells, product: Product
    ) -> Tensor:
        reading = Reading.of(x, cells, product, full=full)
        ctx.save_for_backward(x, weight, full)
        ctx.reading = reading
        return reading.outputs(x)

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> Any:
        x, weight, full = ctx.saved_tensors
        reading: Reading = ctx.reading
        with torch.no_grad():
            error = reading.converted(x) - x
        at_x, at_weight, at_full = ctx.needs_input_grad[:3]
        needed = at_x or at_full, at_weight
        of_x, of_weight = reading.product.gradients(slope, x + error, weight, needed=needed)
        if full is None or of_x is None or reading.cells.dac is None:
            return of_x, of_weight, None, None, None
        of_full = reading.cells.dac.gradient(x, of_x) if at_full else None
        return unclipped(of_x, x, full) if at_x else None, of_weight, of_full, None, None


@dataclass(frozen=True)
class Reading:
    """What one read knows before it begins.

    full: the DAC's range. ranges: of all converters, if fixed. clips: whether inputs may be beyond the DAC's.
    """

    cells: Cells
    product: Product
    plan: Tiling
    full: Tensor
    ranges: Ranges | None
    dtype: torch.dtype
    clips: bool

    @classmethod
    def of(cls, x: Tensor, cells: Cells, product: Product, *, full: Tensor | None = None) -> Reading:
        """Prepare a read of these inputs; full: a learned range; without any, the largest of them is it."""
        array = cells.array
        plan = tiling(product, cells.slices[0], rows=array.rows, columns=array.columns)
        ranges = (array.ranges or {}).get(cells.name)
        if ranges is not None:
            _must_fit(ranges, cells, plan)
        precision = torch.float32 if x.dtype in _HALF else x.dtype
        clips = full is not None or ranges is not None
        if full is None:
            full = largest(x.detach()) if ranges is None else _tensor(ranges.dac, like=x)
        reading = cls(cells, product, plan, full.detach().to(precision), ranges, x.dtype, clips)
        if cells.observers is not None:
            reading.observer.observe_inputs(reading.full, x)
        return reading

    @property
    def observer(self) -> RangeObserver:
        """What records the largest values of this read."""
        assert self.cells.observers is not None
        return self.cells.observers.setdefault(self.cells.name, RangeObserver())

    @property
    def unit(self) -> Tensor:
        """What the DAC's smallest step counts for."""
        bits = self.cells.array.dac_bits
        return torch.ones_like(self.full) if bits is None else step(self.full, bits)

    def converted(self, x: Tensor) -> Tensor:
        """The inputs as the DAC gives them."""
        return x if self.cells.array.dac_bits is None else (self._dac(x) * self.unit).to(x.dtype)

    def outputs(self, x: Tensor) -> Tensor:
        """The digital sums over tiles and slices, times the gain."""
        total: Tensor | None = None
        for row, tile in enumerate(self.plan.rows):
            whole = len(self.plan.rows) == 1
            voltages = self._dac(x if whole else tile.of_inputs(x, self.product)).to(self.dtype)
            for part in range(len(self.cells.slices)):
                sums, unit = self._sums(voltages, tile, row=row, part=part)
                if total is None:
                    total = sums if unit is None else sums.mul_(unit)
                else:
                    total = total.add_(sums) if unit is None else total.addcmul_(sums, unit)
        assert total is not None
        return (total if self.cells.gain == 1 else total.mul_(self.cells.gain)).to(self.dtype)

    def _dac(self, x: Tensor) -> Tensor:
        """The inputs in units of the DAC's smallest step."""
        bits = self.cells.array.dac_bits
        if bits is None:
            return x
        return codes(x.to(self.full.dtype) * self.unit.reciprocal(), bits, clip=self.clips)

    def _sums(
        self, voltages: Tensor, tile: RowOfTiles, *, row: int, part: int
    ) -> tuple[Tensor, Tensor | None]:
        """The converted sums of a row of tiles, and what one counts for (None: they are in full)."""
        array = self.cells.array
        held = tile.of_weight(self.cells.slices[part].detach(), self.product).to(self.full.dtype)
        if array.adc_bits is None or self.ranges is None:
            sums = self._analog(voltages, held * self.unit, noise=self._noise(part))
            if array.adc_bits is None:
                return sums, None
            full = self._largest(sums, row=row, part=part)
            unit = self.plan.per_output(step(full, array.adc_bits))
            sums.mul_(self._over_outputs(unit.reciprocal(), sums))
        else:
            full = _tensor(self.ranges.adc[part][row], like=held).to(held.dtype)
            unit = self.plan.per_output(step(full, array.adc_bits))
            # One multiplication of the weights gives the sums in units of the ADC's step.
            scaled = held * self.product.per_output(self.unit / unit, held)
            noise = self._noise(part)
            sums = self._analog(voltages, scaled, noise=None if noise is None else noise / unit)
        if array.adc_noise:
            assert self.cells.rng is not None
            sums.add_(standard_normal(sums, self.cells.rng), alpha=array.adc_noise)
        clip = self.ranges is not None or array.adc_percentile < 100
        return codes(sums, array.adc_bits, clip=clip), self._over_outputs(unit, sums)

    def _analog(self, voltages: Tensor, held: Tensor, *, noise: Tensor | None) -> Tensor:
        """What the columns carry: products in the precision that was requested, then float32."""
        sums = self.product(voltages, held.to(self.dtype)).to(self.full.dtype)
        if noise is None:
            return sums
        assert self.cells.rng is not None
        spread = noise if noise.ndim == 0 else self._over_outputs(noise, sums)
        return sums.add_(standard_normal(sums, self.cells.rng).mul_(spread))

    def _noise(self, part: int) -> Tensor | None:
        """The standard deviation of a sum's noise, in the units of the network."""
        array = self.cells.array
        return array.read_noise * self.cells.units[part] * self.full if array.read_noise else None

    def _largest(self, sums: Tensor, *, row: int, part: int) -> Tensor:
        found = largest_sums(sums, self.plan.columns, percentile=self.cells.array.adc_percentile)
        if self.cells.observers is not None:
            self.observer.observe_sums(part, row, found)
        return found

    def _over_outputs(self, values: Tensor, like: Tensor) -> Tensor:
        """A value for each output channel in a shape that multiplies the outputs."""
        return values.reshape(-1, *[1] * (like.ndim - 2))


def _tensor(values: float | tuple[float, ...], *, like: Tensor) -> Tensor:
    return torch.tensor(values, dtype=torch.float64, device=like.device)


def _must_fit(ranges: Ranges, cells: Cells, plan: Tiling) -> None:
    """Ranges that were measured of other tiles say nothing about these."""
    if cells.array.adc_bits is None:
        return
    wanted = (len(cells.slices), len(plan.rows), len(plan.columns))
    found = {(len(ranges.adc), len(part), len(row)) for part in ranges.adc for row in part}
    if found != {wanted}:
        words = " and ".join("×".join(map(str, shape)) for shape in sorted(found)) or "no"
        raise ConfigError(
            f"hardware.array.ranges.{cells.name}",
            found=f"ranges of {words} tiles",
            expected=f"{'×'.join(map(str, wanted))} (slices × rows × columns of tiles)",
            remedy="calibrate again: everychip.hardware.calibration.calibrate(model, hardware, data)",
        )
