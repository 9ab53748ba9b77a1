"""Negative feedback from internal classifiers: multi-exit training."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from everychip.config.registering import Before
from everychip.data.inputs import Inputs
from everychip.exits import Exits, multi_exit
from everychip.hardware.hardware import Hardware
from everychip.methods.base import Objective
from everychip.methods.internal_exits import InternalExits
from everychip.methods.losses import negative_feedback
from everychip.methods.ovf import share_of_backbone


class IRS(InternalExits):
    """Intermediate representation snapshot: the exits' logits are fed back negatively.

    L = CE(a_b·z − a_f·β·Σ_n γ_n·z_n, y), z_n the logits of exit n on noisy cells, n = 1 the earliest.
    beta: β (published: 1e-2 for VGG-8 on MNIST, 1e-1 on CIFAR-10). decay: γ_n = decay^(n−1).
    backbone_share, feedback_share: a_b and a_f, 1/(N+1) unless given; of a regression a_b is 1, for a
    prediction has a scale, which a share of it would train the backbone to make up for.
    deploy: "backbone" drops the exits after training, as published; "combined" trains a network whose exits
    stay (`everychip.MultiExit`) by CE of its own answer with the weights of this loss, w_n = −a_f·β·γ_n and
    w_{N+1} = a_b, held fixed: what is trained is what is deployed. The exits are then the network's, not
    those of positions, count, hidden and init.
    Cost: 1 forward per step plus the exits.

    Source: Qin et al., arXiv 2305.14561 (v1, multi-exit) and IEEE TCAD 2025, doi 10.1109/TCAD.2025.3591409.

    >>> IRS(beta=0.1).table()["beta"]
    0.1
    """

    controls: ClassVar[tuple[str, ...]] = ("noise_injection", "temperature", "deep_supervision")
    claim_control: ClassVar[str] = "temperature"
    colour: ClassVar[str] = "#0072b2"
    any_task: ClassVar[bool] = True

    beta: float = 1e-2
    decay: Annotated[float, Field(gt=0)] = 0.1
    backbone_share: float | None = None
    feedback_share: float | None = None
    deploy: Annotated[Literal["backbone", "combined"], Before("backbone")] = "backbone"

    def exits(self, model: nn.Module, sample: Tensor, *, seed: int) -> Exits | None:
        """The exits to be dropped, if any are."""
        return super().exits(model, sample, seed=seed) if self.deploy == "backbone" else None

    def dense_exits(self, model: nn.Module, sample: Inputs, *, seed: int, axis: int) -> Exits | None:
        """The same of a model that answers at every place."""
        dropped = self.deploy == "backbone"
        return super().dense_exits(model, sample, seed=seed, axis=axis) if dropped else None

    def validate_for(self, hardware: Hardware, sample: Tensor | None) -> None:
        """Exits that are attached are sized from a sample; those of the network are there."""
        if self.deploy == "backbone":
            super().validate_for(hardware, sample)

    def prepare(self, objective: Objective) -> None:
        """Give a network whose exits stay the weights of this loss."""
        if self.deploy == "combined":
            network = multi_exit(objective.model, where="method.deploy")
            network.combination.requires_grad_(False).copy_(self.combination(len(network.thresholds)))

    def combination(self, exits: int) -> Tensor:
        """w_1 … w_{N+1}: what the loss multiplies the logits of N exits and of the backbone by.

        Args:
            exits: N, how many there are.

        Returns:
            [exits + 1], the backbone's weight last.

        >>> IRS(beta=0.4).combination(3)
        tensor([-0.1000, -0.0100, -0.0010,  0.2500])
        """
        logits = torch.eye(exits + 1).unbind()
        return negative_feedback(
            logits[-1],
            logits[:-1],
            beta=self.beta,
            decay=self.decay,
            backbone_share=self.backbone_share,
            feedback_share=self.feedback_share,
        )

    def loss(self, objective: Objective, x: Tensor, y: Tensor) -> Tensor:
        if self.deploy == "combined":
            return objective.criterion(objective.noisy_logits(x), y)
        z, exits = self.all_logits(objective, x)
        seen = negative_feedback(
            z,
            exits,
            beta=self.beta,
            decay=self.decay,
            backbone_share=share_of_backbone(self.backbone_share, objective),
            feedback_share=self.feedback_share,
        )
        return objective.criterion(seen, y)
