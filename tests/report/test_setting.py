"""What stands above every number: network, data, device, mapping, chips, methods with their full names."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from everychip.methods import Method
from everychip.report import html
from everychip.report.chart_files import write_charts
from everychip.report.html import page
from everychip.report.plots import domain_of, point_of
from everychip.report.reading import load
from everychip.report.results import Results
from everychip.report.setting import described, setting, spelt_out


@pytest.fixture(scope="module")
def results(study: Path) -> Results:
    return load(study)


def test_a_reader_learns_first_what_was_tried(results: Results, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(html, "_script", lambda: "/* vega */")
    text = page(results)
    head = text[: text.index("<main")]
    for words in ("vgg8(width=16)", "mnist", "RRAM1", "25 chips of each of 3 trained networks"):
        assert words in head
    assert "irs (intermediate representation snapshot)" in head
    assert "ovf (oriented variational forward)" in head


def test_every_abbreviation_among_the_kinds_is_spelt_out() -> None:
    full = spelt_out(Method.kinds())
    assert {"irs", "ovf", "sam", "vant"} <= set(full)
    for kind, name in full.items():
        assert "".join(word[0] for word in name.replace("-", " ").split()) == kind
    assert all(described([kind])[kind] for kind in Method.kinds())


def test_the_mapping_is_told_from_the_recipe_the_axes_and_the_default(results: Results) -> None:
    def told(recipe: str) -> str:
        return dict(setting(replace(results, recipe=recipe))).get("mapping", "")

    assert told("seed = 0") == "bit_sliced (weight_bits 8, cell_bits 2)"
    assert told('[hardware]\nmapping = "direct"') == "direct"
    axes = '[axes.m.a.hardware.mapping]\ncell_bits = 1\n[axes.m.b.hardware]\nmapping = "direct"'
    study = f'[base.hardware.mapping]\nkind = "bit_sliced"\ncell_bits = 2\n{axes}'
    assert told(study) == "bit_sliced (cell_bits 2), bit_sliced (cell_bits 1), direct"
    assert told("no toml [") == ""


def test_a_markup_in_a_recipe_is_text(results: Results, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(html, "_script", lambda: "/* vega */")
    text = page(replace(results, recipe='[hardware.mapping]\nkind = "<script>alert(1)</script>"'))
    assert "<script>alert" not in text


def test_the_vertical_scale_holds_every_band(results: Results, write_study: Callable[..., Path]) -> None:
    low, high = domain_of(results.groups)
    points = [point_of(group) for group in results.groups]
    assert low <= min(point["low"] for point in points)
    assert high >= max(point["high"] for point in points)
    assert low >= min(point["low"] for point in points) - 10


def test_a_figure_for_a_paper_names_every_method(results: Results, tmp_path: Path) -> None:
    write_charts(results, tmp_path, formats=("svg",))
    svg = (tmp_path / "accuracy.svg").read_text(encoding="utf-8")
    for method in results.methods:
        assert f">{method}</text>" in svg
