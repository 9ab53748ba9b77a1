"""Devices: the physics of one memory cell, target conductance in, programmed conductance out."""

from everychip.devices.base import Device, preset, presets
from everychip.devices.gaussian import Gaussian
from everychip.devices.ideal import Ideal
from everychip.devices.levels import Levels
from everychip.devices.log_normal import LogNormal
from everychip.devices.measured import Law, Measured
from everychip.devices.mismatch import Mismatch
from everychip.devices.sequence import Sequence

__all__ = [
    "Device",
    "Gaussian",
    "Ideal",
    "Law",
    "Levels",
    "LogNormal",
    "Measured",
    "Mismatch",
    "Sequence",
    "preset",
    "presets",
]
