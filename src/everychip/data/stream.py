"""Data that does not fit into memory: read anew, batch after batch, for every few chips."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from everychip.config.validation import must_be
from everychip.data.examples import Examples
from everychip.data.pairs import pair_of, tensors_of
from everychip.errors import DataError
from everychip.rng import seeded_global_generator


class Stream:
    """Batches that are read again whenever they are needed, and never kept.

    One batch of data and the weights of `chips` chips are held at a time: reading, not running, is what costs
    most where images are decoded, and every batch is read once for as many chips.

    Args:
        source: a DataLoader, any other iterable of batches that can be gone through again, or a function that
            returns one. Every pass must give the same batches.
        chips: how many chips share one pass over the data.
        labelled: False reads batches without targets, too.

    >>> import torch
    >>> stream = Stream(lambda: ((torch.zeros(2, 4), torch.tensor([0, 1])) for _ in range(3)))
    >>> [len(batch) for batch in stream], len(stream.first())
    ([2, 2, 2], 2)
    """

    def __init__(
        self, source: Iterable[Any] | Callable[[], Iterable[Any]], *, chips: int = 4, labelled: bool = True
    ) -> None:
        must_be(chips, "stream.chips", whole=True, least=1)
        if not callable(source) and iter(source) is source:
            raise DataError(
                "stream",
                found=f"a {type(source).__name__}, which can be gone through once",
                expected="batches that can be read again for every few chips",
                remedy="pass the loader, or a function that makes the generator",
            )
        self._source, self.chips, self._labelled = source, chips, labelled

    def __iter__(self) -> Iterator[Examples]:
        batches = self._source() if callable(self._source) else self._source
        empty = True
        with seeded_global_generator(0, "data", "stream"):
            iterator = iter(batches)
        for batch in iterator:
            empty = False
            yield self._examples(batch)
        if empty:
            raise DataError("stream", found="no batch", expected="at least one, at every pass")

    def first(self) -> Examples:
        """The first two inputs, which a trial run is made with."""
        return next(iter(self)).take(slice(2))

    def _examples(self, batch: Any) -> Examples:
        if isinstance(batch, Examples):
            return batch
        try:
            x, y = pair_of(batch, labelled=self._labelled, where="stream")
        except DataError as error:
            without = "ec.data.Stream(…, labelled=False), where the task needs no labels"
            remedy = without if self._labelled else error.remedy
            raise DataError(error.where, found=error.found, expected=error.expected, remedy=remedy) from None
        return Examples(tensors_of(x, where="x"), None if y is None else tensors_of(y, where="y"))
