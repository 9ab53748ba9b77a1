"""The rules of METHODS.md, section 2, written out in NumPy, one number at a time."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

Array = np.ndarray


def gram_departure(w: Array, scale: float) -> float:
    """‖WᵀW − λ²I‖²_F of one matrix [rows, columns], entry by entry."""
    columns = w.shape[1]
    total = 0.0
    for i in range(columns):
        for j in range(columns):
            entry = sum(float(w[k, i]) * float(w[k, j]) for k in range(w.shape[0]))
            total += (entry - scale**2 * (i == j)) ** 2
    return total


def probabilities(z: Array) -> Array:
    """Softmax, row by row."""
    rows = []
    for row in np.asarray(z, dtype=np.float64):
        powers = [math.exp(v - max(row)) for v in row]
        rows.append([power / sum(powers) for power in powers])
    return np.array(rows)


def divergence(true: Array, other: Array) -> float:
    """KL(softmax(true) ‖ softmax(other)): the mean over examples of Σ_c p_c ln(p_c / q_c)."""
    p, q = probabilities(true), probabilities(other)
    total = 0.0
    for row_p, row_q in zip(p, q, strict=True):
        total += sum(a * math.log(a / b) for a, b in zip(row_p, row_q, strict=True))
    return total / len(p)


def relative_error(noisy: Sequence[Array], clean: Sequence[Array]) -> float:
    """Σ_l ‖h_l − h̄_l‖² / ‖h̄_l‖²."""
    total = 0.0
    for h, reference in zip(noisy, clean, strict=True):
        error = sum((a - b) ** 2 for a, b in zip(h.flat, reference.flat, strict=True))
        total += error / sum(b**2 for b in reference.flat)
    return total


def divergence_slope(x: Array, true: Array, w: Array) -> Array:
    """d KL(softmax(true) ‖ softmax(x Wᵀ)) / dW of a linear model: Σ_n (q_n − p_n) x_nᵀ / n."""
    p, q = probabilities(true), probabilities(x @ w.T)
    return (q - p).T @ x / len(x)


def sign_ascent(x: Array, w: Array, start: Array, *, bound: Array, steps: int) -> Array:
    """The adversary of a linear model: steps of bound/N uphill on the divergence, inside |dW| ≤ bound."""
    moved = w + start
    for _ in range(steps):
        slope = divergence_slope(x, x @ w.T, moved)
        moved = moved + bound / steps * np.sign(slope)
        moved = np.minimum(np.maximum(moved, w - bound), w + bound)
    return moved


def worst_step(slopes: Sequence[Array], stretches: Sequence[Array], *, rho: float) -> list[Array]:
    """ε = ρ·T²·g / ‖T·g‖, the norm over all parameters."""
    norm = math.sqrt(
        sum(
            float(t * g) ** 2
            for slope, stretch in zip(slopes, stretches, strict=True)
            for g, t in zip(slope.flat, stretch.flat, strict=True)
        )
    )
    return [rho * t**2 * g / norm for g, t in zip(slopes, stretches, strict=True)]
