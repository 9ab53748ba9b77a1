"""Variance components of nested groups: what dies, devices and cycles each contribute."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Annotated

import numpy as np
from jaxtyping import Float, Int
from pydantic.dataclasses import dataclass

from everychip.config.columns import ARRAY, VALUES


@dataclass(frozen=True, config=VALUES)
class Components:
    """Mean and variances of y = mean + a(outermost group) + b(group within) + … + e(row).

    variances: outermost first, the rows' own last; unbiased, hence negative now and then where the true one
    is small. covariance: of the variances. mean_error: the standard error of the mean.
    """

    mean: float
    mean_error: float
    variances: Annotated[Float[np.ndarray, " parts"], ARRAY]
    covariance: Annotated[Float[np.ndarray, "parts parts"], ARRAY]

    @property
    def total(self) -> float:
        """The variance of one row: all parts together."""
        return float(self.variances.sum())

    @property
    def total_error(self) -> float:
        """The standard error of the total variance."""
        return float(np.sqrt(max(self.covariance.sum(), 0.0)))

    @property
    def errors(self) -> Float[np.ndarray, " parts"]:
        """The standard error of each variance."""
        errors: Float[np.ndarray, " parts"] = np.sqrt(np.clip(np.diag(self.covariance), 0.0, None))
        return errors


def components(y: Float[np.ndarray, " rows"], groups: Sequence[Int[np.ndarray, " rows"]]) -> Components:
    """Estimate the variance of every stage of nesting by analysis of variance, balanced or not.

    The sums of squares of the stages, SS_k = Σ_g n_g ȳ_g² − Σ_h n_h ȳ_h² (g a group of stage k, h one of the
    stage above), are set equal to their expectations, which are linear in the variances, and solved for them.
    Their standard errors are those of normally distributed effects, Var(SS_k) = 2 SS_k² / df_k: exact for
    balanced groups.

    Source: Searle, Casella & McCulloch, Variance Components (Wiley 1992), nested random models (Henderson's
    method I).

    >>> y, die = np.array([1.0, 3.0, 7.0, 9.0]), np.array([0, 0, 1, 1])
    >>> components(y, [die]).variances
    array([17.,  2.])
    """
    stages = _stages(y.size, groups)
    sums = np.array([_sum_of_squares(y, codes) for codes in stages])
    counts = np.array([codes.max() + 1 for codes in stages])
    weights = np.array([[_weight(outer, inner) for inner in stages[1:]] for outer in stages])
    squares, freedom = np.diff(sums), np.diff(counts)
    inverse = np.linalg.inv(np.diff(weights, axis=0))
    variances = inverse @ np.clip(squares, 0.0, None)
    covariance = inverse @ np.diag(2 * squares**2 / freedom) @ inverse.T
    spread = float(np.clip(variances, 0.0, None) @ weights[0]) / y.size
    return Components(float(y.mean()), float(np.sqrt(spread)), variances, covariance)


def freedom(rows: int, groups: Sequence[Int[np.ndarray, " rows"]]) -> tuple[int, ...]:
    """The degrees of freedom of every stage, the rows' own last; where one is 0, its variance is unknown.

    >>> freedom(4, [np.array([0, 0, 1, 1])])
    (1, 2)
    """
    counts = [int(codes.max()) + 1 for codes in _stages(rows, groups)]
    return tuple(inner - outer for outer, inner in pairwise(counts))


def _stages(rows: int, groups: Sequence[np.ndarray]) -> list[np.ndarray]:
    """One group of all rows, then the groups, each within the one before, then every row alone."""
    stages = [np.zeros(rows, dtype=np.int64)]
    for codes in groups:
        joint = stages[-1] * (int(codes.max()) + 1) + codes
        stages.append(np.unique(joint, return_inverse=True)[1])
    return [*stages, np.arange(rows)]


def _sum_of_squares(y: np.ndarray, codes: np.ndarray) -> float:
    """Σ n_g ȳ_g², of deviations from the mean of all so that no digits are lost."""
    centred = y - y.mean()
    return float((np.bincount(codes, weights=centred) ** 2 / np.bincount(codes)).sum())


def _weight(outer: np.ndarray, inner: np.ndarray) -> float:
    """How often the variance of the inner stage is in the expected sum of squares of the outer one."""
    if inner.max() <= outer.max():
        return float(outer.size)
    sizes = np.bincount(outer)
    within = np.bincount(inner)
    home = np.zeros(within.size, dtype=np.int64)
    home[inner] = outer
    return float((within**2 / sizes[home]).sum())
