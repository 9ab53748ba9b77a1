"""Contrasts fixed beforehand: TOST and Holm as their sources have them, and what they promise."""

from __future__ import annotations

import math

import pytest
import torch
from scipy.stats import t as student

from everychip.errors import ConfigError, DataError, SampleSizeError
from everychip.rng import rng_for
from everychip.scores import Score
from everychip.statistics.contrasts import contrasts, holm


def seeds(means, *, base=0.9):
    """Two methods whose seed means differ by these amounts, on two chips each."""
    b = {seed: [base + 0.01 * (seed % 3), base] for seed in range(len(means))}
    return {seed: [x + means[seed] for x in chips] for seed, chips in b.items()}, b


def test_equivalence_is_the_larger_of_two_one_sided_t_tests_written_out() -> None:
    d = torch.tensor([0.001, -0.002, 0.003, 0.0, 0.002], dtype=torch.float64)
    found = contrasts({"one": seeds(d.tolist())}, margin=0.01)["one"]
    error = float(d.std()) / math.sqrt(5)
    lower = student.sf((float(d.mean()) + 0.01) / error, 4)
    upper = student.cdf((float(d.mean()) - 0.01) / error, 4)
    assert found.p_equivalence == pytest.approx(max(lower, upper), rel=1e-6)
    assert found.finding == "equivalent"


def test_holm_corrects_as_in_his_paper_and_keeps_the_order() -> None:
    assert holm([0.01, 0.04, 0.03]) == [0.03, 0.06, 0.06]
    assert holm([0.04, 0.01]) == [0.04, 0.02]
    assert holm([0.6, 0.7]) == [1.0, 1.0]
    assert holm([0.02, None, 0.03]) == [0.06, None, 0.06]
    assert holm([]) == []


def test_a_family_asks_more_of_each_contrast_than_one_alone_does() -> None:
    weak = seeds([0.010, 0.012, 0.021, 0.017])
    alone = contrasts({"weak": weak})["weak"]
    among = contrasts({"weak": weak, **{f"n{i}": seeds([0.0, 0.05, -0.05, 0.01 * i]) for i in range(6)}})[
        "weak"
    ]
    assert alone.finding == "better"
    assert among.p_difference == pytest.approx(7 * alone.p_difference)
    assert among.finding == "nothing shown"
    assert among.difference == alone.difference


def test_contrasts_that_were_asked_and_have_no_scores_yet_count_in_the_family() -> None:
    weak = {"weak": seeds([0.010, 0.012, 0.021, 0.017])}
    alone, among = contrasts(weak)["weak"], contrasts(weak, family=5)["weak"]
    assert among.p_difference == pytest.approx(5 * alone.p_difference)
    assert contrasts(weak, family=1) == contrasts(weak)


def test_a_difference_can_be_shown_and_lie_within_the_margin() -> None:
    assert contrasts({"x": seeds([0.003, 0.0031, 0.0029])})["x"].finding == "better, within the margin"
    assert contrasts({"x": seeds([-0.03, -0.031, -0.029])})["x"].finding == "worse"


def test_of_a_score_whose_lower_values_are_better_less_is_better() -> None:
    loss = Score("loss", higher_is_better=False, within=(0.0, math.inf), unit="")
    assert contrasts({"x": seeds([-0.3, -0.31, -0.29])}, score=loss)["x"].finding == "better"


def test_no_contrast_of_a_family_without_an_effect_is_shown_more_often_than_promised() -> None:
    rng = rng_for(0, "contrasts")
    shown = 0
    for _ in range(200):
        family = {
            str(i): seeds((0.01 * torch.randn(5, generator=rng, dtype=torch.float64)).tolist())
            for i in range(4)
        }
        shown += any("better" in one.finding or "worse" in one.finding for one in contrasts(family).values())
    assert shown / 200 <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 200)


def test_methods_at_the_margin_are_rarely_called_equivalent() -> None:
    rng = rng_for(1, "contrasts")
    called = 0
    for _ in range(200):
        d = 0.01 + 0.004 * torch.randn(10, generator=rng, dtype=torch.float64)
        called += "equivalent" in contrasts({"x": seeds(d.tolist())})["x"].finding
    assert called / 200 <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 200)


def test_what_cannot_be_judged_is_refused_in_one_line() -> None:
    with pytest.raises(SampleSizeError, match="2 training seeds; expected at least 3"):
        contrasts({"x": seeds([0.1, 0.2])})
    a, b = seeds([0.1, 0.2, 0.3])
    with pytest.raises(DataError, match="the same training seeds"):
        contrasts({"x": (a, {**b, 3: [0.5, 0.5]})})
    with pytest.raises(ConfigError, match="margin"):
        contrasts({"x": (a, b)}, margin=0.0)


def test_seeds_that_differ_alike_have_no_p_value() -> None:
    found = contrasts({"x": seeds([0.02, 0.02, 0.02])})["x"]
    assert (found.p_difference, found.p_equivalence) == (None, None)
    assert found.finding == "nothing shown"
    assert str(found).endswith("over 3 seeds, margin ±1: nothing shown")
