"""The page stands alone, escapes what it is given, and its charts are valid and true."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import altair as alt
import pytest

from everychip.errors import ConfigError, StoreError
from everychip.report import html, sections
from everychip.report.blocks import Figure
from everychip.report.chart_files import still, write_charts
from everychip.report.html import page, write_report
from everychip.report.palette import looks
from everychip.report.reading import load
from everychip.report.results import Results
from everychip.report.sections import build, figures

StudyWriter = Callable[..., Path]


@pytest.fixture(scope="module")
def results(study: Path) -> Results:
    return load(study)


@pytest.fixture
def no_script(monkeypatch: pytest.MonkeyPatch) -> None:
    """The page without the two seconds that bundling Vega takes."""
    monkeypatch.setattr(html, "_script", lambda: "/* vega */")


class Elements(HTMLParser):
    """Every element with its attributes, and the text of every script."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        if tag == "script":
            self.scripts.append("")

    def handle_data(self, data: str) -> None:
        if self.found and self.found[-1][0] == "script":
            self.scripts[-1] += data


def specs(text: str) -> list[dict[str, Any]]:
    elements = Elements(text)
    kinds = [attributes.get("type") for tag, attributes in elements.found if tag == "script"]
    pairs = zip(kinds, elements.scripts, strict=True)
    return [json.loads(script) for kind, script in pairs if kind == "application/json"]


def layers(spec: dict[str, Any]) -> list[tuple[dict[str, Any], list[dict[str, Any]]]]:
    """Every layer with the rows it draws."""
    return [(layer, layer.get("data", spec["data"])["values"]) for layer in spec["layer"]]


def test_the_page_opens_without_a_network_and_holds_the_script_once(run_folder: Path, tmp_path: Path) -> None:
    file = write_report(run_folder, output=tmp_path / "page.html")
    text = file.read_text(encoding="utf-8")
    elements = Elements(text)
    loads = {"script": "src", "link": "href", "img": "src", "iframe": "src", "object": "data"}
    assert [tag for tag, attributes in elements.found if loads.get(tag) in attributes] == []
    assert not re.search(r"@import|url\(", re.findall(r"<style>(.*?)</style>", text, flags=re.DOTALL)[0])
    assert sum("window.vegaEmbed=" in script for script in elements.scripts) == 1
    assert len(text) < 2_000_000


@pytest.mark.usefixtures("no_script")
def test_the_first_lines_answer_for_every_context_and_training_sigma(results: Results) -> None:
    text = page(results)
    lead = text[text.index('<div class="lead">') : text.index("<h2>")]
    assert lead.count("<p><strong>σ") == len(results.panels) == 4
    assert lead.count("has the highest mean") == 4
    assert lead.count("irs differs from temperature") == 4
    assert "noise_injection, sigma 0.4, seed 1 (at chance)" in lead


@pytest.mark.usefixtures("no_script")
def test_what_a_folder_says_is_text_and_never_markup(tmp_path: Path, write_study: StudyWriter) -> None:
    copy = write_study(tmp_path / "copy", variants=("",), trained=(0.2,), chips=3)
    evil = "</title></script><script>alert(1)</script>"
    about = json.loads((copy / "study.json").read_text())
    about.update(title=evil, command=evil, environment={"python": evil})
    about["runs"][0].update(status="at_chance", words=evil)
    (copy / "study.json").write_text(json.dumps(about))
    (copy / "study.toml").write_text(f"title = '{evil}'")
    text = write_report(copy).read_text(encoding="utf-8")
    assert "<script>alert" not in text
    assert len(specs(text)) == sum(len(figure.panels) for figure in figures(load(copy)))


