"""Negative feedback from noisier forwards of the same batch."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from everychip.hardware.hardware import Hardware
from everychip.methods.base import Method, Objective
from everychip.methods.losses import negative_feedback


class OVF(Method):
    """Oriented variational forward: the logits of noisier chips are fed back negatively.

    L = CE(a_b·z − a_f·β·Σ_n γ_n·z_n, y), z_n a forward of the same batch at σ + increment n.
    beta: β (published: 1e-3 for VGG-8). increments: added to the nominal σ, the noisiest first, so that it
    has γ = 1. decay, backbone_share, feedback_share: as for IRS.
    batch_norm: whose forwards move the running statistics: "all" as in the authors' code, or "backbone" for
    those that evaluation will meet. At the published β this is the largest part of what OVF changes
    (control: `temperature_statistics`).
    reach: which matrices meet the raised σ: "all", or "ends" (the first and the last that a forward of
    `bind`'s sample multiplies by, or without a sample that the model defines), as the authors' code does on
    ResNet-18; the others keep the device's own σ.
    Cost: 1 + N forwards per step, 4 as published.

    Source: Qin et al., IEEE TCAD 2025, doi 10.1109/TCAD.2025.3591409, and the authors' code.

    >>> OVF().increments
    (0.15, 0.1, 0.05)
    """

    controls: ClassVar[tuple[str, ...]] = (
        "noise_injection",
        "temperature",
        "temperature_statistics",
        "over_noise",
        "vant",
    )
    claim_control: ClassVar[str] = "temperature"
    colour: ClassVar[str] = "#d55e00"
    any_task: ClassVar[bool] = True

    beta: float = 1e-3
    increments: Annotated[tuple[Annotated[float, Field(ge=0)], ...], Field(min_length=1)] = (0.15, 0.10, 0.05)
    decay: Annotated[float, Field(gt=0)] = 0.1
    backbone_share: float | None = None
    feedback_share: float | None = None
    batch_norm: Literal["backbone", "all"] = "all"
    reach: Literal["all", "ends"] = "all"

    @property
    def forwards(self) -> float:  # type: ignore[override]
        """The backbone's own forward and one for every increment."""
        return 1.0 + len(self.increments)

    def validate_for(self, hardware: Hardware, sample: Tensor | None) -> None:
        """The increments are added to a nominal σ, so the device must have one."""
        hardware.with_sigma(0.0)

    def prepare(self, objective: Objective) -> None:
        """Find the ends while the model is as it was given."""
        if self.reach == "ends":
            _ = objective.order

    def loss(self, objective: Objective, x: Tensor, y: Tensor) -> Tensor:
        z = objective.noisy_logits(x)
        sigma = objective.hardware.device.nominal_sigma or 0.0
        feedback = [
            self._feedback(objective, x, sigma + increment, n)
            for n, increment in enumerate(self.increments, 1)
        ]
        seen = negative_feedback(
            z,
            feedback,
            beta=self.beta,
            decay=self.decay,
            backbone_share=share_of_backbone(self.backbone_share, objective),
            feedback_share=self.feedback_share,
        )
        return objective.criterion(seen, y)

    def _feedback(self, objective: Objective, x: Tensor, sigma: float, n: int) -> Tensor:
        raised = objective.hardware.with_sigma(sigma)
        if self.reach == "all":
            chip = objective.chip(hardware=raised, part=n)
        else:
            ends = {name: objective.weights[name] for name in (objective.order[0], objective.order[-1])}
            chip = {**objective.chip(part=n), **objective.chip(hardware=raised, weights=ends, part=n)}
        statistics = running_statistics(objective.model) if self.batch_norm == "backbone" else {}
        return objective.runner.logits({**chip, **statistics}, x)


def share_of_backbone(given: float | None, objective: Objective) -> float | None:
    """a_b of a negative feedback: as given, or 1 where answers have a scale; None, 1/(N+1)."""
    return 1.0 if given is None and objective.task.has_scale else given


def running_statistics(model: nn.Module) -> dict[str, Tensor]:
    """Copies of every batch norm's buffers, for a forward that must not move them.

    >>> sorted(running_statistics(nn.Sequential(nn.BatchNorm1d(2))))
    ['0.num_batches_tracked', '0.running_mean', '0.running_var']
    """
    return {
        f"{prefix}.{name}" if prefix else name: buffer.clone()
        for prefix, module in model.named_modules()
        if isinstance(module, _BatchNorm)
        for name, buffer in module.named_buffers(recurse=False)
    }
