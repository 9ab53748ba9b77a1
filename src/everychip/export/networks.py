"""A network as a network of aihwkit: the same weights on its analog tiles."""

from __future__ import annotations

from copy import deepcopy
from importlib.util import find_spec
from typing import Any

from torch import Tensor, nn

from everychip.devices import Ideal
from everychip.errors import MissingExtraError, ModelError
from everychip.export.noise import counterpart
from everychip.hardware.hardware import Hardware
from everychip.hardware.layers import must_be_alike
from everychip.hardware.placement import Placed
from everychip.mapping import Direct

_CONVERTED = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
_RUN = (nn.Linear, nn.Conv2d)
"""What aihwkit converts, by exact class, and what of it a torch tile runs."""
INSTALL = "pip install --no-deps aihwkit==1.1.0"
"""Without its dependencies: they hold a torchvision and build tools that its torch tile does not need."""


def to_aihwkit(model: nn.Module, hardware: Hardware | None = None) -> nn.Module:
    """A copy of a network on aihwkit's torch tiles, with perfect inputs and outputs and digital biases.

    hardware: what it is programmed into. Its digital layers stay digital, and its device becomes the noise
    model of every tile where aihwkit has one that says the same (`counterpart`); else the tiles keep
    aihwkit's default, and only the weights are those of the network. One tile holds a layer, whatever its
    size, so that max|W| is that of the layer as it is here. A layer on the crossbar that aihwkit would leave
    digital is refused.

    Source: aihwkit 1.1.0, `TorchInferenceRPUConfig` (its compiled tile does not load beside current PyTorch).
    """
    _must_be_installed("export.to_aihwkit")
    from aihwkit.nn.conversion import convert_to_analog

    hardware = hardware or Hardware(device=Ideal(), mapping=Direct())
    if any(mapping.full_scales for mapping in hardware.mappings):
        raise ModelError(
            "hardware.mapping.full_scales",
            found="learned full scales, which clip weights",
            expected="weights that are mapped by their largest, as aihwkit does",
            remedy="export a network that was trained without method.scales",
        )
    held = _layers(model, hardware)
    digital = [
        name for name, module in model.named_modules() if type(module) in _CONVERTED and name not in held
    ]
    copy = deepcopy(model).cpu().float()
    analog: nn.Module = convert_to_analog(copy, _settings(hardware), exclude_modules=digital)
    analog.train(model.training)
    return analog


def tiles(analog: nn.Module) -> dict[str, Any]:
    """The tiles of an exported network by name: `tile.get_weights()` is what they hold, [out, in]."""
    return dict(analog.named_analog_tiles())  # type: ignore[operator]


def _must_be_installed(where: str) -> None:
    if find_spec("aihwkit") is None:
        raise MissingExtraError(where, "crosscheck", command=INSTALL)


def _settings(hardware: Hardware) -> Any:
    from aihwkit.simulator.configs import TorchInferenceRPUConfig

    must_be_alike(hardware.layers, "export")
    settings = TorchInferenceRPUConfig()
    settings.forward.is_perfect = True
    settings.drift_compensation = None
    settings.mapping.weight_scaling_omega = 0.0
    known = counterpart(hardware.device)
    if known.model is not None:
        settings.noise_model = known.model
    return settings


def _layers(model: nn.Module, hardware: Hardware) -> set[str]:
    """The layers whose weight is on the crossbar, each of a class that aihwkit converts."""
    held: set[str] = set()
    for name, parameter in Placed.of(model, hardware).weights.items():
        owners = _owners(model, parameter)
        reason = _refused(owners)
        if reason:
            raise ModelError(
                name,
                found=reason,
                expected="Linear and plain Conv2d layers",
                remedy=f'keep it digital in both: hardware.digital = ["{name}"]',
            )
        held |= owners.keys()
    return held


def _owners(model: nn.Module, parameter: Tensor) -> dict[str, nn.Module]:
    modules = model.named_modules(remove_duplicate=False)
    return {name: m for name, m in modules if any(p is parameter for p in m.parameters(recurse=False))}


def _refused(owners: dict[str, nn.Module]) -> str:
    """Why aihwkit does not take a weight; nothing where it does."""
    [module, *others] = owners.values()
    if others:
        return f"a weight that {' and '.join(owners)} share, of which aihwkit would make two"
    if type(module) not in _CONVERTED:
        return f"a {type(module).__name__}, which aihwkit leaves digital without a word"
    if type(module) not in _RUN:
        return f"a {type(module).__name__}, which aihwkit's torch tile cannot run"
    if isinstance(module, nn.Conv2d) and module.groups != 1:
        return f"a convolution of {module.groups} groups, which aihwkit cannot hold"
    if isinstance(module, nn.Conv2d) and isinstance(module.padding, str):
        return f'a convolution with padding="{module.padding}", whose numbers of pixels aihwkit needs'
    if isinstance(module, nn.Conv2d) and module.padding_mode != "zeros":
        return f"a convolution with {module.padding_mode} padding, which aihwkit cannot run"
    return ""
