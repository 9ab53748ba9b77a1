"""A noisy network that learns from its own noise-free self."""

from __future__ import annotations

import copy
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from everychip.errors import ConfigError
from everychip.hardware.chip import run
from everychip.methods.base import Method, Objective
from everychip.methods.probe import FORWARD_ONLY


class Distillation(Method):
    """Distillation from a clean teacher: L = α·CE(z, y) + (1 − α)·T²·KL(softmax(t/T) ‖ softmax(z/T)).

    z: logits of a fresh chip. t: logits of the teacher, which is the model itself after `teacher_share` of
    the steps of ordinary noise-free training (one step at least, and all but one at most), frozen and in
    evaluation mode; the student goes on from there. A share of 0 is self-distillation of a trained network:
    the teacher is the model as `bind` is given it, before any constraint, from the first step on.
    CE is the task's loss, KL its own divergence (`Task.divergence`): of tokens over those that are scored, of
    several labels each by itself, of a regression the mean squared error, without T and T².
    hard_share: α; at 0 no label is read. temperature: T. Everything happens within one training: checkpoints
    carry the teacher. A ramp counts from the first step of all.
    Cost: s·1 + (1 − s)·1⅓ forwards per step, s = teacher_share: the teacher's forward has no backward.

    Source: after Zhou et al., Noisy Machines, arXiv 2001.04974 (α, T and s are this project's);
    the factor T² is that of Hinton et al., arXiv 1503.02531.

    >>> round(Distillation(teacher_share=0.25).forwards, 2)
    1.25
    """

    hard_share: Annotated[float, Field(ge=0, le=1)] = 0.5
    temperature: Annotated[float, Field(gt=0)] = 4.0
    teacher_share: Annotated[
        Annotated[float, Field(ge=0, lt=1)],
        Field(description="s, the share of training after which the model is its own teacher, 0 … 1."),
    ] = 0.3

    any_task: ClassVar[bool] = True

    @property
    def forwards(self) -> float:  # type: ignore[override]
        """One while the teacher is trained, the teacher's own forward on top afterwards."""
        return 1 + (1 - self.teacher_share) * FORWARD_ONLY

    def teacher_of(self, model: nn.Module) -> nn.Module:
        """A place for the teacher, which a share of 0 leaves as it is."""
        return copy.deepcopy(model).requires_grad_(False)

    def prepare(self, objective: Objective) -> None:
        """The length of training says when the teacher is ready."""
        if not self.teacher_share:
            return
        if objective.steps is None:
            raise ConfigError(
                "method.teacher_share",
                found="no length of training",
                expected="the number of steps that it is a share of",
                remedy="bind(model, hardware, steps=epochs * batches)",
            )
        if objective.steps < 2:
            raise ConfigError(
                "method.teacher_share",
                found="a training of one step",
                expected="at least 2: one for the teacher, one for its student",
                remedy="train for longer",
            )

    def teaching(self, steps: int) -> int:
        """How many of so many steps train the teacher: one to all but one of them, or none at a share of 0.

        Args:
            steps: the length of training.

        Returns:
            Steps of the teacher.

        >>> [Distillation(teacher_share=s).teaching(10) for s in (0.01, 0.3, 0.99)]
        [1, 3, 9]
        """
        return min(max(1, round(self.teacher_share * steps)), steps - 1) if self.teacher_share else 0

    def begin_step(self, objective: Objective) -> None:
        """Take the teacher over before a forward under noise moves batch norm's statistics."""
        if self.teacher_share and objective.step == self.teaching(objective.steps or 0):
            objective.get_submodule("teacher").load_state_dict(objective.model.state_dict())

    def loss(self, objective: Objective, x: Tensor, y: Tensor) -> Tensor:
        if objective.step < self.teaching(objective.steps or 0):
            return objective.criterion(objective.runner.logits({}, x), y)
        teacher = objective.get_submodule("teacher")
        with torch.no_grad():
            taught = run(teacher.eval(), {}, x)
        z = objective.noisy_logits(x)
        soft = objective.task.divergence(taught, z, y, temperature=self.temperature)
        if not objective.task.has_scale:
            soft = self.temperature**2 * soft
        return self.hard_share * objective.criterion(z, y) + (1 - self.hard_share) * soft
