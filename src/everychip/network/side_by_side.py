"""Several chips of a convolutional network in one call on a CPU: they lie side by side among the channels.

`torch.func.vmap` groups convolutions on contiguous images and moves the chips in front of them to pool;
oneDNN and PyTorch's pools are several times as fast on channels-last images, all chips of a pixel next to
each other. Only the functions below are known; a network that calls another one is run by vmap.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils._pytree import tree_map

from everychip.network.chips_tensor import Chips, UnknownFunctionError, acts_on
from everychip.network.gru_of_chips import gru_of_chips
from everychip.network.memory_format import faster_layout


def answered_side_by_side(
    one: Callable[[Mapping[str, Tensor], Any], Any], chips: Mapping[str, Tensor], x: Any
) -> Any:
    """What a network answers for one batch with every chip.

    Args:
        one: answers with the tensors of one chip.
        chips: tensors [chips, …] by name.
        x: the batch.

    Returns:
        The network's output, every tensor of it [chips, …].

    Raises:
        UnknownFunctionError: the network calls a function that is not known to act on chips side by side.
    """
    number = len(next(iter(chips.values())))
    output = one({name: Chips.of(held, number=number) for name, held in chips.items()}, x)
    return tree_map(partial(_every_chips, number), output)


def _every_chips(number: int, leaf: Any) -> Any:
    """A tensor of an output as [chips, …], one that all chips share as well."""
    if isinstance(leaf, Chips):
        return leaf.chips_first()
    return leaf.expand(number, *leaf.shape) if isinstance(leaf, Tensor) else leaf


@acts_on(
    *(torch.relu, torch.relu_, Tensor.relu, Tensor.relu_, F.relu, F.relu6, F.hardtanh, F.leaky_relu, F.elu),
    *(torch.tanh, Tensor.tanh, torch.sigmoid, Tensor.sigmoid, F.gelu, F.silu, F.hardswish, F.hardsigmoid),
    *(Tensor.contiguous, Tensor.detach),
)
def _each(func: Callable[..., Tensor], x: Any, *args: Any, **how: Any) -> Chips:
    """A function of every number by itself, or of every channel by itself."""
    if not isinstance(x, Chips) or any(isinstance(one, Tensor) for one in (*args, *how.values())):
        raise UnknownFunctionError(func.__name__)
    made = func(x.held, *args, **how)
    if not isinstance(made, Tensor):
        raise UnknownFunctionError(func.__name__)
    return x.like(made)


@acts_on(F.max_pool2d, torch.max_pool2d, F.avg_pool2d, F.adaptive_avg_pool2d)
def _pool(func: Callable[..., Tensor], x: Any, *args: Any, **how: Any) -> Chips:
    """A pool, channel by channel."""
    if not isinstance(x, Chips) or not x.among_channels or how.get("return_indices"):
        raise UnknownFunctionError(func.__name__)
    return _each(func, x, *args, **how)


@acts_on(F.dropout)
def _dropout(func: Callable[..., Tensor], x: Any, *args: Any, **how: Any) -> Chips:
    """Nothing in evaluation."""
    if how.get("training", args[1] if len(args) > 1 else True):
        raise UnknownFunctionError(func.__name__)
    kept: Chips = x
    return kept


@acts_on(
    *(torch.add, Tensor.add, Tensor.add_, Tensor.__add__, Tensor.__radd__, Tensor.__iadd__),
    *(torch.mul, Tensor.mul, Tensor.__mul__, Tensor.__rmul__),
)
def _both(func: Callable[..., Tensor], a: Any, b: Any, **how: Any) -> Chips:
    """A sum or a product, number by number."""
    one: Chips = a if isinstance(a, Chips) else b
    for other in (a, b):
        if isinstance(other, Chips):
            alike = other.among_channels == one.among_channels and len(other.one_shape) == len(one.one_shape)
            # Of one channel and several, every chip's one would have to be spread over its several.
            alike &= not one.among_channels or other.one_shape[1] == one.one_shape[1]
        else:
            most = 0 if one.among_channels else len(one.one_shape)
            alike = not isinstance(other, Tensor) or other.ndim <= most
        if not alike:
            raise UnknownFunctionError(func.__name__)
    plain = [other.held if isinstance(other, Chips) else other for other in (a, b)]
    return one.like(func(*plain, **how))


@acts_on(torch.conv2d)
def _conv2d(
    func: Callable[..., Tensor],
    input: Any,  # noqa: A002 - PyTorch's own names
    weight: Any,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Chips:
    """A convolution; of images that all chips share, with all kernels as those of one layer."""
    shared = not isinstance(input, Chips)
    batch = input.ndim == 4 and (shared or input.among_channels)
    if not isinstance(weight, Chips) or not batch or (shared and groups > 1):
        raise UnknownFunctionError(func.__name__)
    images, parts = (input, 1) if shared else (input.held, weight.number * groups)
    kernels = faster_layout(weight.held.flatten(0, 1))
    added = None if bias is None else _in_line(bias, weight.number)
    drawn = func(faster_layout(images), kernels, added, stride, padding, dilation, parts)
    return Chips.of(drawn, number=weight.number, among_channels=True)


@acts_on(F.linear)
def _linear(func: Callable[..., Tensor], input: Any, weight: Any, bias: Any = None) -> Chips:  # noqa: A002
    """A linear layer of rows [n, features]."""
    if not isinstance(weight, Chips) or input.ndim != 2 or getattr(input, "among_channels", False):
        raise UnknownFunctionError(func.__name__)
    rows = input.held if isinstance(input, Chips) else input.expand(weight.number, *input.shape)
    if bias is None:
        return weight.like(torch.bmm(rows, weight.held.mT))
    added = bias.held[:, None] if isinstance(bias, Chips) else bias
    return weight.like(torch.baddbmm(added, rows, weight.held.mT))


@acts_on(F.batch_norm)
def _batch_norm(
    func: Callable[..., Tensor],
    input: Any,  # noqa: A002
    running_mean: Any,
    running_var: Any,
    weight: Any = None,
    bias: Any = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Chips:
    """Batch norm with the statistics that it has."""
    if training or running_mean is None or not isinstance(input, Chips) or not input.among_channels:
        raise UnknownFunctionError(func.__name__)
    numbers = (running_mean, running_var, weight, bias)
    every = [None if one is None else _in_line(one, input.number) for one in numbers]
    return input.like(func(input.held, *every, False, momentum, eps))


def _in_line(numbers: Any, chips: int) -> Tensor:
    """A number for each channel of every chip, one chip after another."""
    line: Tensor = numbers.held.flatten() if isinstance(numbers, Chips) else numbers.repeat(chips)
    return line


@acts_on(torch.gru)
def _gru(
    func: Callable[..., Any],
    input: Any,  # noqa: A002
    start: Any,
    weights: Any,
    biases: bool,
    _layers: int,
    _dropout: float,
    train: bool,
    bidirectional: bool,
    batch_first: bool,
) -> tuple[Chips, Chips]:
    """Gated recurrent layers over batches of sequences of one length."""
    if train or not isinstance(weights, list | tuple) or input.ndim != 3:
        raise UnknownFunctionError(func.__name__)
    number = next(one.number for one in (input, start, *weights) if isinstance(one, Chips))
    x, h, *own = (_every_chips(number, one) for one in (input, start, *weights))
    directions = 2 if bidirectional else 1
    x = x if batch_first else x.transpose(1, 2)
    states, last = gru_of_chips(x, h, own, biases=biases, directions=directions)
    states = states if batch_first else states.transpose(1, 2)
    return Chips.of(states, number=number), Chips.of(last, number=number)


@acts_on(Tensor.__getitem__)
def _part(func: Callable[..., Tensor], x: Any, index: Any) -> Chips:
    """A part of every chip's, by numbers and slices."""
    places = index if isinstance(index, tuple) else (index,)
    simple = all(one is None or one is ... or type(one) in (int, slice) for one in places)
    if not isinstance(x, Chips) or x.among_channels or not simple:
        raise UnknownFunctionError(func.__name__)
    return x.like(x.held[(slice(None), *places)])


@acts_on(torch.flatten, Tensor.flatten)
def _flatten(func: Callable[..., Tensor], x: Any, start_dim: int = 0, end_dim: int = -1) -> Chips:
    """Every image as a row."""
    if start_dim != 1 or end_dim not in (-1, x.ndim - 1):
        raise UnknownFunctionError(func.__name__)
    return Chips.of(x.chips_first().flatten(2), number=x.number)


@acts_on(Tensor.reshape, Tensor.view)
def _reshape(func: Callable[..., Tensor], x: Any, *shape: Any) -> Chips:
    """The same, asked for by another name."""
    wanted = shape[0] if len(shape) == 1 and not isinstance(shape[0], int) else shape
    if len(wanted) != 2 or wanted[0] != x.one_shape[0] or wanted[1] not in (-1, x.one_shape[1:].numel()):
        raise UnknownFunctionError(func.__name__)
    return _flatten(func, x, 1)
