"""The story repeats numbers that are computed from the draws, and claims a lead only where one is shown."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import duckdb
import pytest

from everychip.report.reading import load
from everychip.report.story import story

StudyWriter = Callable[..., Path]
METHODS = ("vanilla", "noise_injection", "irs", "noise_injection(clip)", "resilient")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, write_study: StudyWriter) -> Path:
    place = tmp_path_factory.mktemp("told") / "study"
    return write_study(place, methods=METHODS, variants=("",), trained=(0.3,), collapsed=())


def mean(folder: Path, method: str, sigma: float) -> str:
    rows = duckdb.sql(
        f"select avg(accuracy) from (select seed, avg(accuracy) as accuracy from '{folder}/draws.parquet' "
        f"where method = '{method}' and sigma = {sigma} group by seed)"
    )
    return f"{100 * rows.fetchall()[0][0]:.1f} %"


def test_every_number_of_the_story_is_that_of_the_draws(folder: Path) -> None:
    falls, published, survives = story(load(folder))
    assert f"is right {mean(folder, 'vanilla', 0.0)} of the time" in falls
    assert f"keeps {mean(folder, 'vanilla', 0.3)}" in falls
    for method in ("noise_injection", "irs"):
        assert f"{mean(folder, method, 0.3)} ({method})" in published
    assert mean(folder, "resilient", 0.3).split()[0] in survives
    assert f"Its control keeps {mean(folder, 'noise_injection(clip)', 0.3)}" in survives


def test_the_survivor_is_held_against_the_best_published_method(folder: Path) -> None:
    means = {method: float(mean(folder, method, 0.3).split()[0]) for method in ("noise_injection", "irs")}
    best = max(means, key=lambda method: means[method])
    assert f"points over {best}, the best of those" in story(load(folder))[2]


def test_a_lead_that_is_not_shown_is_not_claimed(folder: Path) -> None:
    survivor, best = (float(mean(folder, name, 0.3).split()[0]) for name in ("resilient", "irs"))
    assert survivor < best  # in this made-up study
    assert "which shows no lead" in story(load(folder))[2]


def test_a_study_without_the_three_has_no_story(tmp_path: Path, write_study: StudyWriter) -> None:
    assert story(load(write_study(tmp_path / "study", methods=("vanilla", "irs")))) == ()
