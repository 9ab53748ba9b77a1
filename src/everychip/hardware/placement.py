"""A model placed on a hardware: one walk of the model, and every chip of it is a copy of the same places."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Self

from torch import Tensor, nn

from everychip.array import Array, InputRange
from everychip.errors import ConfigError
from everychip.hardware.addresses import addresses
from everychip.hardware.effective_sigma import EffectiveSigma, weight_noise
from everychip.hardware.hardware import Hardware, Placement
from everychip.hardware.learned import input_ranges, with_full_scales
from everychip.hardware.programming import Draw, NoiseGradient, programmed, programmed_together
from everychip.mapping import Columns
from everychip.network.exclusive import must_not_be_a_chip
from everychip.network.soundness import must_be_finite


@dataclass(frozen=True)
class Placed:
    """Where every parameter of a model stands on a hardware, and what the crossbar holds of it.

    hardware: what chips are programmed into. rows: every parameter, where it stands and why. weights: what
    the crossbar holds, by name; the model's own tensors. columns: which of their numbers share a column, with
    full scales that are learned. inputs: ranges of DACs that are learned, by name.

    >>> import torch, everychip as ec
    >>> placed = Placed.of(nn.Linear(4, 2), ec.Hardware(device=ec.devices.Gaussian(sigma=0.1)))
    >>> [(row.name, row.why.name) for row in placed.rows], list(placed.program(seed=0, path=("evaluate", 3)))
    ([('weight', 'MATRIX'), ('bias', 'VECTOR')], ['weight'])
    """

    hardware: Hardware
    rows: tuple[Placement, ...]
    weights: Mapping[str, Tensor]
    columns: Mapping[str, Columns]
    inputs: Mapping[str, InputRange] = field(default_factory=dict)

    @classmethod
    def of(cls, model: nn.Module, hardware: Hardware) -> Self:
        """Walk the model once; what no crossbar can hold is refused."""
        must_not_be_a_chip(model)
        rows = tuple(hardware.placement(model))
        hardware.must_hold(model, rows)
        held = [row for row in rows if row.crossbar]
        weights = {row.name: row.parameter for row in held}
        columns = with_full_scales(hardware, weights, {row.name: row.columns for row in held})
        return cls(hardware, rows, weights, columns, input_ranges(hardware, weights))

    @cached_property
    def own(self) -> Mapping[str, Hardware]:
        """The hardware of each weight: its own where `hardware.layers` name it."""
        return self.hardware.by_layer(self.weights)

    @cached_property
    def addresses(self) -> Mapping[str, str]:
        """What the draws of each weight go by, whatever wraps the model."""
        return addresses(self.weights)

    @property
    def cells(self) -> tuple[str, ...]:
        """Which matrices are drawn, and of what shapes: where these are the same, two models share chips."""
        shapes = {name: "×".join(map(str, weight.shape)) for name, weight in self.weights.items()}
        return tuple(f"{address} {shapes[name]}" for name, address in self.addresses.items())

    def with_hardware(self, hardware: Hardware) -> Self:
        """The same places at another σ, time or mapping, or with ranges for the converters.

        Raises:
            ConfigError: where the places themselves would change, which takes a walk of the model.
        """
        if _decides(hardware) != _decides(self.hardware):
            raise ConfigError(
                "hardware",
                found="another set of digital layers or learned scales, or an array where there was none",
                expected="the same digital, embeddings, learned scales and kind of reading",
                remedy="Placed.of(model, hardware)",
            )
        return replace(self, hardware=hardware)

    def with_arrays(self, change: Callable[[Array], Array]) -> Self:
        """The same places with every array of the hardware changed."""
        return replace(self, hardware=self.hardware.with_arrays(change))

    def with_learned(self, columns: Mapping[str, Columns], inputs: Mapping[str, InputRange]) -> Self:
        """The same places with full scales and ranges that are being trained in those of some weights."""
        return replace(self, columns={**self.columns, **columns}, inputs={**self.inputs, **inputs})

    def with_weights(self, weights: Mapping[str, Tensor]) -> Self:
        """Other values in the same places, or some of the weights alone."""
        return replace(self, weights=weights)

    def program(
        self,
        *,
        seed: int,
        path: tuple[str | int, ...],
        strength: float = 1.0,
        gradient: NoiseGradient | None = None,
        draw: Draw | None = None,
    ) -> dict[str, Tensor]:
        """One chip: W' = target(W) + strength·deviation(W), drawn at (seed, *path, name).

        Args:
            seed: of all draws.
            path: where below it those of this chip have their place.
            strength: the share of the noise, without unit.
            gradient: what backward sees of the noise (`programmed`); None, nothing.
            draw: another law of the deviation than the device's, for weights in full precision.

        Returns:
            The programmed tensors by name, in the shapes and dtypes of the weights.
        """
        how: dict[str, Any] = {"strength": strength, "gradient": gradient, "draw": draw}
        at: dict[str, Any] = {"seed": seed, "path": path, "inputs": self.inputs}
        return programmed(self.weights, self.own, self.addresses, self.columns, **at, **how)

    def program_together(self, *, seed: int, paths: Sequence[tuple[str | int, ...]]) -> dict[str, Tensor]:
        """Several chips, those of `program` at these paths to the bit: [chips, …] by name.

        Args:
            seed: of all draws.
            paths: where below it those of each chip have their place.

        Returns:
            The programmed tensors by name, chips first; of hardware without arrays.
        """
        return programmed_together(
            self.weights, self.own, self.addresses, self.columns, seed=seed, paths=paths
        )

    def effective_sigma(self) -> EffectiveSigma:
        """What the nominal device σ does to each layer's weights (`everychip.effective_sigma`)."""
        must_be_finite(self.weights.items())
        return weight_noise(self.weights, self.own, self.columns)


def program_weights(
    weights: Mapping[str, Tensor],
    hardware: Hardware,
    *,
    columns: Mapping[str, Columns] | None = None,
    **how: Any,
) -> dict[str, Tensor]:
    """Program named weights that no walk of a model has placed, as `Placed.program` does.

    Args:
        weights: what the crossbar holds, by name.
        hardware: device, mapping and array.
        columns: which numbers share a column, by name; outputs come first where it does not say.
        how: seed, path and the rest of `Placed.program`.
    """
    return Placed(hardware, (), weights, columns or {}).program(**how)


def _decides(hardware: Hardware) -> tuple[object, ...]:
    """What of a hardware decides where a parameter stands."""
    layers = tuple((layer.match, layer.array is None) for layer in hardware.layers)
    learned = tuple(mapping.full_scales for mapping in hardware.mappings)
    ranges = tuple(array.dac_ranges for array in hardware.arrays)
    return hardware.digital, hardware.embeddings, hardware.array is None, layers, learned, ranges
