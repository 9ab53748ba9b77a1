"""What `everychip report` writes besides the page: Markdown for a README, charts for a paper."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from everychip.cli import call
from everychip.report import load, to_markdown

SMALL = ("training.epochs=1", "evaluation.chips=3", "evaluation.sigma=[0.1]")
RECIPE = ["digits", *(word for setting in SMALL for word in ("--set", setting))]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("report") / "run"
    assert call(["run", *RECIPE, "--output", str(place)]) == 0
    return place if (place / "run.json").exists() else next(place.rglob("run.json")).parent


def test_markdown_is_all_that_is_printed_and_no_page_is_written(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(["report", str(folder), "--markdown"]) == 0
    assert capsys.readouterr().out == to_markdown(load(folder))
    assert not (folder / "report.html").exists()


def test_who_reads_the_first_line_only_has_the_page_and_the_charts_too(folder: Path, tmp_path: Path) -> None:
    page, charts = tmp_path / "page.html", tmp_path / "charts"
    words = ["report", str(folder), "-o", str(page), "--charts", str(charts)]
    with subprocess.Popen(
        [sys.executable, "-m", "everychip", *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as told:
        assert told.stdout is not None
        assert told.stderr is not None
        told.stdout.readline()
        told.stdout.close()
        assert b"Traceback" not in told.stderr.read()
    assert page.read_text(encoding="utf-8").rstrip().endswith("</html>")
    assert {file.suffix for file in charts.iterdir()} == {".svg", ".pdf"}


def test_charts_are_written_as_vector_files(folder: Path, tmp_path: Path) -> None:
    assert call(["report", str(folder), "--charts", str(tmp_path / "charts")]) == 0
    files = sorted((tmp_path / "charts").iterdir())
    assert {file.suffix for file in files} == {".svg", ".pdf"}
    for file in files:
        assert file.read_bytes().startswith(b"%PDF" if file.suffix == ".pdf" else b"<svg")
