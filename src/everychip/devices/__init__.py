"""Devices: the physics of one memory cell, target conductance in, programmed conductance out."""

from everychip.devices.base import Device, preset, presets
from everychip.devices.cmo_hfox import CmoHfox
from everychip.devices.faults import StuckAt
from everychip.devices.gaussian import Gaussian
from everychip.devices.hermes import Hermes
from everychip.devices.ideal import Ideal
from everychip.devices.levels import Levels
from everychip.devices.log_normal import LogNormal
from everychip.devices.measured import Law, Measured
from everychip.devices.mismatch import Mismatch
from everychip.devices.mram import Mram
from everychip.devices.neurram import NeuRram
from everychip.devices.pcm import Pcm
from everychip.devices.polynomial import Polynomial
from everychip.devices.sequence import Sequence

__all__ = [
    "CmoHfox",
    "Device",
    "Gaussian",
    "Hermes",
    "Ideal",
    "Law",
    "Levels",
    "LogNormal",
    "Measured",
    "Mismatch",
    "Mram",
    "NeuRram",
    "Pcm",
    "Polynomial",
    "Sequence",
    "StuckAt",
    "preset",
    "presets",
]
