"""A word for a loop that forgets after_step: optimizers tell of their steps, objectives of theirs."""

from __future__ import annotations

import warnings
from typing import Any
from weakref import WeakKeyDictionary

from torch import Tensor, nn
from torch.optim.optimizer import Optimizer, register_optimizer_step_post_hook


class Reminder:
    """Counts the optimizer steps of one objective and warns, once, where after_step was not called.

    One step may have any number of forwards and backwards, as accumulated gradients and LBFGS have; only the
    end of `optimizer.step()` counts, of an optimizer that has the first of the objective's trained weights.
    """

    _listening = False

    def __init__(self, objective: nn.Module, weights: dict[str, Tensor]) -> None:
        self.first = next(iter(weights.values()), None)
        self.done = 0
        self.warned = False
        _reminders[objective] = self
        if not Reminder._listening:
            Reminder._listening = True
            register_optimizer_step_post_hook(_count)

    def before_forward(self, step: int) -> None:
        """Warn if an optimizer has gone on and the objective has not."""
        if self.done and not self.warned:
            self.warned = True
            warnings.warn(
                f"objective: found {self.done} optimizer.step() without after_step() in step {step}; "
                "expected objective.after_step() after each: without it, no fresh chips, ramp or constraint",
                stacklevel=5,
            )


_reminders: WeakKeyDictionary[nn.Module, Reminder] = WeakKeyDictionary()


def _count(optimizer: Optimizer, _args: Any, _kwargs: Any) -> None:
    for reminder in list(_reminders.values()):
        if any(p is reminder.first for group in optimizer.param_groups for p in group["params"]):
            reminder.done += 1
