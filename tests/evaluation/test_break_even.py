"""Break-even σ: where a fine grid finds it, with an interval that covers, and nonsense refused."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from everychip import Hardware, break_even, devices, evaluate, rng_for
from everychip.data import Arrays
from everychip.errors import ConfigError, SampleSizeError
from everychip.evaluation.break_even import _Curve
from everychip.statistics.intervals import Interval, mean_interval

HARDWARE = Hardware(device=devices.Gaussian(sigma=0.1))


def task(images: int = 300) -> tuple[nn.Module, Arrays]:
    model = nn.Linear(6, 3)
    x = torch.randn(images, 6, generator=rng_for(0, "x"))
    return model, Arrays(x, model(x).argmax(1))


def test_it_stands_where_a_fine_grid_crosses_the_target() -> None:
    model, data = task()
    found = break_even(model, HARDWARE, data, target=0.85, chips=8, seed=3)
    assert found.sigma is not None

    def mean(sigma: float) -> float:
        return float(evaluate(model, HARDWARE.with_sigma(sigma), data, chips=8, seed=3).accuracy.mean())

    assert mean(found.sigma * 0.97) > 0.85 > mean(found.sigma * 1.03)


def test_outside_the_interval_the_t_interval_excludes_the_target_and_inside_it_does_not() -> None:
    model, data = task()
    found = break_even(model, HARDWARE, data, target=0.85, chips=8)
    assert found.high is not None
    for sigma, inside in ((found.low * 0.95, False), (found.sigma, True), (found.high * 1.05, False)):
        assert sigma is not None
        mean = evaluate(model, HARDWARE.with_sigma(sigma), data, chips=8).verdict().mean
        assert mean.low is not None
        assert mean.high is not None
        assert (mean.low <= 0.85 <= mean.high) is inside


def test_the_interval_covers_the_true_break_even() -> None:
    """Chips whose accuracy is 1 − σ·e, e ~ N(1, 0.3²): the mean crosses 0.8 at σ = 0.2."""
    covered = 0
    for trial in range(200):
        e = 1 + 0.3 * torch.randn(10, generator=rng_for(trial, "chips"), dtype=torch.float64)

        def measured(sigma: float, e: torch.Tensor = e) -> Interval:
            return mean_interval(1 - sigma * e)

        curve = _Curve(measured, lambda _: None, 1.0, 0.01)
        low = curve.crossing(lambda mean: (mean.low or 0.0) < 0.8)
        high = curve.crossing(lambda mean: (mean.high or 1.0) < 0.8)
        assert low is not None
        assert high is not None
        covered += low[0] <= 0.2 <= high[1]
    assert covered / 200 > 0.91


def test_a_drop_counts_from_the_accuracy_without_noise() -> None:
    model, data = task()
    dropped = break_even(model, HARDWARE, data, drop="10 points", chips=5)
    assert dropped.target == pytest.approx(0.9)
    assert dropped.sigma == break_even(model, HARDWARE, data, target=dropped.target, chips=5).sigma


def test_it_comes_with_its_effective_noise() -> None:
    model, data = task()
    found = break_even(model, HARDWARE, data, target=0.9, chips=5)
    assert found.sigma is not None
    assert found.of_max == pytest.approx(0.7776 * found.sigma, rel=1e-3)
    assert "σ_W/rms(W)" in str(found)
    assert [step["sigma"] for step in found.table()["steps"]] == sorted(sigma for sigma, _ in found.steps)


def test_a_target_that_is_never_missed_is_said() -> None:
    model, data = task()
    found = break_even(model, HARDWARE, data, target=0.05, chips=4, largest=0.5)
    assert (found.sigma, found.high, found.low) == (None, None, 0.5)
    assert str(found).startswith("no break-even up to σ = 0.5")


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({}, "neither target nor drop"),
        ({"target": 0.9, "drop": "1 point"}, "both"),
        ({"target": 90}, "more than 0 and less than 1"),
        ({"target": float("nan")}, "found nan; expected a number"),
        ({"drop": "some"}, "1 point"),
        ({"drop": "0 points"}, "1 point"),
        ({"target": 0.9, "largest": 0.0}, "largest"),
        ({"target": 0.9, "tolerance": 0.0}, "tolerance"),
    ],
)
def test_nonsense_is_refused(asked: dict[str, object], words: str) -> None:
    model, data = task()
    with pytest.raises(ConfigError, match=words):
        break_even(model, HARDWARE, data, chips=4, **asked)  # type: ignore[arg-type]


def test_a_target_above_the_accuracy_without_noise_is_refused() -> None:
    model, data = task()
    wrong = Arrays(data.x, (data.y + (torch.arange(len(data)) % 5 == 0).long()) % 3)
    with pytest.raises(ConfigError, match="without noise is 80"):
        break_even(model, HARDWARE, wrong, target=0.9, chips=4)


def test_a_device_without_a_sigma_and_a_single_chip_are_refused() -> None:
    model, data = task()
    with pytest.raises(ConfigError, match="no nominal σ"):
        break_even(model, Hardware(device=devices.Ideal()), data, target=0.9)
    with pytest.raises(SampleSizeError, match="at least 2"):
        break_even(model, HARDWARE, data, target=0.9, chips=1)
