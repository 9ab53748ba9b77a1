"""What `everychip sensitivity` found is a section of the report: its table, its charts, its words."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import altair as alt
import pytest

from everychip.errors import StoreError
from everychip.report.blocks import Figure, Section, Table
from everychip.report.markdown import to_markdown
from everychip.report.reading import load
from everychip.report.sections import build
from everychip.report.weak_layers import figure
from everychip.study.sensitivity import FILE, FORMAT

LAYERS = [
    {"layer": "out.weight", "weights": 0.04, "macs": 0.01, "of_rms": 0.5, "of_max": 0.2, "accuracy": 0.8,
     "lost": 0.1, "low": 0.05, "high": 0.15, "advice": "digital"},
    {"layer": "in.weight", "weights": 0.96, "macs": None, "of_rms": 0.4, "of_max": 0.2, "accuracy": 0.9,
     "lost": -0.001, "low": -0.003, "high": 0.001, "advice": ""},
]  # fmt: skip
STEPS = [
    {"sigma": s, "mean": 0.9 - s, "low": 0.85 - s, "high": 0.95 - s} for s in (0.0, 0.1, 0.15, 0.3, 0.5, 1.0)
]
ANSWER: dict[str, Any] = {
    "format": FORMAT,
    "device": "RRAM1",
    "sigma": 0.2,
    "sensitivity": {"mode": "only", "clean": 0.9, "layers": LAYERS},
    "words": "Points lost: noise on that layer alone, against none.",
    "break_even": {"target": 0.8, "sigma": 0.1, "low": 0.08, "high": 0.14, "steps": STEPS},
    "break_even_words": "break-even σ 0.1 [0.08, 0.14]",
    "remarks": ["The chips are as they were programmed."],
}


@pytest.fixture
def asked(run_folder: Path, tmp_path: Path) -> Callable[..., Path]:
    """The synthetic run with an answer beside it."""

    def write(**changes: Any) -> Path:
        folder = tmp_path / "run"
        if not folder.exists():
            shutil.copytree(run_folder, folder)
        (folder / FILE).write_text(json.dumps({**ANSWER, **changes}), encoding="utf-8")
        return folder

    return write


def section(folder: Path) -> Section:
    return next(section for section in build(load(folder)) if section.name == "sensitivity")


def test_the_table_says_what_each_layer_costs_and_deserves(asked: Callable[..., Path]) -> None:
    table = next(block for block in section(asked()).blocks if isinstance(block, Table))
    assert table.title == "Layer by layer on RRAM1 at σ = 0.2"
    assert [row.cells for row in table.rows] == [
        ("out.weight", "4.0", "1.0", "0.50", "10.00 ± 5.00", "digital"),
        ("in.weight", "96.0", "–", "0.40", "−0.10 ± 0.20", "nothing"),
    ]
    assert table.notes == (ANSWER["words"], *ANSWER["remarks"])


def test_the_charts_hold_the_layers_in_order_and_the_curve_around_its_crossing(
    asked: Callable[..., Path],
) -> None:
    drawn = next(block for block in section(asked()).blocks if isinstance(block, Figure))
    layers, crossing = (dict(panel.spec) for panel in drawn.panels)
    for spec in (layers, crossing):
        alt.LayerChart.from_dict(spec)
    assert [row["layer"] for row in layers["data"]["values"]] == ["out.weight", "in.weight"]
    assert [row["points"] for row in layers["data"]["values"]] == [10.0, -0.1]
    assert [row["sigma"] for row in crossing["data"]["values"]] == [0.0, 0.1, 0.15, 0.3]


def test_without_a_crossing_the_whole_curve_is_drawn_and_without_sigma_none(
    asked: Callable[..., Path],
) -> None:
    never = {**ANSWER["break_even"], "sigma": None, "low": 1.0, "high": None}
    spec = figure(load(asked(break_even=never)).weak_layers).panels[1].spec
    assert len(spec["data"]["values"]) == len(STEPS)
    alone = load(asked(break_even=None, break_even_words="", sigma=None)).weak_layers
    assert len(figure(alone).panels) == 1


def test_markdown_has_the_section_and_a_run_that_was_not_asked_has_none(
    asked: Callable[..., Path], run_folder: Path
) -> None:
    text = to_markdown(load(asked()))
    assert "### Which layers the noise hurts" in text
    assert "Break-even σ 0.1 [0.08, 0.14]." in text
    assert "Which layers" not in to_markdown(load(run_folder))


def test_a_study_shows_the_answers_of_its_runs_by_their_names(
    write_study: Callable[..., Path], tmp_path: Path
) -> None:
    folder = write_study(
        tmp_path / "study", methods=("vanilla", "irs"), variants=("",), trained=(0.2,), sigmas=(0.2,), chips=3
    )
    run = folder / "runs" / f"{4:012x}"
    run.mkdir(parents=True)
    (run / FILE).write_text(json.dumps(ANSWER), encoding="utf-8")
    (answer,) = load(folder).weak_layers
    assert answer.run == "irs, sigma 0.2, seed 1"
    assert figure([answer]).panels[0].title.startswith("irs, sigma 0.2, seed 1: ")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{ half of", "not JSON"),
        ('{"format": "everychip-sensitivity/2"}', "everychip-sensitivity/2"),
        (json.dumps({**ANSWER, "sensitivity": {"mode": "only", "clean": 0.9, "layers": [1]}}), "layers"),
        (json.dumps({key: ANSWER[key] for key in ("format", "device")}), "no sigma as its format has it"),
    ],
)
def test_a_damaged_answer_is_named_in_one_line(asked: Callable[..., Path], content: str, words: str) -> None:
    folder = asked()
    (folder / FILE).write_text(content, encoding="utf-8")
    with pytest.raises(StoreError, match=words) as caught:
        load(folder)
    assert FILE in str(caught.value)
    assert "\n" not in str(caught.value)


KELVIN = {"name": "RMSE", "higher_is_better": False, "within": [0, None], "unit": "K"}
MIOU = {"name": "mIoU", "higher_is_better": True, "within": [0, 1], "unit": "%"}


def of(score: dict[str, Any]) -> dict[str, Any]:
    """The answer of a run that is judged by another score than accuracy."""
    noisy = {"estimate": 0.8, "low": 0.7, "high": 0.9, "over": "chips", "score": score}
    return {"sensitivity": {**ANSWER["sensitivity"], "noisy": noisy, "score": score}}


def texts(spec: Any) -> str:
    return json.dumps(spec, ensure_ascii=False)


def test_a_regressions_layers_are_drawn_and_listed_in_its_own_unit(asked: Callable[..., Path]) -> None:
    found = section(asked(**of(KELVIN)))
    table = next(block for block in found.blocks if isinstance(block, Table))
    assert [row.cells[4] for row in table.rows] == ["0.100 ± 0.050", "−0.0010 ± 0.0020"]
    assert table.columns[4].name == "K lost"
    drawn = next(block for block in found.blocks if isinstance(block, Figure))
    assert [panel.title for panel in drawn.panels] == [
        "K lost by the noise of one layer alone",
        "RMSE over σ, and its break-even",
    ]
    layers, crossing = (dict(panel.spec) for panel in drawn.panels)
    assert [row["points"] for row in layers["data"]["values"]] == [0.1, -0.001]
    assert crossing["data"]["values"][0] == {"sigma": 0.0, "mean": 0.9, "low": 0.85, "high": 0.95}
    assert '"K of RMSE"' in texts(layers) and '"RMSE in K"' in texts(crossing)
    for text in (texts([layers, crossing]), texts([panel.title for panel in drawn.panels]), drawn.caption):
        assert "ccuracy" not in text and "points of" not in text


def test_a_score_in_percent_is_drawn_by_its_own_name(asked: Callable[..., Path]) -> None:
    drawn = next(block for block in section(asked(**of(MIOU))).blocks if isinstance(block, Figure))
    layers, crossing = (dict(panel.spec) for panel in drawn.panels)
    assert [row["points"] for row in layers["data"]["values"]] == [10.0, -0.1]
    assert '"points of mIoU"' in texts(layers) and '"mIoU in %"' in texts(crossing)
    assert "ccuracy" not in texts([layers, crossing, drawn.panels[1].title])


@pytest.mark.parametrize("sigma", [0.3, 1.4])
def test_a_score_without_an_upper_bound_is_not_cut_at_one(asked: Callable[..., Path], sigma: float) -> None:
    steps = [{**step, "mean": 2.0, "low": 1.5, "high": 2.5} for step in STEPS]
    crossing = {**ANSWER["break_even"], "target": 3.0, "steps": steps, "sigma": sigma, "high": None}
    answers = load(asked(**of(KELVIN), break_even=crossing)).weak_layers
    assert figure(answers).panels[1].spec["data"]["values"][0]["high"] == 2.5
