"""A chip is data: one programmed instance of a model, as a mapping from parameter name to tensor."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.func import functional_call

from everychip.array import Array, Cells, tiled
from everychip.eager import eager_on
from everychip.errors import ModelError
from everychip.exclusive import exclusive
from everychip.hardware import Hardware
from everychip.mapping.columns import OUTPUTS_FIRST, Columns
from everychip.recomputation import recomputed_with
from everychip.refusals import whole
from everychip.rng import rng_for
from everychip.soundness import must_be_finite
from everychip.straight_through import with_clean_gradient

Purpose = Literal["evaluate", "validate", "train"]
NoiseGradient = Literal["detached", "pathwise", "clean"]


def program(
    model: nn.Module, hardware: Hardware, *, seed: int, chip: int, purpose: Purpose = "evaluate"
) -> dict[str, Tensor]:
    """Program one chip: the tensors that the hardware really holds, by parameter name.

    The model is not touched; run the chip with `torch.func.functional_call(model, chip, (x,))`. A parameter's
    draw depends on (seed, purpose, chip, its name) only, wrapped (`torch.compile`) or not: models of the same
    names and shapes meet the same chips, and the same chip at another σ has the same draw at another scale.

    >>> import torch, everychip as ec
    >>> model = torch.nn.Linear(4, 2)
    >>> hw = ec.Hardware(device=ec.devices.Gaussian(sigma=0.1))
    >>> chip = ec.program(model, hw, seed=0, chip=3)
    >>> list(chip), torch.func.functional_call(model, chip, (torch.ones(1, 4),)).shape
    (['weight'], torch.Size([1, 2]))
    """
    _warn_of_module_held_twice(model)
    columns, path = hardware.columns(model), (purpose, whole(chip, "program.chip"))
    weights = hardware.crossbar(model)
    must_be_finite(weights.items())
    return disturb(weights, hardware, seed=seed, path=path, columns=columns)


def disturb(
    weights: Mapping[str, Tensor],
    hardware: Hardware,
    *,
    seed: int,
    path: tuple[str | int, ...],
    strength: float = 1.0,
    gradient: NoiseGradient | None = None,
    columns: Mapping[str, Columns] | None = None,
) -> dict[str, Tensor]:
    """Program named weights: W' = target(W) + strength·deviation(W), drawn at (seed, *path, name).

    `gradient` says what backward sees: None, nothing; "detached", the noisy weights with the noise held
    fixed; "pathwise", the noise's own dependence on W through max|W| and σ(W), too (as sampled); "clean",
    the clean weights (noisy values forward, clean Jacobians backward). columns: which numbers share a column,
    by name (`Hardware.columns`); outputs come first where it does not say.
    """
    programmed, drawn_as = {}, addresses(weights)
    hardware = hardware.on_die(rng_for(seed, "die", *path))
    for name, weight in weights.items():
        held = (columns or {}).get(name, OUTPUTS_FIRST)
        rng = rng_for(seed, *path, drawn_as[name], device=weight.device)
        with torch.set_grad_enabled(gradient == "pathwise"):
            deviation = hardware.mapping.deviation(
                _full_precision(weight), hardware.device, rng, columns=held
            )
        with torch.set_grad_enabled(gradient is not None):
            target = hardware.mapping.target(_full_precision(weight), columns=held)
            noisy = strided_as(weight, torch.add(target, deviation, alpha=strength).to(weight.dtype))
            if hardware.array is not None:
                at = (seed, *path, drawn_as[name])
                cells = _cells(name, weight, noisy, hardware, strength=strength, at=at, columns=held)
                noisy = tiled(target.to(weight.dtype) if gradient == "clean" else noisy, cells)
            elif gradient == "clean":
                noisy = with_clean_gradient(target.to(weight.dtype), noisy)
            programmed[name] = noisy
    return programmed


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
    reads = rng_for(*at, "read", device=weight.device) if array.read_noise else None
    with torch.no_grad():
        exact = _full_precision(weight)
        if not mapping.has_digits or array.shift_add == "analog":
            return Cells(name, (noisy.detach(),), (exact.abs().amax(),), array, rng=reads)
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


def _warn_of_module_held_twice(model: nn.Module) -> None:
    first: dict[int, str] = {}
    for name, module in model.named_modules(remove_duplicate=False):
        if module._parameters and first.setdefault(id(module), name) != name:
            warnings.warn(
                f"{first[id(module)]} and {name} are one module: functional_call with tied weights would "
                "leave the chip in the model (pytorch#164759); use everychip.chip.run(model, chip, x)",
                stacklevel=3,
            )
            return


def run(model: nn.Module, chip: Mapping[str, Tensor], x: Any) -> Tensor:
    """The logits of one chip for one batch; `chip` may be empty for the digital model.

    It may hold buffers, too. A tensor of the model that several modules hold is replaced in all of them.
    Threads that run one model take turns, and checkpointed parts are computed again with the same chip.
    """
    with exclusive(model):
        if not chip:
            return logits(model(x))
        placed = _once_per_module(model, chip)
        with recomputed_with(model, placed), eager_on(model, placed.values()):
            return logits(functional_call(model, placed, (x,), tie_weights=False))


def _once_per_module(model: nn.Module, chip: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The chip under one name for every module that holds the tensor.

    `functional_call(tie_weights=True)` adds every name, and so swaps the tensor of a module that the model
    holds twice two times; restoring it twice leaves the chip's tensor in the model (pytorch#164759).
    """
    tensors: dict[str, int] = {}
    names: dict[int, list[str]] = {}
    for prefix, module in model.named_modules():
        for leaf, tensor in (*module._parameters.items(), *module._buffers.items()):
            name = f"{prefix}.{leaf}" if prefix else leaf
            tensors[name] = id(tensor)
            names.setdefault(id(tensor), []).append(name)
    return {alias: value for name, value in chip.items() for alias in names.get(tensors.get(name, 0), [name])}


