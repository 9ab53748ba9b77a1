"""Mappings: weights onto conductances and back, pure and differentiable."""

from everychip.mapping.base import CellMapping
from everychip.mapping.bit_sliced import BitSliced
from everychip.mapping.direct import Direct

__all__ = ["BitSliced", "CellMapping", "Direct"]
