"""A small digital correction of every layer, fitted on a few images to the clean network's features."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Annotated, Any

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map_only

from everychip.data.inputs import Inputs, moved
from everychip.errors import ConfigError
from everychip.hardware.hardware import Hardware, Placement
from everychip.hardware.placement import Placed
from everychip.mitigate.base import Address, BoundMitigation, Metadata, Mitigation
from everychip.network.modes import evaluating, without_fast_path
from everychip.network.running import Runner
from everychip.network.soundness import device_of
from everychip.rng import rng_for, seeded_global_generator


class DoRA(Mitigation, kind="dora"):
    """A digital correction of low rank and a size per output for each layer: W'' = m·(W' + B·A)/‖W' + B·A‖.

    W': what the crossbar holds; ‖·‖ of each output. A (rank × inputs), B (outputs × rank) and m (one per
    output, in units of ‖W'‖) are digital, start where W'' = W', and are fitted by Adam to
    Σ_l mean (f''_l − f_l)² / mean f_l², f_l the outputs of layer l in the clean network and f''_l on the
    chip, for `images` images without labels; the parameters of the least loss are kept.
    The gradient of a layer stops at its inputs, which are those that the chip's layers before it give.
    No norm with statistics is needed: it works where `bn_recalibration` has nothing to do.
    rank: of B·A. images: how many calibration images. steps, lr: of Adam; lr in units of rms(W).
    Cost per chip: `steps` forwards and local backwards of `images` images; per layer rank·(inputs + outputs)
    + outputs digital parameters and as many MACs per product, which `facts` counts.

    Source: Dong et al., arXiv 2504.03763 (DoRA by Liu et al., ICML 2024); its optimiser and loss weights are
    this project's choice.

    >>> import torch, everychip as ec
    >>> x = torch.randn(10, 8, generator=ec.rng_for(0))
    >>> model = nn.Sequential(nn.Linear(8, 8), nn.LayerNorm(8))
    >>> hw = ec.Hardware(device=ec.devices.Gaussian(sigma=0.2))
    >>> repair = DoRA(rank=2).bind(model, hw, (x, torch.zeros(10, dtype=torch.long)))
    >>> chip = ec.program(model, hw, seed=0, chip=3)
    >>> better = repair(chip, seed=0, path=("evaluate", 3))
    >>> bool((ec.run(model, better, x) - model(x)).norm() < 0.5 * (ec.run(model, chip, x) - model(x)).norm())
    True
    >>> repair.metadata()[0]["digital_parameters"]  # 2·(8 + 8) + 8
    40
    """

    rank: Annotated[int, Field(ge=1, le=1024)] = 2
    images: Annotated[int, Field(ge=1)] = 10
    steps: Annotated[int, Field(ge=1, le=100_000)] = 100
    lr: Annotated[float, Field(gt=0, le=10)] = 0.03

    def validate_for(
        self, model: nn.Module, hardware: Hardware, calibration: Any = None, *, seed: int = 0
    ) -> None:
        if hardware.arrays:
            raise ConfigError(
                f"mitigation {self.kind}",
                found="an array, whose converters the digital part would have to stand beside",
                expected="hardware without an array",
                remedy="bn_recalibration or drift_compensation work through arrays",
            )
        self.calibration_images(calibration, self.images, seed=seed)

    def bind(
        self, model: nn.Module, hardware: Hardware, calibration: Any = None, *, seed: int = 0
    ) -> BoundMitigation:
        self.validate_for(model, hardware, calibration, seed=seed)
        rows = [row for row in Placed.of(model, hardware).rows if row.crossbar]
        x = moved(self.calibration_images(calibration, self.images, seed=seed).x, device_of(model))
        return _Corrected(self, model, rows, x)


@dataclass(frozen=True)
class _Shape:
    """A matrix as the correction has it: outputs first, all else inputs."""

    axis: int

    def flat(self, weight: Tensor) -> Float[Tensor, "outputs inputs"]:
        return weight.movedim(self.axis, 0).flatten(1)

    def back(self, flat: Tensor, like: Tensor) -> Tensor:
        moved_shape = like.movedim(self.axis, 0).shape
        return flat.reshape(moved_shape).movedim(0, self.axis)


class _Layer:
    """The correction of one matrix of one chip."""

    def __init__(self, weight: Tensor, shape: _Shape, rank: int, rng: torch.Generator) -> None:
        self.weight, self.shape = weight, shape
        self.flat = shape.flat(weight.detach()).float()
        self.unit = float(self.flat.square().mean().sqrt())
        self.size = self.flat.norm(dim=1, keepdim=True)
        outputs, inputs = self.flat.shape
        drawn = torch.randn((rank, inputs), generator=rng, device=rng.device).to(self.flat.device)
        self.a = drawn.requires_grad_()
        self.b = self.flat.new_zeros(outputs, rank).requires_grad_()
        self.m = self.flat.new_ones(outputs, 1).requires_grad_()

    @property
    def parameters(self) -> list[Tensor]:
        return [self.a, self.b, self.m]

    def corrected(self) -> Tensor:
        """W'', in the shape and dtype of the weight."""
        summed = self.flat + self.unit * (self.b @ self.a)
        norm = summed.norm(dim=1, keepdim=True).clamp(min=1e-30)
        return self.shape.back(self.m * self.size * summed / norm, self.weight).to(self.weight.dtype)


class _Corrected(BoundMitigation):
    def __init__(self, asked: DoRA, model: nn.Module, rows: list[Placement], x: Inputs) -> None:
        self.asked, self.model, self.rows, self.x, self.runner = asked, model, rows, x, Runner(model)
        with torch.no_grad():
            clean = self._features({})
            self.clean = [(one, one.float().square().mean().clamp(min=1e-30)) for one in clean]

    def __call__(self, chip: Mapping[str, Tensor], *, seed: int, path: Address) -> dict[str, Tensor]:
        layers = {
            row.name: _Layer(
                chip[row.name],
                _Shape(row.columns.axis),
                self.asked.rank,
                rng_for(seed, *path, "dora", row.name),
            )
            for row in self.rows
            if row.name in chip
        }
        self._fit(chip, layers)
        with torch.no_grad():
            return {**chip, **{name: one.corrected().detach() for name, one in layers.items()}}

    def _fit(self, chip: Mapping[str, Tensor], layers: Mapping[str, _Layer]) -> None:
        """Adam, from which the parameters of the least loss are kept: where nothing is to mend, the first."""
        learned = [p for one in layers.values() for p in one.parameters]
        adam = torch.optim.Adam(learned, lr=self.asked.lr)
        least, best = float("inf"), [p.detach().clone() for p in learned]
        for step in range(self.asked.steps + 1):
            with torch.enable_grad():
                held = {**chip, **{name: one.corrected() for name, one in layers.items()}}
                loss = self._loss(self._features(held))
            if float(loss.detach()) < least:
                least, best = float(loss.detach()), [p.detach().clone() for p in learned]
            if step < self.asked.steps:
                # The model's own parameters collect no gradient.
                for parameter, gradient in zip(learned, torch.autograd.grad(loss, learned), strict=True):
                    parameter.grad = gradient
                adam.step()
        with torch.no_grad():
            for parameter, value in zip(learned, best, strict=True):
                parameter.copy_(value)

    def metadata(self) -> tuple[Metadata, ...]:
        """How many digital parameters the correction has, and as a share of the crossbar's."""
        count = 0
        for row in self.rows:
            outputs, inputs = _Shape(row.columns.axis).flat(row.parameter).shape
            count += self.asked.rank * (outputs + inputs) + outputs
        share = count / sum(row.parameter.numel() for row in self.rows)
        return ({"mitigation": self.asked.kind, "digital_parameters": count, "share": share},)

    def _features(self, chip: Mapping[str, Tensor]) -> list[Tensor]:
        """What every layer with a matrix answers, in the order of use."""
        found: list[Tensor] = []
        watched = _watched(self.model, self.rows, found.append)
        # Layers that draw numbers in evaluation, too, draw the same ones in every pass.
        with evaluating(self.model), without_fast_path(), watched, seeded_global_generator(0, "dora"):
            self.runner.outputs(chip, self.x)
        return found

    def _loss(self, features: list[Tensor]) -> Tensor:
        pairs = zip(features, self.clean, strict=True)
        return torch.stack(
            [(f.float() - goal.float()).square().mean() / size for f, (goal, size) in pairs]
        ).sum()


@contextmanager
def _watched(model: nn.Module, rows: list[Placement], take: Callable[[Tensor], None]) -> Iterator[None]:
    """Hand over the outputs of the modules that hold a matrix; gradients stop at their inputs."""
    modules = {id(m): m for row in rows for m in map(model.get_submodule, row.owners)}.values()
    handles = [
        handle
        for module in modules
        for handle in (
            module.register_forward_pre_hook(_stopped, with_kwargs=True),
            module.register_forward_hook(lambda _module, _inputs, output: take(_first(output))),
        )
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _stopped(module: nn.Module, inputs: Any, options: Any) -> tuple[Any, Any]:
    del module
    stopped: tuple[Any, Any] = tree_map_only(Tensor, Tensor.detach, (inputs, options))
    return stopped


def _first(output: Any) -> Tensor:
    """The features in what a module answers, kept from operations that write over them."""
    features: Tensor = next(leaf for leaf in tree_leaves(output) if isinstance(leaf, Tensor))
    return features.clone()
