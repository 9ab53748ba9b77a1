"""Why a parameter is, or is not, a matrix that a crossbar holds."""

from __future__ import annotations

from enum import StrEnum

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.parameter import UninitializedParameter

from everychip.errors import ModelError

_NORMS: tuple[type[nn.Module], ...] = (
    _NormBase,
    nn.LayerNorm,
    nn.GroupNorm,
    nn.LocalResponseNorm,
    *([nn.RMSNorm] if hasattr(nn, "RMSNorm") else []),
)
_BYTES = (torch.int8, torch.uint8, torch.float8_e4m3fn, torch.float8_e5m2)
EMBEDDINGS = (nn.Embedding, nn.EmbeddingBag)
_CONVOLUTIONS = (nn.modules.conv._ConvNd,)


class Why(StrEnum):
    """Why a parameter stands where it does; the value is the reason in words."""

    MATRIX = "a matrix"
    EMBEDDING = "embedding"
    LOOK_UP = "an embedding table is a look-up"
    BY_REQUEST = "digital by request"
    NOT_FLOATING = "not floating point"
    NORMALISATION = "a normalisation is computed digitally"
    COMPUTED = "another weight is computed from it"
    VECTOR = "a bias or vector is added digitally"
    EMPTY = "it has no elements"
    SCALE = "the scale of a quantised matrix is multiplied digitally"
    ADDED = "a free parameter with a batch dimension (a position or class token) is added"

    @classmethod
    def of_text(cls, reason: str) -> Why:
        """What a reason says that was written, by an earlier version, without its name.

        >>> Why.of_text("digital by request (2)").name, Why.of_text("torch.int8 is not floating point").name
        ('BY_REQUEST', 'NOT_FLOATING')
        """
        return max(cls, key=lambda why: len(why) if why in reason else 0)


def digital_value(names: list[str], modules: list[nn.Module], parameter: Tensor) -> Why | None:
    """Why a parameter is no matrix of products, or None if it is one."""
    if isinstance(parameter, UninitializedParameter):
        raise ModelError(
            names[0], found="a lazy parameter without a shape", remedy="run the model once on a batch"
        )
    if not parameter.is_floating_point():
        return Why.NOT_FLOATING
    if all(isinstance(module, _NORMS) for module in modules):
        return Why.NORMALISATION
    if any(_is_computed_from(module, name) for module in modules for name in names):
        return Why.COMPUTED
    leaf = names[0].rpartition(".")[2]
    attached = leaf in ("bias_k", "bias_v") and isinstance(modules[0], nn.MultiheadAttention)
    if parameter.ndim < 2 or attached:
        return Why.VECTOR
    if parameter.numel() == 0:
        return Why.EMPTY
    return None


def is_scale(parameter: Tensor, module: nn.Module) -> bool:
    """Whether the module has a larger matrix in bytes: this is then its scale or zero point."""
    held = (*module._parameters.values(), *module._buffers.values())
    matrices = (t for t in held if t is not None and t.dtype in _BYTES and t.ndim > 1)
    return any(parameter.numel() < matrix.numel() for matrix in matrices)


def dtype_of(tensor: Tensor) -> str:
    """The name of a tensor's type, without the package."""
    return str(tensor.dtype).removeprefix("torch.")


def _is_computed_from(module: nn.Module, name: str) -> bool:
    """Whether the module multiplies by a tensor that it makes of this parameter (both of torch's ways)."""
    if "parametrizations" in name.split("."):
        return True
    weight, _, part = name.rpartition(".")[2].rpartition("_")
    return part in ("orig", "g", "v") and isinstance(module.__dict__.get(weight), Tensor)


def is_layer_weight(modules: list[nn.Module]) -> bool:
    """Whether a parameter is the weight of a layer that multiplies its input by it."""
    layers = (nn.Linear, nn.Bilinear, nn.RNNBase, nn.RNNCellBase, nn.MultiheadAttention, *_CONVOLUTIONS)
    return any(isinstance(module, layers) for module in modules)
