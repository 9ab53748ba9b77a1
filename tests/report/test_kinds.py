"""Results of calibrated chips stand apart from those of chips as they were programmed, everywhere."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import duckdb
import pytest
from rich.console import Console

from everychip.methods import Method
from everychip.report.blocks import Details, Table
from everychip.report.compared import differences
from everychip.report.html import page
from everychip.report.markdown import to_markdown
from everychip.report.reading import load
from everychip.report.results import METHOD_ORDER, Results
from everychip.report.sections import build
from everychip.report.tables import against_controls, at_training_sigma, overview
from everychip.report.terminal import show, tables

StudyWriter = Callable[..., Path]
MIXED = ("vanilla", "noise_injection", "temperature", "irs")


def change(folder: Path, sql: str) -> None:
    file = folder / "draws.parquet"
    with duckdb.connect() as connection:
        connection.execute(f"create table draws as select * from '{file}'")
        connection.execute(f"copy ({sql}) to '{file}' (format parquet)")


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory, write_study: StudyWriter) -> Results:
    """Every method plain and calibrated, under one name each and without a label that says so."""
    folder = write_study(
        tmp_path_factory.mktemp("kinds") / "mixed",
        methods=MIXED,
        variants=("", "twin"),
        trained=(0.2,),
        chips=5,
        collapsed=(),
    )
    change(folder, "select * replace ('' as variant, variant = 'twin' as per_chip) from draws")
    return load(folder)


def of_report(results: Results) -> list[Table]:
    blocks = [block for section in build(results) for block in section.blocks]
    folded = [block.content for block in blocks if isinstance(block, Details)]
    found = [block for block in (*blocks, *folded) if isinstance(block, Table)]
    return [table for table in found if any(row.method for row in table.rows)]


def test_every_table_of_the_report_and_the_terminal_is_of_one_kind_and_says_which(mixed: Results) -> None:
    report, terminal = of_report(mixed), list(tables(mixed))
    assert (len(report), len(terminal)) == (8, 6)
    for shown in (report, terminal):
        kinds = [table.title.rpartition(" ")[2] for table in shown]
        assert kinds.count("population") == kinds.count("per-chip") == len(shown) / 2
        for table, kind in zip(shown, kinds, strict=True):
            assert any("calibrated" in note for note in table.notes) == (kind == "per-chip")


def test_each_table_holds_the_rows_of_a_study_of_its_kind_alone(
    tmp_path: Path, write_study: StudyWriter, mixed: Results
) -> None:
    for kind, variant in (("population", ""), ("per-chip", "twin")):
        alone = load(
            write_study(
                tmp_path / kind, methods=MIXED, variants=(variant,), trained=(0.2,), chips=5, collapsed=()
            )
        )
        expected = [at_training_sigma(alone), overview(alone), against_controls(differences(alone.panels))]
        found = [t for t in of_report(mixed) if t.title.endswith(kind) and "Every number" not in t.title]
        assert [table.rows for table in found] == [table.rows for table in expected]


def test_a_comparison_never_leaves_its_kind(mixed: Results) -> None:
    found = differences(mixed.panels)
    assert len(found) == 2 * len({(d.method.method, d.control.method) for d in found})
    for d in found:
        assert d.method.context.per_chip == d.control.context.per_chip == d.panel.context.per_chip
    groups = [group.context.kind for group in mixed.groups]
    assert groups == sorted(groups, reverse=True), "population first"


def test_markdown_html_and_terminal_name_both_kinds(mixed: Results) -> None:
    text = io.StringIO()
    show(mixed, console=Console(file=text, width=80))
    for rendered in (to_markdown(mixed), page(mixed), text.getvalue()):
        flat = " ".join(rendered.split())
        assert "Accuracy over σ" in flat
        assert "population" in flat
        assert "per-chip" in flat
    assert max(map(len, text.getvalue().splitlines())) <= 80


def test_draws_older_than_the_column_read_as_population_and_as_before(study: Path, tmp_path: Path) -> None:
    old = tmp_path / "old"
    old.mkdir()
    for file in study.iterdir():
        if file.is_file():
            (old / file.name).write_bytes(file.read_bytes())
    change(old, "select * exclude per_chip from draws")
    with duckdb.connect() as connection:
        columns = connection.execute(f"describe from '{old / 'draws.parquet'}'").fetchall()
    assert "per_chip" not in {column[0] for column in columns}
    assert list(load(old).kinds) == [""]
    assert to_markdown(load(old)) == to_markdown(load(study))
    assert "population" not in to_markdown(load(old))


def test_a_study_of_calibrated_chips_only_says_so(tmp_path: Path, write_study: StudyWriter) -> None:
    folder = write_study(tmp_path / "all", methods=MIXED, variants=("",), trained=(0.2,), chips=4)
    change(folder, "select * replace (true as per_chip) from draws")
    assert all(
        table.title.endswith("per-chip") for table in (*of_report(load(folder)), *tables(load(folder)))
    )


def test_every_method_has_its_place_in_a_table() -> None:
    shipped = {kind for kind, one in Method.kinds().items() if one.__module__.startswith("everychip.")}
    assert shipped <= set(METHOD_ORDER)


def test_each_rival_meets_noise_injection_and_temperature_where_it_rescales_logits(
    tmp_path: Path, write_study: StudyWriter
) -> None:
    folder = write_study(
        tmp_path / "all", methods=METHOD_ORDER, variants=("",), trained=(0.2,), sigmas=(0.2,), chips=3
    )
    results = load(folder)
    assert results.methods == METHOD_ORDER
    met: dict[str, set[str]] = {}
    for d in differences(results.panels):
        met.setdefault(d.method.method, set()).add(d.control.method)
    rivals = set(METHOD_ORDER) - {"vanilla", "noise_injection"}
    assert all("noise_injection" in met[rival] for rival in rivals)
    softer = {rival for rival in rivals if "temperature" in met[rival]}
    assert softer == {"deep_supervision", "distillation", "irs", "ovf", "resilient", "temperature_statistics"}
    assert met["resilient"] == rivals - {"resilient"} | {"noise_injection"}
