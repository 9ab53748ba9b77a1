"""What of the training data is kept aside for selection."""

from __future__ import annotations

from typing import TypeVar

import torch

from everychip.data.examples import Examples
from everychip.errors import ConfigError
from everychip.rng import rng_for

_Some = TypeVar("_Some", bound=Examples)


def split_holdout(data: _Some, share: float, *, seed: int) -> tuple[_Some, _Some]:
    """The training data without a random share of it, and that share, for selection.

    Args:
        data: training data.
        share: of the rows, 0 … 1.
        seed: of all draws, a whole number.

    Returns:
        The rest, and the share.
    """
    kept = min(len(data) - 2, max(1, round(share * len(data))))
    if kept < 1:
        raise ConfigError("training data", found=f"{len(data)} examples", expected="at least 3")
    order = torch.randperm(len(data), generator=rng_for(seed, "holdout"))
    return data.take(order[kept:]), data.take(order[:kept])
