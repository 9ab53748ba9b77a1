"""Variance components against textbook formulas and against many repetitions."""

from __future__ import annotations

import numpy as np
import pytest

from everychip.device_fit.nested import components


def test_balanced_groups_give_the_textbook_estimates():
    random = np.random.default_rng(0)
    y = random.standard_normal((6, 8)) + random.standard_normal((6, 1))
    found = components(y.ravel(), [np.repeat(np.arange(6), 8)])
    within = y.var(axis=1, ddof=1).mean()
    between = 8 * y.mean(axis=1).var(ddof=1)
    assert found.variances == pytest.approx([(between - within) / 8, within])
    # Var(MS) = 2 MS²/df of the two independent mean squares.
    assert found.errors == pytest.approx(
        [np.sqrt(2 * between**2 / 5 + 2 * within**2 / 42) / 8, within * np.sqrt(2 / 42)]
    )
    assert found.mean_error == pytest.approx(np.sqrt(between / 48))


def test_unbalanced_nesting_is_unbiased_and_knows_its_errors():
    random = np.random.default_rng(1)
    die, device = [], []
    for a in range(8):
        for b in range(random.integers(3, 9)):
            size = int(random.integers(2, 5))
            die += [a] * size
            device += [b] * size
    die, device = np.array(die), np.array(device)
    joint = np.unique(die * 100 + device, return_inverse=True)[1]
    found = []
    for _ in range(400):
        y = 2 * random.standard_normal(8)[die] + random.standard_normal(joint.max() + 1)[joint]
        found.append(components(y + 0.5 * random.standard_normal(die.size), [die, device]))
    variances = np.array([one.variances for one in found])
    spread = variances.std(axis=0)
    assert np.all(np.abs(variances.mean(axis=0) - [4, 1, 0.25]) <= 4 * spread / np.sqrt(400))
    assert np.array([one.errors for one in found]).mean(axis=0) == pytest.approx(spread, rel=0.15)


def test_a_large_offset_costs_no_digits():
    y = np.tile([1.0, 3.0], 10)
    assert components(y + 1e9, []).total == pytest.approx(components(y, []).total, rel=1e-6)
