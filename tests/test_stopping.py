"""Stopping by half-width: the same chips as ever, an interval that holds, and nonsense refused in words."""

from __future__ import annotations

import pytest
import torch
from scipy.stats import t as student
from torch import nn

from everychip import Draws, Hardware, devices, evaluate, rng_for
from everychip.errors import ConfigError
from everychip.sequential import Sequential, SequentialT
from everychip.stopping import Until, enough

HARDWARE = Hardware(device=devices.Gaussian(sigma=0.1))


def task(images: int = 200) -> tuple[nn.Module, tuple[torch.Tensor, torch.Tensor]]:
    model = nn.Linear(6, 3)
    model.weight.data = torch.randn(3, 6, generator=rng_for(0, "w"))
    x = torch.randn(images, 6, generator=rng_for(0, "x"))
    return model, (x, model(x).argmax(1))


def test_the_chips_are_the_first_of_those_of_a_fixed_number() -> None:
    model, data = task()
    watched = evaluate(model, HARDWARE, data, chips=300, until="±1", seed=4)
    assert 20 <= len(watched) < 300
    fixed = evaluate(model, HARDWARE, data, chips=len(watched), seed=4)
    assert torch.equal(watched.accuracy, fixed.accuracy)
    assert watched.chip.tolist() == list(range(len(watched)))


@pytest.mark.parametrize(("text", "kind"), [("±1", SequentialT), ("±3 bernstein", Sequential)])
def test_it_stops_at_the_first_chip_at_which_the_sequence_is_narrow_enough(text: str, kind: type) -> None:
    model, data = task()
    draws = evaluate(model, HARDWARE, data, chips=1000, until=text, batch_size=200)
    watch, points = kind(), float(text.split(maxsplit=1)[0][1:])
    reached = []
    for value in draws.accuracy.tolist():
        watch.update([value])
        reached.append(watch.reached(points / 100))
    assert reached == [False] * (len(draws) - 1) + [True]
    mean = draws.verdict().mean
    assert (mean.low, mean.high) == (watch.interval.low, watch.interval.high)


def test_the_interval_holds_where_a_t_interval_that_is_watched_does_not() -> None:
    chips = 0.9 + 0.01 * torch.randn(400, 90, generator=rng_for(1, "chips"), dtype=torch.float64)
    missed = 0
    for values in chips.tolist():
        until = Until(0.004)
        stops = enough(until)
        n = next((i + 1 for i, value in enumerate(values) if stops(value)), len(values))
        interval = until.interval(values[:n])
        assert interval.low is not None
        assert interval.high is not None
        missed += not interval.low <= 0.9 <= interval.high
    assert missed / 400 < 0.05
    assert t_intervals_watched_from_the_third_chip_on_that_miss(chips) / 400 > 0.06


def t_intervals_watched_from_the_third_chip_on_that_miss(chips: torch.Tensor) -> int:
    """What one must not do: a t interval after every chip, until it is ±0.004."""
    n = torch.arange(1, chips.shape[1] + 1)
    mean = chips.cumsum(1) / n
    spread = ((chips.square().cumsum(1) - n * mean.square()) / (n - 1)).clamp(min=0).sqrt()
    half = torch.from_numpy(student.ppf(0.975, (n - 1).numpy())) * spread / n.sqrt()
    reached = (half <= 0.004) & (n >= 3)
    first = reached.float().argmax(1, keepdim=True)
    miss = ((mean - 0.9).abs() > half).gather(1, first) & reached.any(1, keepdim=True)
    return int(miss.sum())


def test_the_verdict_says_which_interval_was_used_and_gives_none_that_a_look_would_break() -> None:
    model, data = task()
    verdict = evaluate(model, HARDWARE, data, chips=300, until="±1").verdict(target=0.9)
    assert "over chips, watched)" in str(verdict)
    assert verdict.kpp is not None
    assert verdict.yield_ is not None
    assert (verdict.kpp.low, verdict.kpp.high, verdict.yield_.low) == (None, None, None)
    assert "no bounds of KPP5 and yield" in str(verdict)
    free = evaluate(model, HARDWARE, data, chips=1000, until="±3 bernstein").verdict()
    assert "watched, no law assumed" in str(free)


def test_a_width_that_is_not_reached_is_said() -> None:
    model, data = task()
    draws = evaluate(model, HARDWARE, data, chips=25, until="±0.01")
    assert len(draws) == 25
    assert "±0.01 was not reached in 25 chips" in str(draws)


def test_chips_that_are_all_alike_are_enough_at_the_least_number() -> None:
    model, data = task()
    assert len(evaluate(model, HARDWARE.with_sigma(0.0), data, chips=100, until="±0.2")) == 20


def test_parts_of_a_watched_evaluation_stay_watched() -> None:
    model, data = task()
    draws = evaluate(model, HARDWARE, data, chips=40, until="±0.01")
    joined = Draws.join([draws])
    assert joined.until == Until(0.0001)
    assert "until" not in draws.columns()


@pytest.mark.parametrize("text", ["±0.2", "± 0.2", "+-0.2", "+/-0.2 points", "±0.2 %", " ±.2 "])
def test_people_write_a_half_width_in_many_ways(text: str) -> None:
    assert Until.parse(text) == Until(0.002)


@pytest.mark.parametrize(
    "wrong", ["0.2", 0.2, "±0", "±50", "±-1", "±nan", "±", "", "±0.2 t", "soon", None, "±1e-3"]
)
def test_nonsense_is_refused(wrong: object) -> None:
    with pytest.raises(ConfigError, match=r"evaluate\.until"):
        Until.parse(wrong)


@pytest.mark.parametrize(("text", "chips", "least"), [("±0.2", 19, 20), ("±0.2 bernstein", 2459, 2460)])
def test_a_width_that_so_few_chips_can_never_reach_is_refused(text: str, chips: int, least: int) -> None:
    model, data = task()
    with pytest.raises(ConfigError, match=f"at least {least} chips"):
        evaluate(model, HARDWARE, data, chips=chips, until=text)
    assert Until.parse(text, chips=least).least == least