def logits(output: Any) -> Tensor:
    """The logits in a model's output: the tensor itself, its `.logits`, or the first of a tuple."""
    if isinstance(output, Tensor):
        return output
    if isinstance(getattr(output, "logits", None), Tensor):
        return output.logits  # type: ignore[no-any-return]
    if isinstance(output, tuple) and output and isinstance(output[0], Tensor):
        return output[0]
    raise ModelError(
        "model output",
        found=f"a {type(output).__name__}",
        expected="a tensor of logits, an object with .logits, or a tuple that begins with the logits",
    )


@dataclass(frozen=True)
class LayerSigma:
    """The effective noise of one layer, without unit."""

    layer: str
    of_max: float
    of_rms: float
    weights: int


@dataclass(frozen=True)
class EffectiveSigma:
    """Effective weight noise per layer, and over the network as the root mean square over its weights."""

    layers: tuple[LayerSigma, ...]

    def _mean(self, values: list[float]) -> float:
        total = sum(layer.weights for layer in self.layers)
        squares = sum(v * v * layer.weights for v, layer in zip(values, self.layers, strict=True))
        return float((squares / total) ** 0.5)

    @property
    def of_max(self) -> float:
        """σ_W / max|W|."""
        return self._mean([layer.of_max for layer in self.layers])

    @property
    def of_rms(self) -> float:
        """σ_W / rms(W)."""
        return self._mean([layer.of_rms for layer in self.layers])

    def __str__(self) -> str:
        lines = [f"{'layer':<40} {'σ_W/max|W|':>11} {'σ_W/rms(W)':>11}"]
        for layer in self.layers:
            lines.append(f"{layer.layer[-40:]:<40} {layer.of_max:>11.4f} {layer.of_rms:>11.4f}")
        return "\n".join([*lines, f"{'network':<40} {self.of_max:>11.4f} {self.of_rms:>11.4f}"])


def effective_sigma(model: nn.Module, hardware: Hardware) -> EffectiveSigma:
    """What a nominal device σ does to each layer's weights: σ_W/max|W| and σ_W/rms(W), in closed form.

    σ_W is the root mean square over the layer's weights of the standard deviation of a programmed weight.

    >>> import torch, everychip as ec
    >>> hw = ec.Hardware(device=ec.devices.Gaussian(sigma=0.1))
    >>> round(effective_sigma(torch.nn.Linear(8, 8), hw).of_max, 4)
    0.0778
    """
    layers = []
    columns = hardware.columns(model)
    must_be_finite(hardware.crossbar(model).items())
    with torch.no_grad():
        for name, parameter in hardware.crossbar(model).items():
            weight = parameter.float()
            sigma = _rms(hardware.mapping.std(weight, hardware.device, columns=columns[name]))
            largest, typical = float(weight.abs().amax()), _rms(weight)
            # A layer of zeros has no noise: G_max stands for 0.
            layers.append(LayerSigma(name, sigma / (largest or 1), sigma / (typical or 1), parameter.numel()))
    return EffectiveSigma(tuple(layers))


def _rms(values: Tensor) -> float:
    return float(values.double().square().mean().sqrt())
