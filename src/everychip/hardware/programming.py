"""Programming named weights: target and deviation of every cell, drawn where the seed and the name say."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from types import MappingProxyType
from typing import Literal

import torch
from torch import Tensor

from everychip.array import InputRange
from everychip.hardware.cells import full_precision, written
from everychip.hardware.hardware import Hardware
from everychip.mapping.columns import OUTPUTS_FIRST, Columns
from everychip.rng import rng_for

NoiseGradient = Literal["detached", "pathwise", "clean"]

NONE_LEARNED: Mapping[str, InputRange] = MappingProxyType({})

Draw = Callable[[Tensor, Hardware, torch.Generator, Columns], Tensor]
"""What draws the deviation of a weight in full precision; by default the mapping, from the device's law."""


def programmed(
    weights: Mapping[str, Tensor],
    own: Mapping[str, Hardware],
    drawn_as: Mapping[str, str],
    columns: Mapping[str, Columns],
    *,
    seed: int,
    path: tuple[str | int, ...],
    strength: float = 1.0,
    gradient: NoiseGradient | None = None,
    draw: Draw | None = None,
    inputs: Mapping[str, InputRange] = NONE_LEARNED,
) -> dict[str, Tensor]:
    """Program named weights: W' = target(W) + strength·deviation(W), drawn at (seed, *path, address).

    Args:
        weights, own, drawn_as, columns: by name, the weights, the hardware of each, the address of its draws,
            and which of its numbers share a column; outputs come first where that does not say. A full scale
            among these that is being learned has a gradient of target and deviation, unless backward sees
            nothing or clean weights.
        seed, path, strength: as in `Placed.program`.
        gradient: what backward sees: None, nothing; "detached", the noisy weights with the noise held fixed;
            "pathwise", the noise's own dependence on W through max|W| and σ(W), too (as sampled); "clean",
            the clean weights (noisy values forward, clean Jacobians backward).
        draw: another law of the deviation.
        inputs: learned ranges of the DACs, by name.
    """
    chip, dies = {}, _on_die(own, seed=seed, path=path)
    for name, weight in weights.items():
        hardware, held = dies[name], columns.get(name, OUTPUTS_FIRST)
        rng_at = partial(rng_for, seed, *path, drawn_as[name], device=weight.device)
        learns = gradient == "detached" and held.full is not None and held.full.requires_grad
        with torch.set_grad_enabled(gradient == "pathwise" or learns):
            cells = full_precision(weight.detach() if learns else weight)
            deviation = (draw or _by_law)(cells, hardware, rng_at(), held)
        with torch.set_grad_enabled(gradient is not None):
            target = hardware.mapping.target(full_precision(weight), columns=held)
            chip[name] = written(
                name,
                weight,
                target,
                deviation,
                hardware,
                rng_at,
                held,
                strength=strength,
                clean=gradient == "clean",
                dac=inputs.get(name),
            )
    return chip


def programmed_together(
    weights: Mapping[str, Tensor],
    own: Mapping[str, Hardware],
    drawn_as: Mapping[str, str],
    columns: Mapping[str, Columns],
    *,
    seed: int,
    paths: Sequence[tuple[str | int, ...]],
) -> dict[str, Tensor]:
    """Several chips of named weights without arrays, [chips, …] by name: those of `programmed`, to the bit.

    Args:
        weights, own, drawn_as, columns, seed: as in `programmed`.
        paths: that of each chip.
    """
    dies = [_on_die(own, seed=seed, path=path) for path in paths]
    chips = {}
    for name, weight in weights.items():
        held, cells = columns.get(name, OUTPUTS_FIRST), full_precision(weight.detach())
        rngs = [rng_for(seed, *path, drawn_as[name], device=weight.device) for path in paths]
        with torch.no_grad():
            if all(die[name] is own[name] for die in dies):
                mapping, device = own[name].mapping, own[name].device
                deviations = mapping.deviations(cells, device, rngs, columns=held)
            else:
                drawn = zip(dies, rngs, strict=True)
                deviations = torch.stack([_by_law(cells, die[name], rng, held) for die, rng in drawn])
            target = own[name].mapping.target(cells, columns=held)
            chips[name] = torch.add(target, deviations).to(weight.dtype)
    return chips


def _on_die(own: Mapping[str, Hardware], *, seed: int, path: tuple[str | int, ...]) -> dict[str, Hardware]:
    """The hardware of every weight, as this chip's die has it; all devices of a chip are on one die."""
    every = {id(one): one for one in own.values()}
    dies = {key: one.on_die(rng_for(seed, "die", *path)) for key, one in every.items()}
    return {name: dies[id(one)] for name, one in own.items()}


def _by_law(weight: Tensor, hardware: Hardware, rng: torch.Generator, columns: Columns) -> Tensor:
    return hardware.mapping.deviation(weight, hardware.device, rng, columns=columns)
