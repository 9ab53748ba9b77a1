"""The optimizer of a training, for the parameters that it has, and its learning rate."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from everychip.errors import ModelError

Optimizer = Literal["adam", "sgd"]
Schedule = Literal["cosine", "step", "constant"]
_FUSED = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


def optimizer_of(
    module: nn.Module, *, kind: Optimizer, lr: float, momentum: float, weight_decay: float
) -> torch.optim.Optimizer:
    """Adam or SGD over what the module has to train; what cannot be trained by it is refused in one line.

    >>> type(optimizer_of(nn.Linear(2, 2), kind="sgd", lr=0.1, momentum=0.9, weight_decay=0)).__name__
    'SGD'
    """
    parameters = [p for p in module.parameters() if p.requires_grad]
    if not parameters:
        raise ModelError(
            type(module).__name__,
            found="no parameter that requires a gradient",
            remedy="thaw what is to be trained: parameter.requires_grad_(True)",
        )
    for name, tensor in (*module.named_parameters(), *module.named_buffers()):
        if tensor.is_inference():
            raise ModelError(
                name.removeprefix("model."),
                found="a tensor made in torch.inference_mode, which autograd cannot train",
                expected="a model that is built outside of it",
                remedy="build the model anew and load these weights: load_state_dict(model.state_dict())",
            )
    _must_take_sparse_gradients(module, kind, weight_decay)
    groups: Any = _groups(module, parameters) if weight_decay else parameters
    if kind == "sgd":
        return torch.optim.SGD(groups, lr=lr, momentum=momentum, weight_decay=weight_decay)
    return torch.optim.Adam(groups, lr=lr, weight_decay=weight_decay, fused=_can_be_fused(parameters))


def _groups(module: nn.Module, parameters: Sequence[Tensor]) -> Any:
    """Learned full scales have no weight decay: it would draw the logarithm of a range to 0."""
    learned = getattr(module, "learned", None)
    undecayed = {id(p) for p in learned.parameters()} if isinstance(learned, nn.Module) else set()
    if not undecayed:
        return parameters
    rest = [p for p in parameters if id(p) not in undecayed]
    own = [p for p in parameters if id(p) in undecayed]
    return [*([{"params": rest}] if rest else []), {"params": own, "weight_decay": 0.0}]


def share_of_rate(schedule: Schedule, step: int, steps: int) -> float:
    """The share of the learning rate that a step has.

    >>> [share_of_rate("step", step, 10) for step in (7, 8)], share_of_rate("cosine", 5, 10)
    ([1.0, 0.1], 0.5)
    """
    if schedule == "constant":
        return 1.0
    if schedule == "step":
        return 1.0 if 5 * step < 4 * steps else 0.1
    return 0.5 * (1 + math.cos(math.pi * step / steps))


def _can_be_fused(parameters: Sequence[Tensor]) -> bool:
    return all(parameter.dtype in _FUSED for parameter in parameters)


def _must_take_sparse_gradients(module: nn.Module, kind: Optimizer, weight_decay: float) -> None:
    """PyTorch's Adam takes none, nor does any weight decay."""
    for name, part in module.named_modules():
        sparse = isinstance(part, nn.Embedding | nn.EmbeddingBag) and part.sparse
        if sparse and part.weight.requires_grad and (kind == "adam" or weight_decay):
            what = "Adam" if kind == "adam" else "weight decay"
            raise ModelError(
                f"{name}.weight".removeprefix(".").removeprefix("model."),
                found=f"an embedding with sparse gradients, which {what} cannot take",
                expected='optimizer = "sgd" without weight_decay',
                remedy="or build the embedding with sparse=False",
            )
