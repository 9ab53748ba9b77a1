"""A regression set that comes with scikit-learn: how diabetes went on in a year."""

from __future__ import annotations

from functools import lru_cache

import torch

from everychip.data.base import Data
from everychip.data.examples import Examples
from everychip.data.values import Splits
from everychip.rng import rng_for

TEST = 132  # 30 % of 442


class Diabetes(Data):
    """442 patients, ten measurements each, in one fixed split (310 / 132); the target is a number.

    Inputs are standardised over all patients; the target, the progression after a year (25 … 346), has the
    mean 0 and the standard deviation 1 of the training part, which so is the unit of its errors.

    Source: Efron, Hastie, Johnstone & Tibshirani, Least angle regression, Ann. Statist. 32 (2004).

    >>> splits = Diabetes().load()
    >>> splits.train.x.shape, splits.train.y.shape, len(splits.test)
    (torch.Size([310, 10]), torch.Size([310]), 132)
    """

    def load(self) -> Splits:
        """The fixed training and test split."""
        return _load()


@lru_cache(maxsize=1)
def _load() -> Splits:
    from sklearn.datasets import load_diabetes

    inputs, targets = load_diabetes(return_X_y=True)
    x, y = torch.as_tensor(inputs), torch.as_tensor(targets)
    x = ((x - x.mean(0)) / x.std(0)).float()
    order = torch.randperm(len(y), generator=rng_for(0, "data", "diabetes", "split"))
    train, test = order[TEST:], order[:TEST]
    y = ((y - y[train].mean()) / y[train].std()).float()
    return Splits(Examples(x[train], y[train]), Examples(x[test], y[test]), classes=1, name="diabetes")
