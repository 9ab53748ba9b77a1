"""A text without its spaces, in which every word's end is to be found again: a label for each character."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from typing import Self

import torch
from pydantic import Field, model_validator
from torch import Tensor

from everychip.data.base import Data
from everychip.data.descriptions import texts, tokens_of
from everychip.data.examples import Examples
from everychip.data.values import Splits

UNLABELLED = -100


class WordEnds(Data):
    """Scikit-learn's descriptions of its data sets, all spaces left out, in pieces of `length` characters.

    The label of character i is 1 where a word ended at character i − `delay`, else 0: a network that sees the
    past alone decides after `delay` characters more. The first `delay` characters of a piece have
    no label (−100). Characters are numbered as those of `descriptions`; the last tenth of every text is for
    testing (`task = "tokens"`).

    Source: scikit-learn, BSD licence, sklearn/datasets/descr; the task is word segmentation, as in Sproat et
    al., Computational Linguistics 22 (1996).

    >>> splits = WordEnds(length=32).load()
    >>> splits.train.x.shape[1], splits.classes, splits.train.y[0, :6].tolist()
    (32, 2, [-100, -100, -100, -100, 0, 1])
    """

    length: int = Field(default=64, ge=2, le=4096, description="Characters of a piece.")
    delay: int = Field(default=4, ge=0, le=64, description="Characters that are read before the answer.")

    @model_validator(mode="after")
    def _something_is_labelled(self) -> Self:
        if self.delay >= self.length:
            raise ValueError(f"delay must be below length: {self.delay} leaves no label in {self.length}")
        return self

    def content(self) -> str:
        """SHA-256 of the texts, which are those of the installed scikit-learn."""
        return hashlib.sha256("".join(texts()).encode()).hexdigest()

    def load(self) -> Splits:
        """The pieces of the first nine tenths of every text, and those of the last."""
        return _load(self.length, self.delay)


@lru_cache(maxsize=2)
def _load(length: int, delay: int) -> Splits:
    parts: list[tuple[list[Tensor], list[Tensor]]] = [([], []), ([], [])]
    for text in texts():
        words = text.split()
        tokens, ends = tokens_of("".join(words)), _ends(words)
        cut = len(tokens) * 9 // 10
        for (x, y), kept in zip(parts, (slice(cut), slice(cut, None)), strict=True):
            x.append(_pieces(tokens[kept], length))
            y.append(_delayed(_pieces(ends[kept], length), delay))
    train, test = (Examples(torch.cat(x), torch.cat(y)) for x, y in parts)
    return Splits(train, test, classes=2, name="word_ends")


def _ends(words: list[str]) -> Tensor:
    """1 at the last character of each word.

    >>> _ends(["no", "one"]).tolist()
    [0, 1, 0, 0, 1]
    """
    labels = torch.zeros(sum(map(len, words)), dtype=torch.long)
    labels[torch.tensor([len(word) for word in words]).cumsum(0) - 1] = 1
    return labels


def _delayed(labels: Tensor, delay: int) -> Tensor:
    """The labels so many characters later.

    >>> _delayed(torch.tensor([[0, 1, 1]]), 1).tolist()
    [[-100, 0, 1]]
    """
    kept = labels[:, : labels.shape[1] - delay]
    return torch.nn.functional.pad(kept, (delay, 0), value=UNLABELLED)


def _pieces(tokens: Tensor, length: int) -> Tensor:
    return tokens[: len(tokens) // length * length].reshape(-1, length)
