"""A training is above chance if its chips are, whatever its validation accuracy was."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from scipy.stats import binomtest

from everychip.report import load
from everychip.report.converged import counted, of_group, probabilities
from everychip.report.results import Group, Results
from everychip.statistics.outcome import bar_above_chance
from everychip.statistics.percentiles import above_chance
from everychip.training.loop import classify_outcome


@pytest.fixture
def results(study: Path) -> Results:
    return load(study)


def group_of(results: Results, method: str, sigma_train: float, sigma: float, variant: str = "") -> Group:
    (found,) = [
        group
        for group in results.groups
        if (group.method, group.sigma_train, group.sigma) == (method, sigma_train, sigma)
        and group.context.variant == variant
    ]
    return found


def study_with(write_study: Callable[..., Path], folder: Path, *, classes: int | None) -> Results:
    write_study(folder, chips=3, variants=("",))
    path = folder / "study.json"
    about = json.loads(path.read_text(encoding="utf-8"))
    for run in about["runs"]:
        run["classes"] = classes
    path.write_text(json.dumps(about), encoding="utf-8")
    return load(folder)


def test_a_network_at_chance_on_chips_is_not_above_it_although_its_digital_accuracy_is_high(
    results: Results,
) -> None:
    lost, kept = (group_of(results, "vanilla", 0.0, sigma) for sigma in (0.4, 0.0))
    assert all(sum(chips) / len(chips) < 0.2 for chips in lost.by_seed.values())
    assert {run.status for run in results.runs_of(lost)} == {"above_chance"}
    assert counted(results, lost) == "0 of 3"
    assert counted(results, kept) == "3 of 3"


def test_every_count_has_its_exact_binomial_interval(results: Results) -> None:
    for group in results.groups:
        means = [sum(chips) / len(chips) for chips in group.by_seed.values()]
        hits = sum(mean > 0.2 for mean in means)
        exact = binomtest(hits, 3).proportion_ci(0.95, method="exact")
        found = of_group(results, group)
        assert found is not None
        assert found.estimate == pytest.approx(hits / 3)
        assert found.low == pytest.approx(exact.low, abs=1e-9)
        assert found.high == pytest.approx(exact.high, abs=1e-9)


def test_the_table_names_the_methods_of_each_outcome(results: Results) -> None:
    table = probabilities(results)
    assert table is not None
    rows = [row.cells for row in table.rows]
    assert any("2 of 3" in cells and cells[-1] == "vanilla" for cells in rows)
    assert any("0 of 3" in cells and "noise_injection" in cells[-1] for cells in rows)
    assert all("[" in " ".join(cells) for cells in rows)


def test_a_training_without_a_single_chip_counts_as_not_above_chance(
    write_study: Callable[..., Path], tmp_path: Path
) -> None:
    results = study_with(write_study, tmp_path, classes=10)
    group = group_of(results, "irs", 0.2, 0.2)
    left = {seed: chips for seed, chips in group.accuracy.items() if seed != 1}
    fewer = Group(**{**vars_of(group), "accuracy": left})
    assert counted(results, group) == "3 of 3"
    assert counted(results, fewer) == "2 of 3"


def vars_of(group: Group) -> dict[str, object]:
    return {name: getattr(group, name) for name in Group.__dataclass_fields__}


@pytest.mark.parametrize("classes", [None, 1])
def test_without_a_number_of_classes_nothing_is_said(
    write_study: Callable[..., Path], tmp_path: Path, classes: int | None
) -> None:
    results = study_with(write_study, tmp_path, classes=classes)
    assert counted(results, results.groups[0]) == ""
    assert probabilities(results) is None


def test_of_two_classes_ten_points_above_chance_are_asked(
    write_study: Callable[..., Path], tmp_path: Path
) -> None:
    results = study_with(write_study, tmp_path, classes=2)
    group = group_of(results, "irs", 0.2, 0.2)
    means = [sum(chips) / len(chips) for chips in group.by_seed.values()]
    found = of_group(results, group)
    assert found is not None
    assert found.estimate == pytest.approx(sum(mean > 0.6 for mean in means) / 3)
    table = probabilities(results)
    assert table is not None
    assert "fewer than ten classes" in table.notes[0]


@pytest.mark.parametrize("classes", range(2, 13))
def test_training_and_report_have_one_bar(classes: int) -> None:
    bar = bar_above_chance(classes)
    for accuracy, status in ((bar - 1e-6, "at_chance"), (bar + 1e-6, "above_chance")):
        assert classify_outcome("above_chance", accuracy, classes, [])[0] == status
        assert above_chance({0: accuracy}, classes=classes).estimate == (status == "above_chance")


def test_the_words_of_earlier_results_are_read(write_study: Callable[..., Path], tmp_path: Path) -> None:
    write_study(tmp_path, chips=3, variants=("",))
    path = tmp_path / "study.json"
    text = path.read_text(encoding="utf-8")
    old = text.replace("above_chance", "converged").replace("at_chance", "collapsed")
    assert old != text
    new = load(tmp_path)
    path.write_text(old, encoding="utf-8")
    assert [run.status for run in load(tmp_path).runs] == [run.status for run in new.runs]
