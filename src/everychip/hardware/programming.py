"""Programming named weights: target and deviation of every cell, drawn where the seed and the name say."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any, Literal

import torch
from torch import Tensor

from everychip.array import Array, Cells, InputRange, tiled
from everychip.hardware.hardware import Hardware
from everychip.mapping.columns import OUTPUTS_FIRST, Columns
from everychip.network.straight_through import with_clean_gradient
from everychip.rng import rng_for

NoiseGradient = Literal["detached", "pathwise", "clean"]

Draw = Callable[[Tensor, Hardware, torch.Generator, Columns], Tensor]
"""What draws the deviation of a weight in full precision; by default the mapping, from the device's law."""


def program_weights(
    weights: Mapping[str, Tensor],
    hardware: Hardware,
    *,
    seed: int,
    path: tuple[str | int, ...],
    strength: float = 1.0,
    gradient: NoiseGradient | None = None,
    columns: Mapping[str, Columns] | None = None,
    draw: Draw | None = None,
    inputs: Mapping[str, InputRange] | None = None,
) -> dict[str, Tensor]:
    """Program named weights: W' = target(W) + strength·deviation(W), drawn at (seed, *path, name).

    `gradient` says what backward sees: None, nothing; "detached", the noisy weights with the noise held
    fixed; "pathwise", the noise's own dependence on W through max|W| and σ(W), too (as sampled); "clean",
    the clean weights (noisy values forward, clean Jacobians backward). columns: which numbers share a column,
    by name (`Placed.columns`); outputs come first where it does not say. A full scale among them that is
    being learned has a gradient of target and deviation, unless backward sees nothing or clean weights.
    draw: another law of the deviation. inputs: learned ranges of the DACs, by name.
    """
    programmed, drawn_as = {}, addresses(weights)
    own = _on_die(hardware, weights, seed=seed, path=path)
    for name, weight in weights.items():
        hardware = own[name]
        held = (columns or {}).get(name, OUTPUTS_FIRST)
        rng = rng_for(seed, *path, drawn_as[name], device=weight.device)
        learns = gradient == "detached" and held.full is not None and held.full.requires_grad
        with torch.set_grad_enabled(gradient == "pathwise" or learns):
            cells = _full_precision(weight.detach() if learns else weight)
            deviation = (draw or _by_law)(cells, hardware, rng, held)
        with torch.set_grad_enabled(gradient is not None):
            target = hardware.mapping.target(_full_precision(weight), columns=held)
            noisy = strided_as(weight, torch.add(target, deviation, alpha=strength).to(weight.dtype))
            if hardware.array is not None:
                at = (seed, *path, drawn_as[name])
                on_tiles = _cells(name, weight, noisy, hardware, strength=strength, at=at, columns=held)
                on_tiles = replace(on_tiles, dac=(inputs or {}).get(name))
                noisy = tiled(target.to(weight.dtype) if gradient == "clean" else noisy, on_tiles)
            elif gradient == "clean":
                noisy = with_clean_gradient(target.to(weight.dtype), noisy)
            programmed[name] = noisy
    return programmed


def _on_die(
    hardware: Hardware, names: Iterable[str], *, seed: int, path: tuple[str | int, ...]
) -> dict[str, Hardware]:
    """The hardware of every weight, as this chip's die has it; all devices of a chip are on one die."""
    own = hardware.by_layer(names)
    dies = {id(one): one.on_die(rng_for(seed, "die", *path)) for one in own.values()}
    return {name: dies[id(one)] for name, one in own.items()}


def _by_law(weight: Tensor, hardware: Hardware, rng: torch.Generator, columns: Columns) -> Tensor:
    return hardware.mapping.deviation(weight, hardware.device, rng, columns=columns)


_WRAPPERS = ("_orig_mod.", "_fsdp_wrapped_module.", "_checkpoint_wrapped_module.")
"""What PyTorch's wrappers put into the names of the parameters below them."""


def addresses(names: Iterable[str]) -> dict[str, str]:
    """The names that the draws of these parameters go by: the same whether or not a model is wrapped.

    `module.` is a wrapper's where all names begin with it, as in `DistributedDataParallel` and
    `AveragedModel`.

    >>> addresses(["_orig_mod.0.weight"]), addresses(["module.0.weight", "head.weight"])
    ({'_orig_mod.0.weight': '0.weight'}, {'module.0.weight': 'module.0.weight', 'head.weight': 'head.weight'})
    """
    plain = {name: re.sub("|".join(map(re.escape, _WRAPPERS)), "", name) for name in names}
    while plain and all(name.startswith("module.") for name in plain.values()):
        plain = {name: short.removeprefix("module.") for name, short in plain.items()}
    return plain


def _cells(
    name: str,
    weight: Tensor,
    noisy: Tensor,
    hardware: Hardware,
    *,
    strength: float,
    at: tuple[Any, ...],
    columns: Columns,
) -> Cells:
    """What the tiles hold of a programmed weight: all of it or, where digits are converted, each slice."""
    array, mapping = hardware.array or Array(), hardware.mapping
    reads = rng_for(*at, "read", device=weight.device) if array.is_noisy else None
    with torch.no_grad():
        exact = _full_precision(weight)
        if not mapping.has_digits or array.shift_add == "analog":
            unit = exact.abs().amax() if columns.full is None else columns.full.amax()
            return Cells(name, (noisy.detach(),), (unit,), array, rng=reads)
        rng = rng_for(*at, device=weight.device)
        slices = mapping.slices(exact, hardware.device, rng, columns=columns)
        held = (torch.add(s.target, s.deviation, alpha=strength).to(weight.dtype) for s in slices)
        return Cells(
            name,
            tuple(strided_as(weight, one) for one in held),
            tuple(s.unit for s in slices),
            array,
            rng=reads,
        )


def _full_precision(weight: Tensor) -> Tensor:
    """Half-precision weights in float32: their own digits are too few for steps and deviations."""
    return weight.float() if weight.dtype in (torch.bfloat16, torch.float16) else weight


def strided_as(weight: Tensor, noisy: Tensor) -> Tensor:
    """The noisy weight with the weight's strides where the dimensions of size 1 leave them free.

    Kernels read the memory format from those, too: a convolution of one input channel whose weight says
    "contiguous" takes the network out of channels-last up to the next layer.
    """
    given, wanted = noisy.stride(), weight.stride()
    free = all(n == 1 or a == b for n, a, b in zip(noisy.shape, given, wanted, strict=True))
    return noisy.as_strided(noisy.shape, wanted) if free and given != wanted else noisy
