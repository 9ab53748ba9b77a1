"""An order of a data set's rows whose every beginning has the set's own shares of the classes."""

from __future__ import annotations

import torch
from jaxtyping import Int
from torch import Tensor


def stratified_order(y: Int[Tensor, " n"], rng: torch.Generator) -> Int[Tensor, " n"]:
    """A random order of rows, such that each prefix holds every class in its share of the whole.

    The r-th row (r = 0, 1, …) of a class with n_c rows stands at (r + ½) / n_c: the class counts of a prefix
    are Webster's apportionment of it. Smaller subsets are contained in larger ones.

    Source: A. Webster 1832; Balinski & Young, Fair Representation (1982), the method of major fractions.

    >>> y = torch.tensor([0] * 6 + [1] * 3)
    >>> sorted(y[stratified_order(y, torch.Generator().manual_seed(0))[:3]].tolist())
    [0, 0, 1]
    """
    shuffled = torch.randperm(len(y), generator=rng, device=rng.device).to(y.device)
    counts = torch.bincount(y)
    by_class = shuffled[torch.sort(y[shuffled], stable=True).indices]
    labels = y[by_class]
    starts = counts.cumsum(0) - counts
    rank = torch.arange(len(y), device=y.device) - starts[labels]
    place = (rank + 0.5).double() / counts[labels]
    # A second shuffle, before the stable sort, so that classes of equal size do not always come in one order.
    again = torch.randperm(len(y), generator=rng, device=rng.device).to(y.device)
    return by_class[again[torch.sort(place[again], stable=True).indices]]
