"""How a training ended, in one word: above chance, at chance, or diverged; one bar for everybody who asks."""

from __future__ import annotations

import math
from typing import Literal, cast

from everychip.scores import Score

Status = Literal["above_chance", "at_chance", "diverged"]
"""What is measured: accuracy against chance. No word says that the training has come to its end."""

_OLD = {"converged": "above_chance", "collapsed": "at_chance"}
"""The words of results that were written before."""

TRY = "try more epochs, another learning rate, ramp, a constraint such as clip, or less noise"
"""What helps a network that learnt nothing, the cheapest first."""


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


def classify_outcome(
    status: Status, accuracy: float, classes: int, history: list[dict[str, float]]
) -> tuple[Status, str]:
    """What became of a training, in a word and in a sentence.

    >>> classify_outcome("above_chance", 0.11, 10, [])[0]
    'at_chance'
    """
    last = history[-1] if history else {"epoch": 0, "loss": 0.0}
    # A network that knows nothing has a loss of ln(classes); no training that works ends far above.
    if status == "diverged" or last["loss"] > 100 * math.log(max(classes, 2)):
        return "diverged", (
            f"the loss was {last['loss']:.3g} in epoch {int(last['epoch']) + 1}; "
            "try a smaller learning rate or a ramp"
        )
    if accuracy <= bar_above_chance(classes):
        return "at_chance", (
            f"validation accuracy {accuracy:.1%} is hardly above chance ({1 / classes:.1%})"
            f"{_still(history)}; {TRY}"
        )
    return "above_chance", f"validation accuracy {accuracy:.1%} in the epoch kept"


def _still(history: list[dict[str, float]]) -> str:
    """Whether the last epoch had the lowest loss, which more epochs would lower further.

    >>> _still([{"epoch": 0, "loss": 2.3}, {"epoch": 1, "loss": 2.2}])
    ', and the loss was still falling in epoch 2'
    """
    losses = [row["loss"] for row in history]
    falling = len(losses) > 1 and losses[-1] == min(losses) < losses[0]
    return f", and the loss was still falling in epoch {len(losses)}" if falling else ""


def judge_score(
    status: Status, value: float, score: Score, *, chance: float | None, history: list[dict[str, float]]
) -> tuple[Status, str]:
    """What became of a training whose score is not that of a classification.

    Args:
        status: "diverged", or any other word where it did not.
        value: the validated score of the epoch kept.
        score: how it is read.
        chance: the score of the best answer that does not look at the input; None, not known.
        history: one row for each epoch.

    >>> judge_score("above_chance", 60.0, Score("RMSE", False), chance=77.0, history=[])
    ('above_chance', 'validation RMSE 60.00 in the epoch kept')
    """
    if status == "diverged" or not math.isfinite(value):
        last = history[-1] if history else {"epoch": 0, "loss": math.inf}
        return "diverged", (
            f"the loss was {last['loss']:.3g} in epoch {int(last['epoch']) + 1}; "
            "try a smaller learning rate or a ramp"
        )
    if chance is not None and score.sign * (value - chance) <= 0:
        return "at_chance", (
            f"validation {score.name} {score.text(value)} is no better than chance ({score.text(chance)})"
            f"{_still(history)}; " + TRY
        )
    return "above_chance", f"validation {score.name} {score.text(value)} in the epoch kept"
