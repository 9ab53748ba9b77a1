"""Accuracy over time: what the table, the chart and the sentences say of chips that age."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import altair as alt
import duckdb
import pytest
from rich.console import Console
from scipy import stats

from everychip.report.blocks import Figure, Table
from everychip.report.compared import differences
from everychip.report.markdown import to_markdown
from everychip.report.over_time import over_time
from everychip.report.reading import load
from everychip.report.results import Results
from everychip.report.sections import build, figures
from everychip.report.tables import at_training_sigma, everything
from everychip.report.terminal import show

StudyWriter = Callable[..., Path]
TIMES = {0.1: 25.0, 0.2: 3600.0, 0.3: 86_400.0, 0.4: 31_536_000.0}


@pytest.fixture(scope="module")
def make(tmp_path_factory: pytest.TempPathFactory, write_study: StudyWriter) -> Callable[..., Results]:
    """A study of a device that ages: each σ of the synthetic study becomes a time, the device has no σ."""

    def made(first: float = 25.0, **changes: str) -> Results:
        folder = write_study(
            tmp_path_factory.mktemp("aged") / "study",
            methods=("vanilla", "noise_injection", "irs"),
            variants=("", "twin"),
            trained=(0.2,),
            sigmas=tuple(TIMES),
            chips=6,
            collapsed=(),
        )
        when = " ".join(f"when sigma = {s} then {t}" for s, t in {**TIMES, 0.1: first}.items())
        columns = {
            "time": f"case {when} end",
            "sigma": "null::double",
            "sigma_train": "case when sigma_train = 0 then 0.0 else null::double end",
            "device": "'PCM'",
            "per_chip": "variant = 'twin'",
            **changes,
        }
        told = ", ".join(f"{sql} as {name}" for name, sql in columns.items())
        file = folder / "draws.parquet"
        with duckdb.connect() as connection:
            connection.execute(f"create table draws as select * from '{file}'")
            connection.execute(f"copy (select * replace ({told}) from draws) to '{file}' (format parquet)")
        return load(folder)

    return made


@pytest.fixture(scope="module")
def aged(make: Callable[..., Results]) -> Results:
    return make()


def figure(results: Results) -> Figure:
    return next(figure for figure in figures(results) if figure.name == "time")


def test_every_point_is_the_mean_that_sql_finds_with_scipys_interval(aged: Results) -> None:
    with duckdb.connect() as connection:
        means = connection.execute(
            "select variant, method, time, list(mean) from (select variant, method, time, seed, "
            f"avg(accuracy) as mean from '{aged.path / 'draws.parquet'}' group by all) group by all"
        ).fetchall()
    expected = {(variant or "plain", method, time): seeds for variant, method, time, seeds in means}
    found = {
        (panel.title.partition(",")[0], point["method"], point["time"]): point
        for panel in figure(aged).panels
        for point in panel.spec["data"]["values"]
    }
    assert found.keys() == expected.keys()
    for key, seeds in expected.items():
        low, high = stats.t.interval(0.95, 2, loc=sum(seeds) / 3, scale=stats.sem(seeds))
        bounds = [100 * max(low, 0), 100 * sum(seeds) / 3, 100 * min(high, 1)]
        assert [found[key][name] for name in ("low", "mean", "high")] == pytest.approx(bounds, abs=1e-3)


def test_the_chart_has_a_logarithmic_axis_with_a_word_for_each_time(aged: Results) -> None:
    for panel in figure(aged).panels:
        alt.LayerChart.from_dict(dict(panel.spec))
        x: dict[str, Any] = panel.spec["layer"][0]["encoding"]["x"]
        assert x["scale"]["type"] == "log"
        assert x["axis"]["values"] == list(TIMES.values())
        for word in ("25 s", "1 h", "1 day", "1 year"):
            assert f"'{word}'" in x["axis"]["labelExpr"]


def test_a_time_of_zero_keeps_its_place_on_the_axis(make: Callable[..., Results]) -> None:
    fresh = make(first=0.0)
    scale = figure(fresh).panels[0].spec["layer"][0]["encoding"]["x"]["scale"]
    assert (scale["type"], scale["domain"]) == ("symlog", [0.0, 31_536_000.0])


def test_population_and_per_chip_stand_in_tables_of_their_own(aged: Results) -> None:
    section = next(section for section in build(aged) if section.name == "time")
    titles = [block.title for block in section.blocks if isinstance(block, Table)]
    assert titles == ["Accuracy over time, population", "Accuracy over time, per-chip"]


def test_verdicts_and_comparisons_are_those_of_the_last_time(aged: Results) -> None:
    assert {panel.time for panel in aged.panels} == {31_536_000.0}
    groups = [group for panel in aged.panels for group in panel.at_sigma]
    assert {group.time for group in groups} == {31_536_000.0}
    assert len(groups) == 6
    assert "On the device at 1 year" in at_training_sigma(aged).title
    for difference in differences(aged.panels):
        assert difference.method.time == difference.control.time == 31_536_000.0
    assert "**At 1 year (σ_W/rms(W)" in to_markdown(aged)
    assert "training σ" not in to_markdown(aged)


def test_every_number_tells_its_time(aged: Results) -> None:
    table = everything(aged)
    names = [column.name for column in table.columns]
    assert "time" in names
    assert "σ" not in names
    assert {row.cells[names.index("time")] for row in table.rows} == {"25 s", "1 h", "1 day", "1 year"}


def test_a_table_has_at_most_so_many_times_the_first_and_the_last_among_them(aged: Results) -> None:
    table = over_time(aged, limit=2)
    assert table is not None
    assert [column.name for column in table.columns if column.role == "value"] == ["25 s", "1 year"]


def test_the_terminal_fits_eighty_columns(aged: Results) -> None:
    text = io.StringIO()
    show(aged, console=Console(file=text, width=80))
    assert "Accuracy over time" in text.getvalue()
    assert "Accuracy over σ" not in text.getvalue(), "the device has no σ"
    assert max(map(len, text.getvalue().splitlines())) <= 80


def test_one_time_is_no_curve_and_draws_without_a_time_are_what_they_were(
    make: Callable[..., Results], study: Path
) -> None:
    once = make(time="60.0", sigma="sigma")
    for results in (once, load(study)):
        assert over_time(results) is None
        assert "time" not in [section.name for section in build(results)]
