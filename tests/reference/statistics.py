"""Whether a sample has the mean and the standard deviation that somebody claims."""

from __future__ import annotations

import numpy as np


def assert_moments(sample: object, *, mean: float, std: float, errors: float = 4.0) -> None:
    """The sample's mean and standard deviation are within `errors` standard errors of the claimed ones.

    The standard error of the standard deviation uses the sample's own fourth moment: no law is assumed.
    """
    values = np.asarray(sample, dtype=np.float64).reshape(-1)
    n, s = values.size, values.std(ddof=1)
    assert abs(values.mean() - mean) <= errors * s / np.sqrt(n) + 1e-12, (values.mean(), mean)
    fourth = ((values - values.mean()) ** 4).mean()
    error = np.sqrt(max(fourth - s**4, 0.0) / n) / (2 * s) if s else 0.0
    assert abs(s - std) <= errors * error + 1e-12, (s, std)
