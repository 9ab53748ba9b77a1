"""How a training ended, in one word: above chance, at chance, or diverged; one bar for everybody who asks."""

from __future__ import annotations

from typing import Literal, cast

Status = Literal["above_chance", "at_chance", "diverged"]
"""What is measured: accuracy against chance. No word says that the training has come to its end."""

_OLD = {"converged": "above_chance", "collapsed": "at_chance"}
"""The words of results that were written before."""


def bar_above_chance(classes: int) -> float:
    """The accuracy above which a network has learnt something: min(2 / classes, 1 / classes + 0.1).

    Twice chance from 10 classes on; with fewer, ten points above it.

    >>> [round(bar_above_chance(classes), 3) for classes in (2, 5, 10, 100)]
    [0.6, 0.3, 0.2, 0.02]
    """
    return min(2 / classes, 1 / classes + 0.1)


def read_status(word: str) -> Status:
    """A stored status; "converged" and "collapsed" of earlier versions are above and at chance.

    >>> read_status("converged"), read_status("diverged")
    ('above_chance', 'diverged')
    """
    return cast("Status", _OLD.get(word, word))


def words_of(status: str) -> str:
    """A status as people write it.

    >>> words_of("at_chance")
    'at chance'
    """
    return status.replace("_", " ")
