"""What was measured of which network on which hardware, when: told beside draws, and in their report."""

from __future__ import annotations

from typing import Any, Self

from pydantic import Field
from torch import nn

from everychip.config.result import Result
from everychip.data import Data
from everychip.devices.ageing import duration
from everychip.hardware.placement import Placed


class Setting(Result):
    """The network, data and hardware of draws, by name.

    hardware: its table, as a recipe has it. sigma: nominal device σ, None for a device without one. of_max,
    of_rms: σ_W / max|W| and σ_W / rms(W).
    time: when the chips were read, in seconds since programming; None for a device that does not age.
    """

    model: str
    data: str
    device: str
    hardware: dict[str, Any] = Field(default_factory=dict, repr=False)
    sigma: float | None = None
    time: float | None = None
    of_max: float | None = None
    of_rms: float | None = None

    @classmethod
    def of(cls, model: nn.Module, data: Any, placed: Placed) -> Self:
        """The setting of an evaluation.

        Args:
            model: the network.
            data: the test data as they were given.
            placed: the network on its hardware.

        Returns:
            Names and the effective noise.
        """
        device, noise = placed.hardware.device, placed.effective_sigma() if placed.weights else None
        return cls(
            model=type(model).__name__,
            data=data.label if isinstance(data, Data) else "data of one's own",
            device=device.ageless_label,
            hardware=placed.hardware.table(),
            sigma=device.nominal_sigma,
            time=device.age,
            of_max=None if noise is None else noise.of_max,
            of_rms=None if noise is None else noise.of_rms,
        )

    @property
    def read_at(self) -> str:
        """The time of reading in words, empty where the device does not age."""
        return "" if self.time is None else duration(self.time)
