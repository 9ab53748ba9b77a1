"""What a model must be before it is run: somewhere, and made of numbers."""

from __future__ import annotations

import math
from collections.abc import Iterable
from itertools import chain

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from everychip.errors import ModelError


def device_of(model: nn.Module) -> torch.device:
    """Where the model's tensors are: those of its parameters, or without any, of its buffers, or the CPU.

    >>> device_of(nn.ReLU())
    device(type='cpu')
    """
    first = next(chain(model.parameters(), model.buffers()), None)
    return torch.device("cpu") if first is None else first.device


def dtypes_of(model: nn.Module) -> tuple[torch.dtype, ...]:
    """The types of the model's floating-point parameters, each once, in the order of the model.

    >>> dtypes_of(nn.Linear(4, 2))
    (torch.float32,)
    """
    return tuple(dict.fromkeys(p.dtype for p in model.parameters() if p.is_floating_point()))


def type_remedy(x: Tensor, known: tuple[torch.dtype, ...]) -> str | None:
    """What inputs of another type than the model's numbers lack, for few layers multiply the two.

    Args:
        x: inputs.
        known: `dtypes_of` the model; of several, which of them inputs are to be is not known for sure.

    Returns:
        How they become inputs of its type; None where they are, or where nothing is known of it.

    >>> print(type_remedy(torch.zeros(2, 4, dtype=torch.float64), (torch.float32,)))
    a model of float32 takes inputs of its type: x.to(torch.float32)
    >>> print(type_remedy(torch.zeros(2, 4), (torch.bfloat16, torch.float32)))
    a model of bfloat16 and float32 takes inputs of the type of its first layer: x.to(torch.bfloat16)
    """
    if not known or x.is_complex() or (len(known) == 1 and x.dtype == known[0]):
        return None
    first, types = known[0], " and ".join(str(one).removeprefix("torch.") for one in known)
    if not x.is_floating_point():
        whole = f"whole numbers are numbers to such layers by x.to({first}), of bytes then x / 255"
        return whole if len(known) == 1 else None
    if x.dtype == first:
        return f"a model of {types} casts between its parts in its own forward"
    of_first = "its type" if len(known) == 1 else "the type of its first layer"
    return f"a model of {types} takes inputs of {of_first}: x.to({first})"


def must_be_finite(tensors: Iterable[tuple[str, Tensor]]) -> None:
    """Refuse parameters with NaN or infinity: whatever they compute is no result.

    >>> must_be_finite([("weight", torch.tensor([1.0, float("nan")]))])
    Traceback (most recent call last):
    everychip.errors.ModelError: weight: found 1 NaN or infinity in 2 numbers; expected finite weights; a
    training that diverged leaves such: load weights from before it did
    """
    for name, tensor in tensors:
        if tensor.is_meta and not is_lazy(tensor):
            raise ModelError(
                name,
                found="a weight without values, on the meta device",
                expected="the network's weights",
                remedy='model.to_empty(device="cpu"), then load_state_dict',
            )
        if is_finite(tensor):
            continue
        bad = int((~tensor.detach().isfinite()).sum())
        raise ModelError(
            name,
            found=f"{bad} NaN or infinity in {tensor.numel()} numbers",
            expected="finite weights",
            remedy="a training that diverged leaves such: load weights from before it did",
        )


def is_finite(tensor: Tensor) -> bool:
    """Whether all numbers are finite; numbers of less than two bytes, which PyTorch cannot add, pass."""
    if is_lazy(tensor) or tensor.is_meta:
        return True
    if not (tensor.is_floating_point() or tensor.is_complex()) or tensor.element_size() < 2:
        return True
    # One sum tells of most tensors that they are finite: a NaN or an infinity would have spread to it.
    with torch.no_grad():
        total = tensor.sum(dtype=torch.promote_types(tensor.dtype, torch.float32))
        if total.is_complex():
            total = torch.view_as_real(total).sum()
        return math.isfinite(float(total)) or bool(tensor.isfinite().all())
