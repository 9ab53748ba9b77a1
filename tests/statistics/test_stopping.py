"""Stopping by half-width: the same chips as ever, an interval that holds, and nonsense refused in words."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from scipy.stats import t as student
from torch import nn

from everychip import Draws, Hardware, devices, evaluate, rng_for
from everychip.errors import ConfigError
from everychip.scores import ACCURACY, Score
from everychip.statistics.confidence_sequences import Sequential, SequentialT
from everychip.statistics.stopping import Until, enough

HARDWARE = Hardware(device=devices.Gaussian(sigma=0.1))


def task(images: int = 200) -> tuple[nn.Module, tuple[torch.Tensor, torch.Tensor]]:
    model = nn.Linear(6, 3)
    model.weight.data = torch.randn(3, 6, generator=rng_for(0, "w"))
    x = torch.randn(images, 6, generator=rng_for(0, "x"))
    return model, (x, model(x).argmax(1))


def test_the_chips_are_the_first_of_those_of_a_fixed_number() -> None:
    model, data = task()
    watched = evaluate(model, HARDWARE, data, chips=300, until="±1 failures 15 %", seed=4)
    assert 20 <= len(watched) < 300
    fixed = evaluate(model, HARDWARE, data, chips=len(watched), seed=4)
    assert torch.equal(watched.accuracy, fixed.accuracy)
    assert watched.chip.tolist() == list(range(len(watched)))


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("±0.3", lambda: SequentialT(least=300)),
        ("±1 failures 15 %", SequentialT),
        ("±3 bernstein", Sequential),
    ],
)
def test_it_stops_at_the_first_chip_at_which_the_sequence_is_narrow_enough(
    text: str, kind: Callable[[], Sequential | SequentialT]
) -> None:
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
        until = Until(0.004, failures=0.15)
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
    verdict = evaluate(model, HARDWARE, data, chips=300, until="±1 failures 15%").verdict(target=0.9)
    assert "over chips, watched)" in str(verdict)
    assert verdict.kpp is not None
    assert verdict.yield_ is not None
    assert (verdict.kpp.low, verdict.kpp.high, verdict.yield_.low) == (None, None, None)
    assert "no bounds of KPP5 and yield" in str(verdict)
    free = evaluate(model, HARDWARE, data, chips=1000, until="±3 bernstein").verdict()
    assert "watched, no law assumed" in str(free)
    assert free.cautions == ()


def test_by_default_it_is_said_which_failures_so_few_chips_do_not_show() -> None:
    model, data = task()
    draws = evaluate(model, HARDWARE, data, chips=400, until="±1")
    assert len(draws) == 300
    assert str(draws).endswith("; failures rarer than 1 % of chips may be unseen")


@pytest.mark.parametrize(("share", "low"), [(0.01, 0.1), (0.01, 0.5), (0.02, 0.1), (0.02, 0.5), (0.05, 0.1)])
@pytest.mark.parametrize("half", [0.01, 0.02])
def test_the_interval_at_the_stop_holds_where_chips_fail(share: float, low: float, half: float) -> None:
    truth, trials, most = share * low + (1 - share) * 0.95, 300, 3000
    fails = torch.rand(trials, most, generator=rng_for(2, share, low), dtype=torch.float64) < share
    noise = torch.randn(trials, most, generator=rng_for(3, share, low), dtype=torch.float64)
    chips = torch.where(fails, low, 0.95) + 0.01 * noise
    n, halves = all_intervals(chips)
    mean = chips.cumsum(1) / n
    missed = {}
    for least in (20, Until(half).least):
        stop = ((halves <= half) & (n >= least)).float()
        stop[:, -1] = 1.0
        first = stop.argmax(1, keepdim=True)
        missed[least] = float(((mean - truth).abs() > halves).double().gather(1, first).mean())
    assert missed[300] < 0.08
    assert missed[20] > missed[300]


def all_intervals(chips: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Half of the t sequence's interval after every chip: its equation, for all trials at once."""
    n = torch.arange(1, chips.shape[1] + 1, dtype=torch.float64)
    mean = chips.cumsum(1) / n
    squares = (chips.square().cumsum(1) - n * mean.square()).clamp(min=0)
    a = 1 + n
    k = (a / 0.05**2) ** (1 / n)
    half = (a * (k - 1) / (a - k) * squares / n).clamp(min=0).sqrt()
    watch = SequentialT()
    watch.update(chips[0, :40].tolist())
    assert watch.interval.half == pytest.approx(float(half[0, 39]))
    return n, torch.where(k < a, half, torch.full_like(half, math.inf))


