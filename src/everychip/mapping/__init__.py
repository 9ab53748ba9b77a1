"""Mappings: weights onto conductances and back, pure and differentiable."""

from everychip.mapping.base import CellMapping
from everychip.mapping.bit_sliced import BitSliced
from everychip.mapping.columns import Columns
from everychip.mapping.direct import Direct
from everychip.mapping.sign import Differential, Offset, Sign, SignMagnitude

__all__ = ["BitSliced", "CellMapping", "Columns", "Differential", "Direct", "Offset", "Sign", "SignMagnitude"]