@pytest.mark.usefixtures("no_script")
def test_a_report_is_whole_or_not_there(run_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    assert write_report(run_folder, output=folder) == folder / "report.html"
    assert [file.name for file in folder.iterdir()] == ["report.html"]
    with pytest.raises(StoreError, match=r"report\.html") as caught:
        write_report(run_folder, output=tmp_path / "no" / "such" / "folder" / "report.html")
    assert "\n" not in str(caught.value)


def without_rows(node: Any) -> Any:
    """A specification with one row of each data set: altair checks every number of them all."""
    if isinstance(node, list):
        return [without_rows(item) for item in node]
    if not isinstance(node, dict):
        return node
    return {key: value[:1] if key == "values" else without_rows(value) for key, value in node.items()}


def test_every_chart_is_valid_vega_lite(results: Results, run_folder: Path) -> None:
    drawn = [panel.spec for each in (results, load(run_folder)) for f in figures(each) for panel in f.panels]
    assert len(drawn) == 4 + 4 + 4 + 1 + 1 + 2
    for spec in drawn:
        alt.LayerChart.from_dict(without_rows(dict(spec)), validate=True)


def test_a_curve_passes_through_the_means_and_its_band_holds_them(results: Results) -> None:
    (figure,) = [figure for figure in figures(results) if figure.name == "accuracy"]
    for panel, chart in zip(results.panels, figure.panels, strict=True):
        (points,) = [rows for layer, rows in layers(dict(chart.spec)) if layer["mark"]["type"] == "point"]
        assert len(points) == len(panel.groups)
        for group, row in zip(panel.groups, points, strict=True):
            chips = [value for values in group.by_seed.values() for value in values]
            assert row["mean"] == pytest.approx(100 * sum(chips) / len(chips), abs=1e-3)
            assert 0 <= row["low"] <= row["mean"] <= row["high"] <= 100
            assert float(row["σ_W/rms(W)"]) == pytest.approx(group.of_rms, rel=0.05)


def test_panels_of_one_file_keep_their_own_marks(results: Results) -> None:
    """Two views of one name in one specification would draw the marks of the last one in both."""
    (figure,) = [figure for figure in figures(results) if figure.name == "accuracy"]
    joined = still(figure)
    names = re.findall(r'"name": "[^"]*"', json.dumps(joined["concat"]))
    assert names == []
    assert '"param' not in json.dumps(joined["concat"])
    alt.ConcatChart.from_dict(without_rows(joined), validate=True)


def test_charts_are_written_in_every_format(run_folder: Path, tmp_path: Path) -> None:
    written = write_charts(load(run_folder), tmp_path / "charts", formats=("svg", "png", "pdf"))
    starts = {".svg": b"<svg", ".png": b"\x89PNG", ".pdf": b"%PDF"}
    assert {file.stem for file in written} == {"accuracy", "chips", "training"}
    assert len(written) == 9
    assert all(file.read_bytes().startswith(starts[file.suffix]) for file in written)
    assert sorted(written) == sorted((tmp_path / "charts").iterdir())


def test_an_unknown_format_is_answered_with_the_known_ones(results: Results, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="did you mean png"):
        write_charts(results, tmp_path / "charts", formats=("pngg",))
    assert not (tmp_path / "charts").exists()


def test_every_method_has_a_colour_of_its_own_whatever_else_is_shown() -> None:
    few = looks({"vanilla": "vanilla", "irs": "irs"})
    many = looks({f"method{i}": f"method{i}" for i in range(6)} | {"irs": "irs"})
    assert few["irs"].colour == many["irs"].colour
    assert len({look.colour for look in many.values()}) == 7
    assert looks({"ours": "temperature"})["ours"].dash
    assert not few["irs"].dash


NEW_SECTION = """
from everychip.report.blocks import Section, Text

def section(results, *, target):
    return Section("coverage", 25, "What is on the crossbar", (Text(("Everything.",)),))
"""


def test_a_section_is_one_file(results: Results, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "coverage_of_the_test.py").write_text(NEW_SECTION, encoding="utf-8")
    monkeypatch.setattr(sections, "__path__", [*sections.__path__, str(tmp_path)])
    names = [section.name for section in build(results)]
    assert names.index("accuracy") < names.index("coverage") < names.index("controls")


def test_the_history_of_a_run_counts_epochs_from_one(run_folder: Path) -> None:
    (figure,) = [figure for figure in figures(load(run_folder)) if figure.name == "training"]
    assert isinstance(figure, Figure)
    for panel in figure.panels:
        drawn = layers(dict(panel.spec))
        assert [row["epoch"] for row in drawn[-1][1]] == [1, 2, 3, 4, 5]
        assert drawn[0][1] == [{"epoch": 5}]


@pytest.mark.parametrize("epochs", [1, 2, 5, 11, 200])
def test_every_tick_of_the_history_is_an_epoch_that_there_was_and_no_two_look_alike(
    tmp_path: Path, write_run: Callable[..., Path], epochs: int
) -> None:
    results = load(write_run(tmp_path / "run", epochs=epochs))
    (figure,) = [figure for figure in figures(results) if figure.name == "training"]
    for panel in figure.panels:
        axis = panel.spec["layer"][-1]["encoding"]["x"]["axis"]
        assert axis["values"][0] == 1
        assert all(isinstance(tick, int) and tick <= max(2, epochs) for tick in axis["values"])
        assert 1 < len(set(axis["values"])) == len(axis["values"]) <= 10
