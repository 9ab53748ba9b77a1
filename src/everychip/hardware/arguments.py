"""What most public functions take first, a network and its hardware, and what to do about anything else."""

from __future__ import annotations

from torch import nn

from everychip.config.arguments import a
from everychip.hardware.hardware import Hardware

MODEL = a(nn.Module, "a torch.nn.Module")
HARDWARE = a(
    Hardware,
    "an everychip.Hardware",
    remedy="such as everychip.Hardware(device=everychip.devices.Gaussian(sigma=0.1))",
)
