"""The section on controls speaks of the run's own score."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest

from everychip.report.blocks import Figure, Text
from everychip.report.reading import load
from everychip.report.sections.controls import section
from everychip.scores import ACCURACY, Score


@pytest.mark.parametrize(
    ("score", "caption", "axis"),
    [
        (
            ACCURACY,
            "Points of accuracy above (right) or below (left) the control, paired",
            "points of accuracy",
        ),
        (
            Score("mIoU", within=(0.0, 1.0), unit="%"),
            "Points of mIoU above (right) or below (left) the control, paired",
            "points of mIoU",
        ),
        (
            Score("RMSE", higher_is_better=False, within=(0.0, math.inf), unit="K"),
            "RMSE in K above (right) or below (left) the control, lower is better, paired",
            "RMSE in K",
        ),
    ],
    ids=["accuracy", "mIoU", "RMSE"],
)
def test_captions_axes_and_words_name_the_score(study: Path, score: Score, caption: str, axis: str) -> None:
    results = load(study)
    results = replace(results, groups=tuple(replace(group, score=score) for group in results.groups))
    found = section(results, target=None)
    assert found is not None
    figure = next(block for block in found.blocks if isinstance(block, Figure))
    assert figure.caption.startswith(caption)
    assert f'"{axis} over the control"' in json.dumps(figure.panels[0].spec)
    words = next(block for block in found.blocks if isinstance(block, Text))
    assert words.paragraphs[0].endswith(f"owes them its {score.name}.")
