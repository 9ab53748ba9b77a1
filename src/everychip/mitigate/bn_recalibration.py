"""Batch-norm statistics measured again on every chip."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from everychip.data.inputs import Inputs, moved, rows_of, taken
from everychip.errors import ModelError
from everychip.hardware.hardware import Hardware
from everychip.mitigate.base import Address, BoundMitigation, Mitigation
from everychip.network.modes import evaluating
from everychip.network.running import Runner


class BNRecalibration(Mitigation, kind="bn_recalibration"):
    """Batch norm's mean and variance are estimated again on each chip: μ = mean_b μ_b, σ² = mean_b σ_b².

    b runs over batches of training images, μ_b and σ_b² (unbiased) are what the layer sees of batch b while
    it normalises by that batch; every other layer is in evaluation mode. Nothing else of the chip changes.
    images: how many training images are used. batch_size: the least size of a batch.
    Cost: one forward of `images` images per chip.

    Source: Joshi et al., Nat. Commun. 11:2473 (2020), adaptive batch normalisation statistics (AdaBS).

    >>> import torch, everychip as ec
    >>> model = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 2))
    >>> x = torch.randn(64, 4, generator=ec.rng_for(0)); y = (x[:, 0] > 0).long()
    >>> hw = ec.Hardware(device=ec.devices.Gaussian(sigma=0.2))
    >>> recalibrate = BNRecalibration(images=64, batch_size=32).bind(model, hw, (x, y))
    >>> chip = recalibrate(ec.program(model, hw, seed=0, chip=3), seed=0, path=("evaluate", 3))
    >>> list(chip)
    ['0.weight', '3.weight', '1.running_mean', '1.running_var']
    """

    images: Annotated[int, Field(ge=2)] = 1000
    batch_size: Annotated[int, Field(ge=2)] = 250

    def validate_for(
        self, model: nn.Module, hardware: Hardware, calibration: Any = None, *, seed: int = 0
    ) -> None:
        self._images(model, calibration, seed=seed)

    def bind(
        self, model: nn.Module, hardware: Hardware, calibration: Any = None, *, seed: int = 0
    ) -> BoundMitigation:
        x = self._images(model, calibration, seed=seed)
        n = rows_of(x)
        parts = torch.arange(n).tensor_split(max(1, n // self.batch_size))
        batches = tuple(taken(x, slice(int(part[0]), int(part[-1]) + 1)) for part in parts)
        return _Recalibrated(model, batches)

    def _images(self, model: nn.Module, calibration: Any, *, seed: int) -> Inputs:
        if not _norms(model):
            raise ModelError(
                type(model).__name__,
                found="no batch norm with running statistics",
                expected="at least one, for there is nothing else that bn_recalibration changes",
                remedy="leave this mitigation out",
            )
        return self.calibration_images(calibration, self.images, seed=seed).x


class _Recalibrated(BoundMitigation):
    def __init__(self, model: nn.Module, batches: tuple[Inputs, ...]) -> None:
        self.model, self.batches, self.runner = model, batches, Runner(model)

    def __call__(self, chip: Mapping[str, Tensor], *, seed: int, path: Address) -> dict[str, Tensor]:
        norms = _norms(self.model)
        statistics = {
            f"{name}.{leaf}".removeprefix("."): torch.zeros_like(buffer)
            for name, norm in norms.items()
            for leaf, buffer in norm.named_buffers(recurse=False)
        }
        device = next(iter(statistics.values())).device
        with torch.no_grad(), evaluating(self.model), _averaging(norms):
            for x in self.batches:
                # Batch norm writes into the buffers it is run with, which are ours and not the model's.
                self.runner.logits({**chip, **statistics}, moved(x, device))
        kept = {name: value for name, value in statistics.items() if not name.endswith("num_batches_tracked")}
        return {**chip, **kept}


def _norms(model: nn.Module) -> dict[str, _BatchNorm]:
    return {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, _BatchNorm) and module.running_mean is not None
    }


@contextmanager
def _averaging(norms: Mapping[str, _BatchNorm]) -> Iterator[None]:
    """Inside, batch norm measures every batch and keeps the plain average over all of them."""
    momenta = {norm: norm.momentum for norm in norms.values()}
    try:
        for norm in momenta:
            norm.training, norm.momentum = True, None
        yield
    finally:
        for norm, momentum in momenta.items():
            norm.momentum = momentum
