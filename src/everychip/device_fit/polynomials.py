"""Smooth laws: a polynomial in the conductance, of the degree that predicts left-out levels best."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from pydantic.dataclasses import dataclass

from everychip.config.columns import VALUES
from everychip.errors import DataError

MOST_DEGREE = 4
LEAST_LEVELS = 4
KNOTS = 33
"""So many conductances tabulate a smooth law; between them, a quartic is straight to about 1e-3 of itself."""


@dataclass(frozen=True, config=VALUES)
class Polynomial:
    """c₀ + c₁ g + c₂ g² + …, in units of G_max."""

    coefficients: tuple[float, ...]

    @property
    def degree(self) -> int:
        """The highest power."""
        return len(self.coefficients) - 1

    def __call__(self, g: Float[np.ndarray, "*g"]) -> Float[np.ndarray, "*g"]:
        values: Float[np.ndarray, "*g"] = np.polynomial.polynomial.polyval(g, self.coefficients)
        return values


def refuse_few_levels(source: str, levels: int) -> None:
    """Refuse to draw a smooth curve through less than four levels."""
    if levels < LEAST_LEVELS:
        remedy = "leave out --smooth: the law is then interpolated between the levels"
        raise DataError(
            source, found=f"{levels} levels", expected=f"{LEAST_LEVELS} for --smooth", remedy=remedy
        )


def smooth(
    g: Float[np.ndarray, " levels"],
    y: Float[np.ndarray, " levels"],
    error: Float[np.ndarray, " levels"],
    *,
    relative: bool = False,
) -> Polynomial:
    """The polynomial of weighted least squares, degree 0 … 4, with the least leave-one-level-out error.

    error: the standard errors of y. relative: whether they grow with the true value, as those of a standard
    deviation do; then they are taken from the curve, not from the point: a point that is low by chance would
    otherwise weigh more than one that is high.

    >>> g = np.linspace(0, 1, 6)
    >>> [round(c, 3) for c in smooth(g, 0.1 + 0.2 * g, np.full(6, 0.01)).coefficients]
    [0.1, 0.2]
    """
    error = np.maximum(error, 1e-12 + 1e-9 * np.abs(error).max(initial=0.0))
    found, scores = [], []
    for degree in range(min(MOST_DEGREE, g.size - 2) + 1):
        curve, weight = _fitted(g, y, 1 / error, degree), 1 / error
        for _ in range(3 if relative else 0):
            height = np.maximum(curve(g), 0.1 * np.abs(y).mean())
            weight = 1 / (error * np.where(y > 0, height / np.where(y > 0, y, 1.0), 1.0))
            curve = _fitted(g, y, weight, degree)
        found.append(curve)
        scores.append(_left_out(g, y, weight, curve))
    # Within rounding of the best, the simplest curve: exact data fit every higher degree as well.
    best = next(i for i, score in enumerate(scores) if score <= min(scores) * (1 + 1e-6) + 1e-12)
    return found[best]


def _fitted(g: np.ndarray, y: np.ndarray, weight: np.ndarray, degree: int) -> Polynomial:
    design = np.vander(g, degree + 1, increasing=True) * weight[:, None]
    return Polynomial(tuple(float(c) for c in np.linalg.lstsq(design, y * weight, rcond=None)[0]))


def _left_out(g: np.ndarray, y: np.ndarray, weight: np.ndarray, curve: Polynomial) -> float:
    """The mean squared error, in standard errors, of predicting each level from the others."""
    design = np.vander(g, curve.degree + 1, increasing=True) * weight[:, None]
    leverage = np.einsum("ij,ji->i", design, np.linalg.pinv(design))
    residual = (y - curve(g)) * weight
    return float(np.mean((residual / np.maximum(1 - leverage, 1e-6)) ** 2))
