"""The published fits of measured devices, written out in µS (u) and in fractions of G_max (g)."""

from __future__ import annotations

import numpy as np
from scipy.integrate import quad
from scipy.stats import norm

NEURRAM = {
    1: (0.348, 16.030, -43.853, 45.393, -16.815),
    86_400: (0.701, 22.086, -50.773, 47.095, -16.458),
    172_800: (0.782, 20.274, -43.507, 37.062, -11.934),
}


def pcm(siemens):
    return 0.26348 + 1.9650 * (siemens / 25) - 1.1731 * (siemens / 25) ** 2


def hermes_two(siemens):
    x = siemens / 20.7
    return 0.16603222 + 4.71806468 * x - 8.48101252 * x**2 + 4.68961419 * x**3


def hermes_one(siemens):
    x = siemens / 10.35
    return 0.15781817 + 2.32443916 * x - 2.16310839 * x**2 + 0.68841818 * x**3


def neurram(siemens, time):
    c0, c1, c2, c3, c4 = NEURRAM[time]
    x = siemens / 40
    return c0 + c1 * x + c2 * x * x + c3 * x**3 + c4 * x**4


def milo(siemens):
    return max(-0.009107 * max(siemens, 50.0) + 4.782, 0.0)


def joshi(siemens):
    return -0.00178767 * siemens**2 + 0.07585724 * siemens + 0.28638599


def cmo_fine(siemens):
    return 0.00081107 + 0.00106879 * max(siemens, 9.0)


def cmo_coarse(siemens):
    return 0.0112185 + 0.0112903 * max(siemens, 9.0)


def pcm_exponent(g):
    """µ_ν and σ_ν."""
    return np.clip(-0.0155 * np.log(g) + 0.0244, 0.049, 0.1), np.clip(
        -0.0125 * np.log(g) - 0.0059, 0.008, 0.045
    )


def pcm_read(g, time, t_read=250e-9):
    """σ_read / siemens, t seconds after programming."""
    return min(0.0088 / g**0.65, 0.2) * np.sqrt(np.log((time + t_read) / (2 * t_read)))


def hermes_exponent(g, devices):
    mean = np.clip(-0.0387 * np.log(g) - 0.0182, 0.0720, 0.13)
    if g >= 0.0945:
        mean = -0.0436 * g**2 - 0.0126 * g + 0.0736
    if devices == 1:
        low, high = np.clip(-0.0120 * np.log(g) - 0.0023, 0.0124, 0.04), -0.0165 * g**2 + 0.0116 * g + 0.0104
        return mean, low if g < 0.3039 else high
    low, high = np.clip(-0.0117 * np.log(g) - 0.0057, 0.0091, 0.04), -0.0118 * g**2 + 0.0093 * g + 0.0073
    return mean, low if g < 0.3055 else high


def hermes_read(g, devices):
    """Q."""
    if devices == 1:
        low = np.clip(-0.0078 * np.log(g) + 0.0038, 0.0179, 0.04)
        return low if g < 0.1591 else 0.0664 * g**3 - 0.1352 * g**2 + 0.0768 * g + 0.0088
    low = np.clip(-0.0117 * np.log(g) - 0.0069, 0.015, 0.04)
    return low if g < 0.16 else 0.0069 * g**3 - 0.0280 * g**2 + 0.0211 * g + 0.0123


def decay_moments(mean, std, ratio):
    """Mean and standard deviation of ratio^−|ν|, ν ~ N(mean, std²), by quadrature."""
    first, second = (_expected(lambda nu, k=k: ratio ** (-k * abs(nu)), mean, std) for k in (1, 2))
    return first, np.sqrt(second - first**2)


def clipped_moments(mean, std):
    """Mean and standard deviation of max(X, 0), X ~ N(mean, std²), by quadrature."""
    first, second = (_expected(lambda x, k=k: max(x, 0.0) ** k, mean, std) for k in (1, 2))
    return first, np.sqrt(second - first**2)


def _expected(function, mean, std):
    low, high = mean - 9 * std, mean + 9 * std
    kinks = [point for point in (0.0,) if low < point < high] or None
    return quad(lambda x: function(x) * norm.pdf(x, mean, std), low, high, points=kinks, limit=200)[0]
