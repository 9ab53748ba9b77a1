"""Results of calibrated chips stand apart from those of chips as they were programmed, everywhere."""

from __future__ import annotations

import ast
import importlib
import io
import json
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import duckdb
import pytest
from rich.console import Console

import everychip
from everychip.config.component import Component
from everychip.methods import Method
from everychip.report.blocks import Details, Table
from everychip.report.compared import differences
from everychip.report.html import page
from everychip.report.markdown import to_markdown
from everychip.report.method_kinds import ROLES, method_of, place_of
from everychip.report.palette import looks
from everychip.report.reading import load
from everychip.report.results import Results
from everychip.report.sections import build
from everychip.report.tables import against_controls, at_training_sigma, overview
from everychip.report.terminal import show, tables

StudyWriter = Callable[..., Path]
SHIPPED = tuple(kind for kind, one in Method.kinds().items() if one.__module__.startswith("everychip."))
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


def test_every_shipped_method_stands_after_what_it_is_compared_with_and_after_the_roles_before() -> None:
    places = sorted(SHIPPED, key=place_of)
    assert places[:2] == ["vanilla", "noise_injection"]
    for kind in SHIPPED:
        below = [control for control in method_of(kind).controls if method_of(control).role != "method"]
        assert all(places.index(control) < places.index(kind) for control in below)
    roles = [ROLES.index(method_of(kind).role) for kind in places]
    assert roles == sorted(roles)


def test_each_method_is_compared_with_exactly_the_controls_it_declares(
    tmp_path: Path, write_study: StudyWriter
) -> None:
    folder = write_study(
        tmp_path / "all", methods=SHIPPED, variants=("",), trained=(0.2,), sigmas=(0.2,), chips=3
    )
    met: dict[str, list[str]] = {}
    for d in differences(load(folder).panels):
        met.setdefault(d.method.method, []).append(d.control.method)
    noisy = {kind for kind in SHIPPED if Method.registry[kind].noisy}  # type: ignore[attr-defined]
    assert set(met.pop("resilient")) == noisy - {"resilient"}
    assert met == {
        kind: list(method_of(kind).controls)
        for kind in SHIPPED
        if kind != "resilient" and method_of(kind).controls
    }
    softer = {kind for kind, controls in met.items() if "temperature" in controls}
    assert softer == {"deep_supervision", "distillation", "irs", "ovf", "temperature_statistics"}


@pytest.fixture
def thrown_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A method in one file, registered by nothing but its import."""
    (tmp_path / "softened_noise.py").write_text(FILE, encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    importlib.import_module("softened_noise")
    yield
    del Method.registry["softened_noise"], Method.registry["hard_noise"]
    del sys.modules["softened_noise"]


FILE = """
from everychip.methods.base import Method

class SoftenedNoise(Method):
    role, controls, colour = "method", ("hard_noise", "temperature"), "#123456"
    claim_control = "hard_noise"

    def loss(self, objective, x, y):
        return self.cross_entropy(objective.noisy_logits(x), y)

class HardNoise(SoftenedNoise):
    role, controls, colour, claim_control = "control", ("noise_injection",), "", ""
"""


def test_a_method_in_one_file_is_named_ordered_coloured_and_controlled_in_a_report(
    tmp_path: Path, write_study: StudyWriter, thrown_away: None
) -> None:
    given = ("softened_noise(x=1)", "irs", "hard_noise", "temperature", "noise_injection", "vanilla")
    folder = write_study(tmp_path / "all", methods=given, variants=("",), trained=(0.2,), chips=4)
    record = json.loads((folder / "study.json").read_text())
    (folder / "study.json").write_text(json.dumps({**record, "axes": {}}))
    results = load(folder)
    expected = ("vanilla", "noise_injection", "hard_noise", "temperature", "softened_noise(x=1)", "irs")
    assert results.methods == expected
    met = [(d.method.method, d.control.method) for d in differences(results.panels)]
    assert [pair for pair in met if pair[0] == "softened_noise(x=1)"] == [
        ("softened_noise(x=1)", "hard_noise"),
        ("softened_noise(x=1)", "temperature"),
    ]
    assert ("hard_noise", "noise_injection") in met
    drawn = looks(results.method_kinds)
    assert drawn["softened_noise(x=1)"].colour == "#123456"
    assert drawn["hard_noise"].dash == drawn["temperature"].dash
    text = to_markdown(results)
    assert "softened_noise(x=1)" in text
    lead = text.partition("## ")[0]
    assert re.search(r"softened_noise\(x=1\) (differs from|is (better|worse) than) hard_noise", lead)


def test_nothing_above_the_methods_knows_one_of_them_by_name() -> None:
    """No text of a file in report/ or study/ is the kind of a method, a device, a mitigation or a policy."""
    families = [Component.families[name] for name in ("method", "device", "mitigation", "policy")]
    kinds = {
        kind
        for family in families
        for kind, one in family.kinds().items()
        if one.__module__.startswith("everychip.") and kind not in ALSO_WORDS
    }
    found = []
    for folder in ("report", "study"):
        for path in sorted((Path(everychip.__file__).parent / folder).rglob("*.py")):
            tree = ast.parse(path.read_text(encoding="utf-8"))
            found += [
                f"{path.name}:{node.lineno} {node.value}"
                for node in ast.walk(tree)
                if isinstance(node, ast.Constant) and node.value in kinds
            ]
    assert found == []


ALSO_WORDS = {"per_chip", "only"}
"""Kinds that are also a column, and a mode of `sensitivity`."""


NAMED = """
[base.method]
kind = "noise_injection"

[axes.method."vanilla taste, ours"]
method = { kind = "irs", beta = 0.1 }

[axes.method."temperature is not this"]

[axes.method."the usual"]
method = "vanilla"
"""


def test_a_label_may_be_any_text_for_the_recipe_says_the_kind(
    tmp_path: Path, write_study: StudyWriter
) -> None:
    given = ("the usual", "temperature is not this", "vanilla taste, ours")
    folder = write_study(tmp_path / "named", methods=given, variants=("",), trained=(0.2,), chips=4)
    (folder / "study.toml").write_text(NAMED, encoding="utf-8")
    results = load(folder)
    assert results.method_kinds == dict(zip(given, ("vanilla", "noise_injection", "irs"), strict=True))
    assert [(d.method.method, d.control.method) for d in differences(results.panels)] == [
        ("temperature is not this", "the usual"),
        ("vanilla taste, ours", "temperature is not this"),
    ]
    drawn = looks(results.method_kinds)
    assert drawn["vanilla taste, ours"].colour == method_of("irs").colour
    assert drawn["the usual"].colour == method_of("vanilla").colour


def test_without_a_recipe_a_label_names_its_kind_itself(tmp_path: Path, write_study: StudyWriter) -> None:
    given = ("irs(beta=0.1)", "noise_injection, ramp", "vanilla")
    folder = write_study(tmp_path / "labels", methods=given, variants=("",), trained=(0.2,), chips=4)
    (folder / "study.toml").unlink(missing_ok=True)
    assert set(load(folder).method_kinds.values()) == {"irs", "noise_injection", "vanilla"}
