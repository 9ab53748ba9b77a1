"""The optimizer of a training, for the parameters that it has, and its learning rate."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from everychip.errors import ConfigError, ModelError
from everychip.hardware.layers import matches

Optimizer = Literal["adam", "adamw", "sgd"]
Schedule = Literal["cosine", "step", "constant"]
_FUSED = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


def optimizer_of(
    module: nn.Module,
    *,
    kind: Optimizer,
    lr: float,
    momentum: float,
    weight_decay: float,
    rates: Mapping[str, float] | None = None,
) -> torch.optim.Optimizer:
    """Adam, AdamW or SGD over what the module has to train; what it cannot train is refused in one line.

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
    _must_have_digits(module, kind)
    groups = _groups(module, rates or {}) if not weight_decay else _decayed(module, rates or {})
    if kind == "sgd":
        return torch.optim.SGD(groups, lr=lr, momentum=momentum, weight_decay=weight_decay)
    made = torch.optim.AdamW if kind == "adamw" else torch.optim.Adam
    return made(groups, lr=lr, weight_decay=weight_decay, fused=_can_be_fused(parameters))


def _groups(module: nn.Module, rates: Mapping[str, float]) -> list[dict[str, Any]]:
    """The parameters by the factor of their rate, each group with its factor as "rate"."""
    names = [(n.removeprefix("model."), p) for n, p in module.named_parameters() if p.requires_grad]
    if not rates:
        return [{"params": [parameter for _, parameter in names], "rate": 1.0}]
    held: dict[str, list[Tensor]] = {pattern: [] for pattern in (*rates, "")}
    for name, parameter in names:
        held[next((pattern for pattern in rates if matches(pattern, name)), "")].append(parameter)
    for pattern in rates:
        if not any(matches(pattern, name) for name, _ in names):
            raise ConfigError(
                f"training.rates.{pattern}",
                found="no parameter of that name that is trained",
                expected="names or patterns of parameters or modules",
                remedy=f"the model has {', '.join(name for name, _ in names[:4])}, …",
            )
    factors = {**rates, "": 1.0}
    return [{"params": some, "rate": factors[pattern]} for pattern, some in held.items() if some]


def _decayed(module: nn.Module, rates: Mapping[str, float]) -> list[dict[str, Any]]:
    """The groups, learned full scales apart: weight decay would draw the logarithm of a range to 0."""
    learned = getattr(module, "learned", None)
    undecayed = {id(p) for p in learned.parameters()} if isinstance(learned, nn.Module) else set()
    groups = []
    for group in _groups(module, rates):
        rest = [p for p in group["params"] if id(p) not in undecayed]
        own = [p for p in group["params"] if id(p) in undecayed]
        groups += [{**group, "params": rest}] if rest else []
        groups += [{**group, "params": own, "weight_decay": 0.0}] if own else []
    return groups


def share_of_rate(schedule: Schedule, step: int, steps: int, *, warmup: float | None = None) -> float:
    """The share of the learning rate that a step has.

    >>> [share_of_rate("step", step, 10) for step in (7, 8)], share_of_rate("cosine", 5, 10)
    ([1.0, 0.1], 0.5)
    >>> [share_of_rate("constant", step, 10, warmup=0.4) for step in range(5)]
    [0.25, 0.5, 0.75, 1.0, 1.0]
    """
    if warmup is not None:
        rise = min(1.0, (step + 1) / math.ceil(warmup * steps))
        return rise * share_of_rate(schedule, step, steps)
    if schedule == "constant":
        return 1.0
    if schedule == "step":
        return 1.0 if 5 * step < 4 * steps else 0.1
    return 0.5 * (1 + math.cos(math.pi * step / steps))


def _can_be_fused(parameters: Sequence[Tensor]) -> bool:
    return all(parameter.dtype in _FUSED for parameter in parameters)


def _must_have_digits(module: nn.Module, kind: Optimizer) -> None:
    """In float16 the squares of small gradients are 0, and so is the ε that Adam divides by."""
    half = [n for n, p in module.named_parameters() if p.requires_grad and p.dtype == torch.float16]
    if half and kind != "sgd":
        raise ModelError(
            half[0].removeprefix("model."),
            found=f"a weight of float16, in which {kind}'s squared gradients and its ε of 1e-8 are 0",
            expected="a model of bfloat16 or float32",
            remedy='train model.float(), or optimizer = "sgd"',
        )


def _must_take_sparse_gradients(module: nn.Module, kind: Optimizer, weight_decay: float) -> None:
    """PyTorch's Adam takes none, nor does any weight decay."""
    for name, part in module.named_modules():
        sparse = isinstance(part, nn.Embedding | nn.EmbeddingBag) and part.sparse
        if sparse and part.weight.requires_grad and (kind != "sgd" or weight_decay):
            what = "Adam" if kind != "sgd" else "weight decay"
            raise ModelError(
                f"{name}.weight".removeprefix(".").removeprefix("model."),
                found=f"an embedding with sparse gradients, which {what} cannot take",
                expected='optimizer = "sgd" without weight_decay',
                remedy="or build the embedding with sparse=False",
            )
