"""What the tests of methods share: a small network with batch norm, its data, and a record of chips."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn

from everychip import Hardware, devices
from everychip.network.running import Runner

SIGMA = 0.2
LABELS = [0, 1, 2, 3, 0, 1, 2, 3]


class SmallNet(nn.Module):
    """Two convolutions with batch norm and two linear layers."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 4, 3, padding=1)
        self.norm1 = nn.BatchNorm2d(4)
        self.conv2 = nn.Conv2d(4, 6, 3, padding=1)
        self.norm2 = nn.BatchNorm2d(6)
        self.hidden = nn.Linear(6 * 36, 10)
        self.out = nn.Linear(10, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.norm1(self.conv1(x)))
        x = torch.relu(self.norm2(self.conv2(x)))
        return self.out(torch.relu(self.hidden(x.flatten(1))))


@dataclass
class Setting:
    """One model with its hardware and one batch."""

    model: nn.Module
    hardware: Hardware
    x: Tensor
    y: Tensor

    @property
    def labels(self) -> list[int]:
        """The batch's labels as plain numbers."""
        return self.y.tolist()

    def logits(self, chip: dict[str, Tensor]) -> Tensor:
        """What a copy of the model with overwritten weights answers, in the model's own mode."""
        twin = copy.deepcopy(self.model)
        with torch.no_grad():
            for name, value in chip.items():
                twin.get_parameter(name).copy_(value)
            return twin(self.x)

    def sigma(self, name: str, chip: dict[str, Tensor]) -> float:
        """The nominal σ that a layer of a chip shows: its deviation over factor·max|W|."""
        weight = self.model.get_parameter(name).detach()
        deviation = chip[name].detach() - weight
        return float(deviation.std() / (0.77763 * weight.abs().max()))


@pytest.fixture
def setting():
    return Setting(
        model=SmallNet(),
        hardware=Hardware(device=devices.Gaussian(sigma=SIGMA)),
        x=torch.randn(len(LABELS), 1, 6, 6),
        y=torch.tensor(LABELS),
    )


@pytest.fixture
def chips_run(monkeypatch):
    """The chips that the model was run with, in order, wherever a method runs it."""
    seen, logits = [], Runner.logits

    def spy(runner, held, x):
        seen.append({name: value.detach().clone() for name, value in held.items()})
        return logits(runner, held, x)

    monkeypatch.setattr(Runner, "logits", spy)
    return seen
