"""The exits' own losses, beside any method's, for a network whose exits stay."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from everychip.exits import MultiExit
from everychip.exits.dense import spread_to

if TYPE_CHECKING:
    from everychip.methods.base import Objective


@contextmanager
def listening_to_exits(model: MultiExit) -> Iterator[list[list[Tensor]]]:
    """Collect the exits' logits of every forward run inside that backward can reach."""
    collected: list[list[Tensor]] = []

    def keep(_module: nn.Module, _inputs: object, logits: list[Tensor]) -> None:
        if torch.is_grad_enabled():
            collected.append(logits)

    handle = model.exits.register_forward_hook(keep)
    try:
        yield collected
    finally:
        handle.remove()


def exits_loss(objective: Objective, forwards: list[list[Tensor]], y: Any) -> Tensor:
    """mean_n L(z_n, y), L the task's loss, over the exits of that forward which the method's loss reads."""
    exits, axis = forwards[objective.method.loss_forward], objective.task.class_axis
    if axis is not None:
        exits = [spread_to(z_n, y.shape[1:], axis=axis) for z_n in exits]
    losses = [objective.criterion(z_n, y) for z_n in exits]
    return torch.stack(losses).mean()
