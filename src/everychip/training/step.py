"""One step of a training: its rates, and the gradient of its batch, whole or in parts."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor

from everychip.data.inputs import Inputs, rows_of, taken
from everychip.methods import Objective
from everychip.network.running import autocast
from everychip.network.soundness import device_of
from everychip.training.config import Training
from everychip.training.optimizers import share_of_rate


def set_rates(optimizer: torch.optim.Optimizer, training: Training, step: int, steps: int) -> None:
    """Give every group of parameters the rate of this step.

    Args:
        optimizer: its groups have their factor as "rate".
        training: the rate and its schedule.
        step: from 0.
        steps: the length of the training.
    """
    share = share_of_rate(training.schedule, step, steps, warmup=training.warmup)
    for group in optimizer.param_groups:
        group["lr"] = training.lr * share * group.get("rate", 1.0)


def backward(
    objective: Objective, optimizer: torch.optim.Optimizer, x: Inputs, y: Any, training: Training
) -> Tensor:
    """The gradient of the batch's mean loss, of parts one after another where the training has them.

    Every part meets the chip of the step, and its loss counts by its share of the batch, so that the sum of
    the gradients is the gradient of the whole.

    Args:
        objective: a bound method.
        optimizer: whose gradients are cleared first.
        x: inputs [batch, …], where the model is.
        y: targets.
        training: the number of parts, the precision, and whether chips are drawn again.

    Returns:
        The loss of the batch, without gradient.
    """
    device, n = device_of(objective), rows_of(x)
    total = torch.zeros((), device=device)
    optimizer.zero_grad()  # before the forward, which then does not stand beside the last step's gradients
    parts = torch.arange(n).tensor_split(min(training.parts or 1, n))
    for rows in parts:
        some = slice(int(rows[0]), int(rows[-1]) + 1)
        inputs, targets = (x, y) if len(parts) == 1 else (taken(x, some), taken(y, some))
        kept = objective.redrawing() if training.redraw else nullcontext()
        with autocast(device, training.precision), kept:
            loss: Tensor = objective(inputs, targets)
        share = loss if len(parts) == 1 else loss * (len(rows) / n)
        share.backward()  # type: ignore[no-untyped-call]
        total = share.detach() if len(parts) == 1 else total + share.detach()
    return total
