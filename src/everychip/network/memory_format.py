"""The memory format that images and convolution weights are computed in."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

_BLOCK = 16
"""Input channels below which oneDNN pads the block it copies strided pixels into, on CPUs with AVX-512."""


def to_memory_format(tensor: Tensor, layout: torch.memory_format | None) -> Tensor:
    """Images and convolution weights in a memory format; tensors of another number of axes as they are.

    `to` changes the strides of one channel, too, by which PyTorch chooses the format of what follows;
    `contiguous` leaves them.

    >>> to_memory_format(torch.zeros(2, 1, 8, 8), torch.channels_last).stride()
    (64, 1, 8, 1)
    """
    return tensor if layout is None or tensor.ndim != 4 else tensor.to(memory_format=layout)


def layout_of(tensor: Tensor) -> torch.memory_format:
    """Channels-last where the strides are those, else contiguous; a single channel has both, its strides one.

    >>> layout_of(torch.zeros(2, 1, 8, 8)), layout_of(faster_layout(torch.zeros(2, 1, 8, 8)))
    (torch.contiguous_format, torch.channels_last)
    """
    plain = torch.empty(tensor.shape, device="meta").stride()
    return torch.contiguous_format if tensor.stride() == plain else torch.channels_last


def faster_layout(tensor: Tensor) -> Tensor:
    """Images and convolution weights channels-last, which CPUs and tensor cores run faster."""
    return to_memory_format(tensor, torch.channels_last)


def safe_layout(model: nn.Module, x: Tensor) -> torch.memory_format:
    """Channels-last for images, unless the model has a convolution that oneDNN computes wrongly so.

    The gradient of a strided 1×1 convolution of fewer than 16 input channels is written past the end of its
    workspace: wrong numbers, or a crash. Source: uxlfoundation/oneDNN issue 6035, open when this was written.

    >>> narrow = nn.Sequential(nn.Conv2d(4, 8, 1, stride=2))
    >>> safe_layout(narrow, torch.zeros(2, 4, 8, 8))
    torch.contiguous_format
    """
    if x.ndim != 4 or any(_miscomputed(module) for module in model.modules()):
        return torch.contiguous_format
    return torch.channels_last


@contextmanager
def kernels_in(model: nn.Module, layout: torch.memory_format) -> Iterator[None]:
    """Convolution weights in a memory format inside, each in its own again afterwards; their values stay."""
    parameters = [parameter for parameter in model.parameters() if parameter.ndim == 4]
    own = [layout_of(p) for p in parameters]
    for parameter in parameters:
        parameter.data = to_memory_format(parameter.data, layout)
    try:
        yield
    finally:
        for parameter, before in zip(parameters, own, strict=True):
            parameter.data = to_memory_format(parameter.data, before)


def _miscomputed(module: nn.Module) -> bool:
    if not isinstance(module, nn.Conv2d) or module.weight.device.type != "cpu":
        return False
    pointwise, strided = set(module.kernel_size) == {1}, max(module.stride) > 1
    return pointwise and strided and module.in_channels // module.groups < _BLOCK
