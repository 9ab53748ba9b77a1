"""The control of OVF's statistics: batch norm sees the noisier chips, the loss does not."""

from __future__ import annotations

from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from everychip.hardware.hardware import Hardware
from everychip.methods.base import Objective
from everychip.methods.losses import full_precision
from everychip.methods.probe import FORWARD_ONLY
from everychip.methods.temperature import Temperature


class TemperatureStatistics(Temperature):
    """`temperature` whose batch norm also sees noisier chips: L = CE(z / T, y), no feedback.

    After the forward that the loss reads come forwards without gradient of the same batch at σ + each of
    the increments, on the chips that OVF would draw; all they do is move batch norm's running statistics.
    What OVF with `batch_norm = "all"` gains over this is feedback; what this gains over `temperature` is
    statistics. temperature: T; N + 1 as for OVF. increments: added to the nominal σ, in OVF's order. Cost:
    1 forward per step and N forwards without backward.

    Source: this project's own; the increments are those of Qin et al., IEEE TCAD 2025,
    doi 10.1109/TCAD.2025.3591409, and the order that of the authors' code.

    >>> TemperatureStatistics().increments
    (0.15, 0.1, 0.05)
    """

    controls: ClassVar[tuple[str, ...]] = ("noise_injection", "temperature")
    as_control: ClassVar[str] = "has the softer loss, and the running statistics of all forwards"
    colour: ClassVar[str] = ""
    increments: Annotated[tuple[Annotated[float, Field(ge=0)], ...], Field(min_length=1)] = (0.15, 0.10, 0.05)

    @property
    def forwards(self) -> float:  # type: ignore[override]
        """The backbone's own forward, and one without backward for every increment."""
        return 1.0 + FORWARD_ONLY * len(self.increments)

    def validate_for(self, hardware: Hardware, sample: Tensor | None) -> None:
        """The increments are added to a nominal σ, so the device must have one."""
        hardware.with_sigma(0.0)

    def loss(self, objective: Objective, x: Tensor, y: Tensor) -> Tensor:
        z = objective.noisy_logits(x)
        sigma = objective.hardware.device.nominal_sigma or 0.0
        with torch.no_grad():
            for n, increment in enumerate(self.increments, 1):
                chip = objective.chip(hardware=objective.hardware.with_sigma(sigma + increment), part=n)
                objective.runner.logits(chip, x)
        return objective.criterion(full_precision(z) / self.temperature, y)
