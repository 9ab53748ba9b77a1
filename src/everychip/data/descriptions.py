"""A text for language models that comes with scikit-learn: the descriptions of its data sets."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from importlib import resources

import torch
from pydantic import Field
from torch import Tensor

from everychip.data.base import Data
from everychip.data.examples import Examples
from everychip.data.values import Splits

CHARACTERS = 96
"""The printable ones of ASCII, and one for every other: 0."""


class Descriptions(Data):
    """The texts that describe scikit-learn's data sets, character by character, in pieces of `length`.

    Character c has the number ord(c) − 31, a line break is a space, and whatever is not ASCII is 0. The last
    tenth of every text is for testing. Labels are the characters themselves: a language model is scored by
    how it foretells the next one (`task = { kind = "tokens", causal = true }`).

    Source: scikit-learn, BSD licence, sklearn/datasets/descr.

    >>> splits = Descriptions(length=32).load()
    >>> splits.train.x.shape[1], splits.train.x.dtype, splits.classes
    (32, torch.int64, 96)
    """

    length: int = Field(default=64, ge=2, le=4096, description="Characters of a piece.")

    def content(self) -> str:
        """SHA-256 of the texts, which are those of the installed scikit-learn."""
        return hashlib.sha256("".join(texts()).encode()).hexdigest()

    def load(self) -> Splits:
        """The pieces of the first nine tenths of every text, and those of the last."""
        return _load(self.length)


@lru_cache(maxsize=2)
def _load(length: int) -> Splits:
    train, test = [], []
    for text in texts():
        tokens = tokens_of(text)
        cut = len(tokens) * 9 // 10
        train.append(_pieces(tokens[:cut], length))
        test.append(_pieces(tokens[cut:], length))
    parts = [Examples(torch.cat(part), torch.cat(part)) for part in (train, test)]
    return Splits(parts[0], parts[1], classes=CHARACTERS, name="descriptions")


@lru_cache(maxsize=1)
def texts() -> tuple[str, ...]:
    """The texts of the installed scikit-learn, by the names of their files."""
    folder = resources.files("sklearn.datasets") / "descr"
    files = sorted((file for file in folder.iterdir() if file.name.endswith(".rst")), key=lambda f: f.name)
    return tuple(file.read_text(encoding="utf-8") for file in files)


def tokens_of(text: str) -> Tensor:
    """The number of every character, as `Descriptions` says it."""
    numbers = [ord(" ") if character == "\n" else ord(character) for character in text]
    return torch.tensor([code - 31 if 32 <= code < 127 else 0 for code in numbers])


def _pieces(tokens: Tensor, length: int) -> Tensor:
    return tokens[: len(tokens) // length * length].reshape(-1, length)
