"""A chip is data: one programmed instance of a model, as a mapping from parameter name to tensor."""

from __future__ import annotations

import operator
import warnings
from collections.abc import Mapping
from typing import Any, Literal, get_args

from torch import Tensor, nn

from everychip.config.arguments import a, index, one_of, takes
from everychip.hardware.addresses import addresses
from everychip.hardware.arguments import HARDWARE, MODEL
from everychip.hardware.effective_sigma import EffectiveSigma, LayerSigma
from everychip.hardware.hardware import Hardware
from everychip.hardware.outliers import warn_of_layer_scale
from everychip.hardware.placement import Placed, program_weights
from everychip.hardware.programming import NoiseGradient
from everychip.network.outputs import logits
from everychip.network.running import Runner
from everychip.network.soundness import must_be_finite

__all__ = [
    "EffectiveSigma",
    "LayerSigma",
    "NoiseGradient",
    "Purpose",
    "addresses",
    "effective_sigma",
    "logits",
    "program",
    "program_weights",
    "run",
]

Purpose = Literal["evaluate", "validate", "train"]


@takes(
    model=MODEL,
    hardware=HARDWARE,
    seed=index,
    chip=index,
    purpose=one_of(*get_args(Purpose)),
)
def program(
    model: nn.Module, hardware: Hardware, *, seed: int, chip: int, purpose: Purpose = "evaluate"
) -> dict[str, Tensor]:
    """Program one chip: the tensors that the hardware really holds, by parameter name.

    The model is not touched; run the chip with `torch.func.functional_call(model, chip, (x,))`. A parameter's
    draw depends on (seed, purpose, chip, its name) only, wrapped (`torch.compile`) or not: models of the same
    names and shapes meet the same chips, and the same chip at another σ has the same draw at another scale.

    Args:
        model: the network, any `nn.Module`; it is left as it is.
        hardware: device, mapping and array that it is programmed into.
        seed: of all draws, a whole number.
        chip: its number, a whole number.
        purpose: which of the chips of that number: "evaluate", "validate" or "train".

    Returns:
        Parameter name → the programmed tensor, in its shape and dtype.

    >>> import torch, everychip as ec
    >>> model = torch.nn.Linear(4, 2)
    >>> hw = ec.Hardware(device=ec.devices.Gaussian(sigma=0.1))
    >>> chip = ec.program(model, hw, seed=0, chip=3)
    >>> list(chip), torch.func.functional_call(model, chip, (torch.ones(1, 4),)).shape
    (['weight'], torch.Size([1, 2]))
    """
    _warn_of_module_held_twice(model)
    path = (purpose, operator.index(chip))
    placed = Placed.of(model, hardware)
    must_be_finite(placed.weights.items())
    if path == ("evaluate", 0):
        warn_of_layer_scale(placed, stacklevel=3)  # through `takes`; of the chips that follow no more is said
    return placed.program(seed=seed, path=path)


def _warn_of_module_held_twice(model: nn.Module) -> None:
    first: dict[int, str] = {}
    for name, module in model.named_modules(remove_duplicate=False):
        if module._parameters and first.setdefault(id(module), name) != name:
            warnings.warn(
                f"{first[id(module)]} and {name} are one module: functional_call with tied weights would "
                "leave the chip in the model (pytorch#164759); use everychip.run(model, chip, x)",
                stacklevel=3,
            )
            return


@takes(model=MODEL, chip=a(Mapping, "a chip: tensors by name"))
def run(model: nn.Module, chip: Mapping[str, Tensor], x: Any) -> Tensor:
    """The logits of one chip for one batch; `chip` may be empty for the digital model.

    It may hold buffers, too. A tensor of the model that several modules hold is replaced in all of them. To
    run many batches, or many chips, make one `everychip.network.running.Runner`, which walks the model once.

    Args:
        model: the network, any `nn.Module`; it is left as it is.
        chip: tensors by name, of parameters or buffers.
        x: one batch, as the model takes it.

    Returns:
        [batch, …, classes].
    """
    return Runner(model).logits(chip, x)


@takes(model=MODEL, hardware=HARDWARE)
def effective_sigma(model: nn.Module, hardware: Hardware) -> EffectiveSigma:
    """What a nominal device σ does to each layer's weights: σ_W/max|W| and σ_W/rms(W), in closed form.

    σ_W is the root mean square over the layer's weights of the standard deviation of a programmed weight.

    Args:
        model: the network, any `nn.Module`; it is left as it is.
        hardware: device, mapping and array that it is programmed into.

    Returns:
        σ_W / max|W| and σ_W / rms(W), of each layer and as means over layers.

    >>> import torch, everychip as ec
    >>> hw = ec.Hardware(device=ec.devices.Gaussian(sigma=0.1))
    >>> round(effective_sigma(torch.nn.Linear(8, 8), hw).of_max, 4)
    0.0778
    """
    return Placed.of(model, hardware).effective_sigma()
