"""The tables say what scipy says, and say beside it what a reader must know."""

from __future__ import annotations

import io
import json
import math
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console
from scipy import stats

from everychip.report.blocks import Table
from everychip.report.compared import differences
from everychip.report.markdown import to_markdown
from everychip.report.reading import load
from everychip.report.results import Group, Results
from everychip.report.tables import against_controls, at_training_sigma, chosen_sigmas, everything, overview
from everychip.report.terminal import show, tables

StudyWriter = Callable[..., Path]


@pytest.fixture(scope="module")
def results(study: Path) -> Results:
    return load(study)


def column(table: Table, name: str) -> list[str]:
    index = [column.name for column in table.columns].index(name)
    return [row.cells[index] for row in table.rows]


def seed_means(group: Group) -> list[float]:
    return [sum(values) / len(values) for values in group.by_seed.values()]


def printed(results: Results, **options: float) -> list[str]:
    text = io.StringIO()
    show(results, console=Console(file=text, width=80), **options)
    return text.getvalue().splitlines()


def test_means_and_intervals_are_those_of_scipy_over_seeds(results: Results) -> None:
    table = everything(results)
    for group, cell in zip(results.groups, column(table, "mean ± CI"), strict=True):
        means = seed_means(group)
        low, high = stats.t.interval(0.95, 2, loc=sum(means) / 3, scale=stats.sem(means))
        mean = cell.rstrip("†").partition(" ")[0]
        digits = len(mean.partition(".")[2])
        assert mean == f"{100 * sum(means) / 3:.{digits}f}"
        if max(0, -low, high - 1) * 100 < 10**-digits:
            assert cell.rstrip("†") == f"{mean} ± {50 * (high - low):.{digits}f}"
        else:
            kept = (f"{100 * bound:.{digits}f}" for bound in (max(low, 0), min(high, 1)))
            assert cell.rstrip("†") == f"{mean} [{', '.join(kept)}]"


def test_kpp5_is_the_order_statistic_of_all_chips(results: Results) -> None:
    table = everything(results)
    for group, cell in zip(results.groups, column(table, "KPP5"), strict=True):
        chips = sorted(value for values in group.by_seed.values() for value in values)
        assert cell == f"{100 * chips[math.ceil(0.05 * len(chips)) - 1]:.1f}"


def test_a_nominal_sigma_always_has_its_effective_value_beside_it(results: Results) -> None:
    for shown in overview(results).columns:
        if re.fullmatch(r"σ [\d.]+", shown.name):
            assert re.fullmatch(r"0|[\d.]+(–[\d.]+)?", shown.below)
    for table in (at_training_sigma(results), everything(results)):
        assert all(column(table, "σ_W/rms"))
        assert all(column(table, "σ_W/max"))
    (place,) = [
        i
        for i, shown in enumerate(against_controls(differences(results.panels)).columns)
        if shown.name == "σ"
    ]
    cells = [row.cells[place] for row in against_controls(differences(results.panels)).rows]
    assert all(re.fullmatch(r"[\d.]+ \([\d.–]+\)", cell) for cell in cells)


def test_a_table_of_one_sigma_keeps_it_in_its_title(tmp_path: Path, write_study: StudyWriter) -> None:
    one = load(write_study(tmp_path / "one", variants=("",), trained=(0.2,), chips=4))
    assert at_training_sigma(one).title == "At the training σ = 0.2 (σ_W/rms(W) 1.0)"
    assert against_controls(differences(one.panels)).title.endswith("at σ = 0.2 (σ_W/rms(W) 1.0)")


def test_at_most_four_sigmas_are_chosen_and_the_training_ones_among_them(results: Results) -> None:
    chosen = chosen_sigmas(results)
    assert len(chosen) == 4
    assert {0.0, 0.2, 0.4} <= set(chosen)
    assert list(chosen) == sorted(chosen)


def test_chips_that_saw_part_of_the_test_set_get_a_mean_and_no_percentile(
    tmp_path: Path, write_study: StudyWriter
) -> None:
    table = at_training_sigma(load(write_study(tmp_path / "part", images=500, chips=4)))
    names = [shown.name for shown in table.columns]
    assert "mean ± CI" in names
    assert not {"KPP5", "worst", "yield"} & set(names)
    assert any("500 test images" in note for note in table.notes)


def test_a_collapsed_training_is_marked_in_every_table_and_counted(results: Results) -> None:
    table = at_training_sigma(results)
    collapsed = [row for row in table.rows if any(cell.endswith("†") for cell in row.cells)]
    assert [row.method for row in collapsed] == ["noise_injection"]
    assert "0 of 3" in collapsed[0].cells
    assert any(note.startswith("†") for note in table.notes)


