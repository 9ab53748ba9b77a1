"""Data sets: the embedded digits, any image set of the hub, tensors; and augmentation."""

from __future__ import annotations

from everychip.data.attributes import DigitAttributes
from everychip.data.augment import CropFlip
from everychip.data.base import Augment, Data
from everychip.data.canvas import DigitCanvas
from everychip.data.columns import columns
from everychip.data.convert import arrays, as_arrays, as_calibration, as_examples
from everychip.data.descriptions import Descriptions
from everychip.data.diabetes import Diabetes
from everychip.data.digit_boxes import DigitBoxes
from everychip.data.digits import Digits
from everychip.data.examples import Examples
from everychip.data.holdout import split_holdout
from everychip.data.hub import Hub
from everychip.data.stream import Stream
from everychip.data.tensors import Tensors
from everychip.data.values import Arrays, Splits
from everychip.data.word_ends import WordEnds

__all__ = [
    "Arrays",
    "Augment",
    "CropFlip",
    "Data",
    "Descriptions",
    "Diabetes",
    "DigitAttributes",
    "DigitBoxes",
    "DigitCanvas",
    "Digits",
    "Examples",
    "Hub",
    "Splits",
    "Stream",
    "Tensors",
    "WordEnds",
    "arrays",
    "as_arrays",
    "as_calibration",
    "as_examples",
    "columns",
    "split_holdout",
]
