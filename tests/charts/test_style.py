"""Axes say the numbers they stand beside: drawn by Vega and read from the picture."""

from __future__ import annotations

import re

import pytest
import torch

from everychip.charts.style import scale_of
from everychip.evaluation.draws import Draws


def axis_labels(svg: str) -> list[float]:
    """The numbers along the axes of a picture."""
    return [float(text) for text in re.findall(r">([0-9.]+)</text>", svg)]


def draws(accuracy: list[float]) -> Draws:
    rows = [{"accuracy": one, "nll": 0.1, "brier": 0.1, "ece": 0.1, "confidence": 0.9} for one in accuracy]
    return Draws.of(rows, seed=0, images=1000)


@pytest.mark.parametrize("value", [0.728, 1.0, 0.0034])
@pytest.mark.parametrize("of", ["chips", "verdict"])
def test_chips_of_one_accuracy_stand_between_labels_around_it(value: float, of: str) -> None:
    import vl_convert

    made = draws([value] * 5)
    chart = made.plot() if of == "chips" else made.verdict().plot()
    labels = axis_labels(vl_convert.vegalite_to_svg(chart.to_dict()))
    assert min(labels) < 100 * value < max(labels)
    assert max(labels) - min(labels) < 100 * value


@pytest.mark.parametrize(("values", "within"), [([2.28], (2.052, 2.508)), ([0.0, 0.0], (-1.0, 1.0))])
def test_equal_values_have_a_range_around_them(values: list[float], within: tuple[float, float]) -> None:
    assert scale_of(values).to_dict()["domain"] == pytest.approx(within)


def test_different_values_make_their_own_range() -> None:
    assert scale_of([1.0, 2.0]).to_dict() == {"zero": False}
    assert scale_of(torch.tensor([3.0, 1.0]).tolist()).to_dict() == {"zero": False}
