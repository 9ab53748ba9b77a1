"""The losses of METHODS.md, sections 1 and 2, written out in NumPy, one example and one class at a time."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

Array = np.ndarray


def cross_entropy(z: Array, y: Sequence[int], *, smoothing: float = 0.0) -> float:
    """CE(z, y): the mean over examples of −Σ_c t_c ln p_c, t = (1 − ε)·onehot + ε/K."""
    total = 0.0
    for row, label in zip(z, y, strict=True):
        largest = max(row)
        normaliser = largest + math.log(sum(math.exp(v - largest) for v in row))
        for c, value in enumerate(row):
            target = (1 - smoothing) * (c == label) + smoothing / len(row)
            total -= target * (value - normaliser)
    return total / len(y)


def negative_feedback(
    z: Array,
    feedback: Sequence[Array],
    y: Sequence[int],
    *,
    beta: float,
    a_b: float | None = None,
    a_f: float | None = None,
    decay: float = 0.1,
) -> float:
    """CE(a_b·z − a_f·β·Σ_n γ_n·z_n, y), γ_n = decay^(n−1), a_b = a_f = 1/(N+1) unless given."""
    count = len(feedback)
    a_b = 1 / (count + 1) if a_b is None else a_b
    a_f = 1 / (count + 1) if a_f is None else a_f
    seen = np.array(z, dtype=np.float64) * a_b
    for n in range(1, count + 1):
        gamma = decay ** (n - 1)
        seen = seen - a_f * beta * gamma * np.array(feedback[n - 1], dtype=np.float64)
    return cross_entropy(seen, y)


def temperature(z: Array, y: Sequence[int], *, t: float) -> float:
    """CE(z/T, y)."""
    return cross_entropy(np.array(z, dtype=np.float64) / t, y)


def deep_supervision(z: Array, exits: Sequence[Array], y: Sequence[int], *, weight: float) -> float:
    """CE(z, y) + λ · the mean over exits of CE(z_n, y)."""
    inner = sum(cross_entropy(z_n, y) for z_n in exits) / len(exits)
    return cross_entropy(z, y) + weight * inner
