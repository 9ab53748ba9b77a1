"""The yields behind the slider are those of every chip, whichever way is better."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest

from everychip.report.reading import load
from everychip.report.results import Results
from everychip.report.yields import yields
from everychip.scores import Score
from everychip.statistics.percentiles import yield_at


@pytest.fixture(scope="module")
def results(study: Path) -> Results:
    return load(study)


def of_score(results: Results, score: Score) -> Results:
    return replace(results, groups=tuple(replace(group, score=score) for group in results.groups))


def test_every_share_is_the_one_that_the_verdict_counts(results: Results) -> None:
    found = yields(results, target=0.9)
    assert found is not None
    assert found.labels[found.chosen] == "90 %"
    groups = [group for panel in results.panels for group in panel.at_sigma]
    for group, (_, method, shares) in zip(groups, found.rows, strict=True):
        assert method == group.method
        chips = [value for values in group.by_seed.values() for value in values]
        for place in range(0, len(found.targets), 7):
            wanted = yield_at(chips, target=found.targets[place] / 100)
            assert shares[place] == f"{100 * wanted.estimate:.1f} {wanted.bounds()}"


def test_a_better_chip_is_a_lower_one_where_lower_is_better(results: Results) -> None:
    score = Score("RMSE", higher_is_better=False, within=(0.0, math.inf))
    found = yields(of_score(results, score))
    assert found is not None
    groups = [group for panel in results.panels for group in panel.at_sigma]
    for group, (_, _, shares) in zip(groups, found.rows, strict=True):
        chips = [value for values in group.by_seed.values() for value in values]
        for target, share in zip(found.targets, shares, strict=True):
            count = sum(score.reaches(value, target) for value in chips)
            assert share.split()[0] == f"{100 * count / len(chips):.1f}"
    assert found.labels[found.chosen].startswith("RMSE ≤ ")


def test_targets_ascend_and_are_few_and_hold_the_one_that_is_asked_for(results: Results) -> None:
    for score in (None, Score("RMSE", higher_is_better=False), Score("R²", within=(-math.inf, 1.0))):
        for target in (None, 0.1234, 0.999):
            found = yields(results if score is None else of_score(results, score), target=target)
            assert found is not None
            assert list(found.targets) == sorted(set(found.targets))
            assert 2 <= len(found.targets) <= 210
            if target is not None:
                scale = 100 if score is None else 1
                assert found.targets[found.chosen] == pytest.approx(scale * target)


def test_chips_that_met_parts_of_the_test_set_have_no_yield(results: Results) -> None:
    parts = tuple(replace(group, whole_test=False, images=100) for group in results.groups)
    assert yields(replace(results, groups=parts)) is None
