"""The exits' own losses, beside any method's, for a network whose exits stay."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from everychip.exits import MultiExit
from everychip.exits.dense import spread_to


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


def exits_loss(
    loss: Callable[[Tensor, Any], Tensor], exits: list[Tensor], y: Any, *, axis: int | None = None
) -> Tensor:
    """mean_n L(z_n, y), L the task's loss, over the exits of one forward.

    Args:
        loss: L.
        exits: z_n, the logits of each exit.
        y: labels, or what the loss takes.
        axis: of the classes, where an output has places; exits are then spread to the places of y.

    Returns:
        A scalar.
    """
    if axis is not None:
        exits = [spread_to(z_n, y.shape[1:], axis=axis) for z_n in exits]
    return torch.stack([loss(z_n, y) for z_n in exits]).mean()
