"""The array around the cells: tiles, converters and per-read noise, as a tensor that carries them along."""

from everychip.array import functions
from everychip.array.base import Array, Ranges
from everychip.array.cells import Cells, RangeObserver
from everychip.array.input_range import InputRange
from everychip.array.uncaught import must_be_caught
from everychip.array.weight import TiledWeight, plain, tiled

__all__ = [
    "Array",
    "Cells",
    "InputRange",
    "RangeObserver",
    "Ranges",
    "TiledWeight",
    "functions",
    "must_be_caught",
    "plain",
    "tiled",
]
