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


def dtypes_of(model: nn.Module) -> set[torch.dtype]:
    """The types of the model's floating-point parameters.

    >>> dtypes_of(nn.Linear(4, 2))
    {torch.float32}
    """
    return {parameter.dtype for parameter in model.parameters() if parameter.is_floating_point()}


def type_remedy(x: Tensor, known: set[torch.dtype]) -> str | None:
    """What inputs of another type than the model's numbers lack, for few layers multiply the two.

    Args:
        x: inputs.
        known: `dtypes_of` the model.

    Returns:
        How they become inputs of its type; None where they are, or where nothing is known of it.

    >>> print(type_remedy(torch.zeros(2, 4, dtype=torch.float64), {torch.float32}))
    a model of float32 takes inputs of its type: x.to(torch.float32)
    """
    if len(known) != 1 or x.is_complex() or x.dtype in known:
        return None
    wanted = str(*known)
    if not x.is_floating_point():
        return f"whole numbers are numbers to such layers by x.to({wanted}), of bytes then x / 255"
    return f"a model of {wanted.removeprefix('torch.')} takes inputs of its type: x.to({wanted})"


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