def test_the_bounds_of_watched_chips_stay_within_0_and_1() -> None:
    values = [1.0, 0.4, 1.0, 1.0, 0.9, 1.0, 0.8, 1.0]
    assert Until(0.1).interval(values).high == 1.0


def test_a_width_that_is_not_reached_is_said() -> None:
    model, data = task()
    draws = evaluate(model, HARDWARE, data, chips=25, until="±0.01 failures 15 %")
    assert len(draws) == 25
    assert "±0.01 was not reached in 25 chips" in str(draws)


def test_chips_that_are_all_alike_are_enough_at_the_least_number() -> None:
    model, data = task()
    still = HARDWARE.with_sigma(0.0)
    assert len(evaluate(model, still, data, chips=400, until="±0.2")) == 300
    assert len(evaluate(model, still, data, chips=100, until="±0.2 failures 15 %")) == 20


def test_parts_of_a_watched_evaluation_stay_watched() -> None:
    model, data = task()
    draws = evaluate(model, HARDWARE, data, chips=40, until="±0.01 failures 10 %")
    joined = Draws.join([draws])
    assert joined.until == Until(0.0001, failures=0.1)
    assert "until" not in draws.columns()


@pytest.mark.parametrize(
    ("score", "offered", "withheld"),
    [
        (Score("RMSE", False, (0, math.inf), "K"), ["in K of RMSE"], ["bernstein", "two-stage"]),
        (Score("F1", within=(0.0, 1.0), unit="%"), ["points of F1", "bernstein"], ["two-stage"]),
        (ACCURACY, ["points of accuracy", "bernstein", "two-stage"], []),
    ],
)
def test_a_refusal_offers_the_rules_that_the_score_has(score, offered, withheld):
    with pytest.raises(ConfigError) as refused:
        Until.parse("soon", score=score)
    assert all(word in str(refused.value) for word in offered)
    assert not any(word in str(refused.value) for word in withheld)


@pytest.mark.parametrize("text", ["±0.2", "± 0.2", "+-0.2", "+/-0.2 points", "±0.2 %", " ±.2 "])
def test_people_write_a_half_width_in_many_ways(text: str) -> None:
    assert Until.parse(text) == Until(0.002)


@pytest.mark.parametrize("text", ["±0.2 failures 5 %", "±0.2 points, failures 5%", "±.2% failures 5.0%"])
def test_the_share_of_failures_that_must_show_is_a_choice(text: str) -> None:
    assert Until.parse(text) == Until(0.002, failures=0.05)
    assert Until.parse(text).least == 60


@pytest.mark.parametrize(
    "wrong",
    [
        "0.2",
        0.2,
        "±0",
        "±50",
        "±-1",
        "±nan",
        "±",
        "",
        "±0.2 t",
        "soon",
        None,
        "±1e-3",
        "±1 failures 0 %",
        "±1 failures 16 %",
        "±1 failures",
        "±1 bernstein failures 5 %",
    ],
)
def test_nonsense_is_refused(wrong: object) -> None:
    with pytest.raises(ConfigError, match=r"evaluate\.until"):
        Until.parse(wrong)


@pytest.mark.parametrize(
    ("text", "chips", "least"),
    [("±0.2", 299, 300), ("±0.2 failures 15 %", 19, 20), ("±0.2 bernstein", 2459, 2460)],
)
def test_a_width_that_so_few_chips_can_never_reach_is_refused(text: str, chips: int, least: int) -> None:
    model, data = task()
    with pytest.raises(ConfigError, match=f"at least {least} chips"):
        evaluate(model, HARDWARE, data, chips=chips, until=text)
    assert Until.parse(text, chips=least).least == least
