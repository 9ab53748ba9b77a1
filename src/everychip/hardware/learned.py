"""What training has learned of a hardware's two sides, by name: full scales of DACs and of weights."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from everychip.array import Array, InputRange
from everychip.config.component import Config
from everychip.errors import ConfigError
from everychip.hardware.addresses import addresses
from everychip.hardware.hardware import Hardware
from everychip.mapping import CellMapping, Columns

_Positive = Annotated[float, Field(gt=0)]


class Learned(Config):
    """Full scales that a training has learned, by the name of the parameter: those of DACs and of weights.

    >>> from everychip.devices import Gaussian
    >>> hardware = Hardware(device=Gaussian(sigma=0.1), array=Array(dac_bits=8))
    >>> Learned(dac_ranges={"weight": 2.5}).on(hardware).array.dac_ranges
    {'weight': 2.5}
    """

    dac_ranges: dict[str, _Positive] = Field(default_factory=dict, description="β of every DAC.")
    full_scales: dict[str, tuple[_Positive, ...]] = Field(
        default_factory=dict, description="F of every layer, or of each of its columns."
    )

    def __bool__(self) -> bool:
        """Whether anything was learned."""
        return bool(self.dac_ranges or self.full_scales)

    def on(self, hardware: Hardware) -> Hardware:
        """The hardware with these full scales in its arrays and mappings.

        Args:
            hardware: the one that was trained for, perhaps with another device.

        Returns:
            What chips of the trained network are programmed into.
        """
        if self.dac_ranges:
            hardware = hardware.with_arrays(self._in_array)
        return hardware.with_mappings(self._in_mapping) if self.full_scales else hardware

    def _in_array(self, array: Array) -> Array:
        return array if array.dac_bits is None else array.replace(dac_ranges=self.dac_ranges)

    def _in_mapping(self, mapping: CellMapping) -> CellMapping:
        return mapping.replace(full_scales=self.full_scales)


def with_full_scales(
    hardware: Hardware, weights: Mapping[str, Tensor], columns: Mapping[str, Columns]
) -> dict[str, Columns]:
    """The columns of every weight with the full scale that the hardware's mapping gives it by name."""
    own, plain = hardware.by_layer(weights), addresses(weights)
    found = {}
    for name, weight in weights.items():
        scales = own[name].mapping.full_scales or {}
        values = scales.get(name, scales.get(plain[name]))
        found[name] = columns[name] if values is None else _scaled(name, weight, columns[name], values)
    _must_name((mapping.full_scales for mapping in hardware.mappings), weights, "mapping.full_scales")
    return found


def input_ranges(hardware: Hardware, weights: Mapping[str, Tensor]) -> dict[str, InputRange]:
    """The ranges of the DACs that the hardware's arrays give by name."""
    own, plain = hardware.by_layer(weights), addresses(weights)
    found = {}
    for name, weight in weights.items():
        array = own[name].array
        ranges = (array.dac_ranges if array is not None else None) or {}
        value = ranges.get(name, ranges.get(plain[name]))
        if value is not None:
            found[name] = InputRange(torch.tensor(value, dtype=torch.float32, device=weight.device))
    _must_name((array.dac_ranges for array in hardware.arrays), weights, "array.dac_ranges")
    return found


def _scaled(name: str, weight: Tensor, columns: Columns, values: tuple[float, ...]) -> Columns:
    exact = torch.float64 if weight.dtype == torch.float64 else torch.float32
    given = torch.tensor(values, dtype=exact, device=weight.device)
    if len(values) == 1:
        return replace(columns, full=given[0])
    each = columns.one_each(weight.detach())
    if given.numel() != each.numel():
        raise ConfigError(
            f"hardware.mapping.full_scales.{name}",
            found=f"{given.numel()} numbers",
            expected=f"one, or one for each of its {each.numel()} columns",
            remedy="those that a training of this very network has learned",
        )
    return replace(columns, full=given.reshape(each.shape))


def _must_name(given: Iterable[Mapping[str, object] | None], weights: Mapping[str, Tensor], key: str) -> None:
    """Refuse names that no weight on the crossbar has: they would be passed over silently."""
    known = {*weights, *addresses(weights).values()}
    for name in (name for one in given for name in one or ()):
        if name not in known:
            raise ConfigError(
                f"hardware.{key}",
                found=f"{name!r}, which is no weight on the crossbar",
                expected="names such as " + ", ".join(list(weights)[:3]),
                remedy="those that a training of this very network has learned",
            )
