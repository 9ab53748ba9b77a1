"""How many answers are right, counted by torchmetrics."""

from __future__ import annotations

from jaxtyping import Int
from torch import Tensor

NO_CLASS = -1
"""What a chip says that overflowed: no label is it, so it is wrong wherever it stands."""


def count_right(said: Int[Tensor, " answers"], labels: Int[Tensor, " answers"]) -> int:
    """How many of several answers are the labels, Σᵢ [sᵢ = yᵢ].

    said: s, the class that each answer names. labels: y. The argmax of logits that are not numbers is some
    class, so such answers are to be replaced by `NO_CLASS` before.

    Source: torchmetrics' multiclass_stat_scores, its true positives over all classes.

    >>> import torch
    >>> count_right(torch.tensor([2, 0, NO_CLASS]), torch.tensor([2, 1, 0]))
    1
    """
    from torchmetrics.functional.classification import multiclass_stat_scores

    if not len(labels):
        return 0  # a batch of padding alone, which torchmetrics cannot reshape
    # Of counts over all classes together, the number of classes enters the true negatives alone.
    counts = multiclass_stat_scores(said, labels, num_classes=2, average="micro", validate_args=False)
    return int(counts[0])


def load_counting() -> None:
    """Import torchmetrics, which takes a second or more and is otherwise done with the first answers."""
    import torchmetrics.functional.classification  # noqa: F401