def test_one_seed_is_no_claim_about_a_method(tmp_path: Path, write_study: StudyWriter) -> None:
    single = load(write_study(tmp_path / "single", variants=("",), seeds=1, chips=4))
    for table in tables(single):
        assert any("one training seed: not a claim about a method" in note for note in table.notes)
    assert "Over chips, one training seed: not a claim about a method." in to_markdown(single)
    assert all("these trained networks only" in d.sentence for d in differences(single.panels))


def test_yield_is_the_share_of_chips_that_reach_the_target(results: Results) -> None:
    table = at_training_sigma(results, target=0.9)
    groups = [group for panel in results.panels for group in panel.at_sigma]
    for group, cell in zip(groups, column(table, "≥ 90 %"), strict=True):
        chips = [value for values in group.by_seed.values() for value in values]
        assert cell == f"{100 * sum(value >= 0.9 for value in chips) / len(chips):.1f}"


def test_a_difference_is_scipys_over_the_paired_seed_means(results: Results) -> None:
    for difference in differences(results.panels):
        pairs = zip(seed_means(difference.method), seed_means(difference.control), strict=True)
        gaps = [one - two for one, two in pairs]
        test = stats.ttest_1samp(gaps, 0)
        low, high = test.confidence_interval(0.95)
        assert difference.interval.estimate == pytest.approx(sum(gaps) / 3)
        assert (difference.interval.low, difference.interval.high) == pytest.approx((low, high))
        assert (difference.shows == "none") == (test.pvalue > 0.05)


def test_every_method_meets_its_controls_at_its_own_training_sigma(results: Results) -> None:
    for panel in results.panels:
        met = {(d.method.method, d.control.method) for d in differences([panel])}
        for method in ("deep_supervision", "irs", "ovf"):
            assert {(method, "noise_injection"), (method, "temperature")} <= met
        assert ("irs", "deep_supervision") in met
        assert all(d.method.sigma == panel.sigma_train for d in differences([panel]))


def test_a_finding_is_said_in_plain_words(results: Results) -> None:
    said = {(d.method.method, d.control.method): d for d in differences(results.panels[:1])}
    alike, better = said["irs", "temperature"], said["ovf", "temperature"]
    assert re.fullmatch(
        r"irs differs from temperature by [+−][\d.]+ \[−[\d.]+, \+[\d.]+\] points: no difference shown",
        alike.sentence,
    )
    assert re.fullmatch(
        r"ovf is better than temperature by [\d.]+ points \[\+[\d.]+, \+[\d.]+\]", better.sentence
    )


def test_an_interval_too_wide_to_tell_says_what_it_leaves_open(results: Results) -> None:
    wide = [d for d in differences(results.panels) if d.shows == "none" and max(map(abs, bounds(d))) > 0.02]
    assert wide
    assert all("remain possible" in d.sentence for d in wide)


def bounds(difference: object) -> tuple[float, float]:
    interval = difference.interval  # type: ignore[attr-defined]
    return interval.low, interval.high


def test_the_terminal_tables_fit_eighty_columns_without_cutting_a_word(results: Results) -> None:
    lines = printed(results, target=0.9)
    assert max(map(len, lines)) <= 80
    assert "…" not in "".join(lines)


def test_the_terminal_shows_a_run_at_every_sigma(run_folder: Path) -> None:
    (table,) = tables(load(run_folder))
    assert column(table, "σ") == ["0", "0.1", "0.2", "0.3", "0.4"]


def test_markdown_tables_have_as_many_cells_in_every_row(results: Results) -> None:
    blocks = re.findall(r"(?:^\|.*\|$\n?)+", to_markdown(results), flags=re.MULTILINE)
    assert len(blocks) == 4
    for block in blocks:
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in block.splitlines()}) == 1


def test_the_digital_score_stands_under_a_run_that_has_no_row_without_noise(
    tmp_path: Path, run_folder: Path, complete_run: Callable[..., Path]
) -> None:
    folder = tmp_path / "run"
    shutil.copytree(run_folder, folder)
    record = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    complete_run(folder, {**record, "digital": 0.987})
    results = load(folder)
    assert not any("Digital" in line for line in printed(results))  # the row of σ = 0 says it
    noisy = tuple(group for group in results.groups if group.sigma != 0)
    assert "Digital network, without noise: 98.7 %." in printed(replace(results, groups=noisy))
