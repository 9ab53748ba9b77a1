"""One digital scale per layer, against a drift that all its cells share."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.modules.conv import _ConvNd
from torch.utils._pytree import tree_map_only

from everychip.array import plain
from everychip.data.inputs import moved
from everychip.hardware.hardware import Hardware, Placement
from everychip.hardware.placement import Placed
from everychip.mitigate.base import Address, BoundMitigation, Mitigation
from everychip.network.modes import evaluating
from everychip.network.running import Runner
from everychip.network.soundness import device_of

# Modules whose output is proportional to their matrix, so that a scale of one is a scale of the other.
_LINEAR = (nn.Linear, nn.Bilinear, _ConvNd)


class DriftCompensation(Mitigation):
    """Each layer's output is scaled back to its digital size: s_l = Σ|x·W_l| / Σ|x·W'_l|, W'_l ← s_l·W'_l.

    x: what layer l of the digital network is given for the calibration images; W_l, W'_l: its digital and its
    programmed matrix. Scaling the held matrix is the same as a digital multiplication of the crossbar's
    output, before the bias is added; nothing else of the chip changes.
    A matrix whose module is not proportional to it (attention, recurrent layers, free parameters) is read as
    Joshi et al. read it, all rows at one voltage: s_l = Σ|W_l| / Σ sign(W_l)·W'_l.
    Noise without drift raises Σ|x·W'_l| as well, so that such scales come out a little below 1.
    images: how many calibration images are used. Cost: one forward of `images` images per chip.

    Source: Joshi et al., Nat. Commun. 11:2473 (2020), global drift compensation.

    >>> import torch, everychip as ec
    >>> model, x = nn.Linear(4, 2), torch.randn(64, 4, generator=ec.rng_for(0))
    >>> hw = ec.Hardware(device=ec.devices.Gaussian(sigma=0.1))
    >>> compensate = DriftCompensation(images=64).bind(model, hw, (x, torch.arange(64) % 2))
    >>> chip = compensate({"weight": 0.8 * model.weight}, seed=0, path=())
    >>> torch.allclose(chip["weight"], model.weight)
    True
    """

    images: Annotated[int, Field(ge=1)] = 100

    def validate_for(
        self, model: nn.Module, hardware: Hardware, calibration: Any = None, *, seed: int = 0
    ) -> None:
        self.calibration_images(calibration, self.images, seed=seed)

    def bind(
        self, model: nn.Module, hardware: Hardware, calibration: Any = None, *, seed: int = 0
    ) -> BoundMitigation:
        rows = [row for row in Placed.of(model, hardware).rows if row.crossbar]
        x = self.calibration_images(calibration, self.images, seed=seed).x
        calls: dict[str, list[_Call]] = {row.name: [] for row in rows}
        with torch.no_grad(), evaluating(model), _listening(model, rows, calls):
            Runner(model).outputs({}, moved(x, device_of(model)))
        return _Compensated({row.name: _Readout(row.parameter.detach(), calls[row.name]) for row in rows})


@dataclass(frozen=True)
class _Call:
    """One call of a module in the digital network, to be made again with another matrix in its place."""

    module: nn.Module
    leaf: str
    inputs: tuple[Any, ...]
    options: dict[str, Any]

    def size(self, weight: Tensor) -> float:
        """Σ|output − bias| of the module with this matrix."""
        biases = {name: p for name, p in self.module.named_parameters(recurse=False) if p.ndim < 2}
        parts = {self.leaf: weight, **{name: torch.zeros_like(p) for name, p in biases.items()}}
        return float(
            functional_call(self.module, parts, self.inputs, self.options).abs().sum(dtype=torch.float64)
        )


class _Readout:
    """How much one matrix lets through, in the digital network and on a chip."""

    def __init__(self, weight: Tensor, calls: list[_Call]) -> None:
        self.weight, self.calls = weight, calls
        with torch.no_grad():
            self.digital = self.size(weight)

    def size(self, weight: Tensor) -> float:
        if self.calls:
            return sum(call.size(weight) for call in self.calls)
        return float((self.weight.sign() * plain(weight)).sum(dtype=torch.float64))

    def scale(self, weight: Tensor) -> float:
        """What the programmed matrix has to be multiplied by; 1 where nothing can be read from it."""
        read = self.size(weight)
        return self.digital / read if self.digital > 0 and math.isfinite(read) and read > 0 else 1.0


class _Compensated(BoundMitigation):
    def __init__(self, readouts: Mapping[str, _Readout]) -> None:
        self.readouts = readouts

    def __call__(self, chip: Mapping[str, Tensor], *, seed: int, path: Address) -> dict[str, Tensor]:
        with torch.no_grad():
            return {
                name: value * self.readouts[name].scale(value) if name in self.readouts else value
                for name, value in chip.items()
            }


@contextmanager
def _listening(model: nn.Module, rows: list[Placement], calls: Mapping[str, list[_Call]]) -> Iterator[None]:
    """Record what the modules that hold a matrix are called with, while inside."""
    handles = []
    for row in rows:
        for module in {id(m): m for m in map(model.get_submodule, row.owners)}.values():
            if isinstance(module, _LINEAR):
                leaf = next(name for name, p in module.named_parameters(recurse=False) if p is row.parameter)
                handles.append(
                    module.register_forward_pre_hook(_recorder(leaf, calls[row.name]), with_kwargs=True)
                )
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _recorder(leaf: str, calls: list[_Call]) -> Any:
    def record(module: nn.Module, inputs: tuple[Any, ...], options: dict[str, Any]) -> None:
        # Copies, because a later operation may write over the input in place.
        kept, named = tree_map_only(Tensor, torch.clone, (inputs, options))
        calls.append(_Call(module, leaf, kept, named))

    return record
