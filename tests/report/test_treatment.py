"""What a mitigation reports stands in one line wherever results are told, and nowhere without one."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from everychip.report.markdown import to_markdown
from everychip.report.reading import load
from everychip.report.sections import build
from everychip.report.terminal import show

FACTS = {
    "mitigation": "selective_write_verify",
    "score": "fisher",
    "share_verified": 0.1,
    "normalised_write_cycles": 0.19,
}
LINE = "selective_write_verify: score fisher, share verified 0.1, normalised write cycles 0.19."


@pytest.fixture
def small(tmp_path: Path, write_study: Callable[..., Path]) -> Path:
    """A synthetic study of a few runs, of which a test may change what is recorded."""
    return write_study(tmp_path / "study", methods=("vanilla", "irs"), sigmas=(0.0, 0.4), seeds=2, chips=3)


def told(folder: Path, *, where: dict[str, str], capsys: pytest.CaptureFixture[str]) -> list[str]:
    """The lines about write-verify on a terminal and in Markdown, once the runs with these labels did it."""
    path = folder / "study.json"
    about: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    for run in about["runs"]:
        if where.items() <= run["labels"].items():
            run["treatment"] = [FACTS]
    path.write_text(json.dumps(about), encoding="utf-8")
    results = load(folder)
    show(results, console=Console(width=60))
    lines = [*capsys.readouterr().out.splitlines(), *to_markdown(results).splitlines()]
    return [line for line in lines if "write_verify" in line]


def test_a_study_whose_runs_all_did_it_says_so_once(small: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert told(small, where={}, capsys=capsys) == [LINE, f"- {LINE}"]


def test_where_some_runs_did_it_they_are_named_without_their_seeds(
    small: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    where = {"method": "irs", "variant": "", "sigma": "0.4"}
    assert told(small, where=where, capsys=capsys) == [
        f"irs, sigma 0.4: {LINE}",
        f"- irs, sigma 0.4: {LINE}",
    ]


def test_without_it_no_page_has_a_word_of_it(small: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert told(small, where={"method": "none"}, capsys=capsys) == []
    assert "treatment" not in {section.name for section in build(load(small))}
