"""Metrics agree with torchmetrics, scikit-learn and closed forms, and survive chips that overflow."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import brier_score_loss, log_loss
from torchmetrics.functional.classification import multiclass_accuracy, multiclass_calibration_error

from everychip import metrics
from everychip.errors import ConfigError, DataError
from everychip.rng import rng_for
from everychip.tasks import Classification

CLASSES = 7


def logits_and_labels(seed: int, images: int = 500, scale: float = 2.0) -> tuple[torch.Tensor, torch.Tensor]:
    rng = rng_for(seed, "metrics")
    logits = scale * torch.randn(images, CLASSES, generator=rng)
    labels = torch.where(
        torch.rand(images, generator=rng) < 0.6,
        logits.argmax(1),
        torch.randint(CLASSES, (images,), generator=rng),
    )
    return logits, labels


@pytest.mark.parametrize("seed", range(3))
def test_accuracy_agrees_with_torchmetrics(seed: int) -> None:
    logits, labels = logits_and_labels(seed)
    expected = multiclass_accuracy(logits, labels, num_classes=CLASSES, average="micro")
    assert metrics.accuracy(logits, labels) == pytest.approx(float(expected))


@pytest.mark.parametrize("scale", [0.1, 1.0, 4.0])
def test_ece_agrees_with_torchmetrics(scale: float) -> None:
    logits, labels = logits_and_labels(5, scale=scale)
    expected = multiclass_calibration_error(logits, labels, num_classes=CLASSES, n_bins=15, norm="l1")
    assert metrics.ece(logits, labels) == pytest.approx(float(expected), abs=1e-6)


def test_nll_and_brier_agree_with_scikit_learn() -> None:
    logits, labels = logits_and_labels(1)
    p = logits.double().softmax(1).numpy()
    classes = list(range(CLASSES))
    assert metrics.nll(logits, labels) == pytest.approx(log_loss(labels, p, labels=classes), rel=1e-6)
    expected = brier_score_loss(labels, p, labels=classes, scale_by_half=False)
    assert metrics.brier(logits, labels) == pytest.approx(expected, rel=1e-6)


def test_equal_mass_ece_agrees_with_a_literal_loop_over_sorted_groups() -> None:
    logits, labels = logits_and_labels(2, images=450)
    sure, answer = logits.double().softmax(1).max(1)
    order = sure.argsort()
    expected = sum(
        len(group) / 450 * abs(float((answer[group] == labels[group]).double().mean() - sure[group].mean()))
        for group in order.split(30)
    )
    assert metrics.ece(logits, labels, equal_mass=True) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("classes", [2, 10, 100])
def test_a_network_that_knows_nothing_scores_the_closed_forms(classes: int) -> None:
    labels = torch.arange(classes)
    got = metrics.per_chip(torch.zeros(classes, classes), labels)
    share = 1 / classes
    assert got == pytest.approx(
        {"accuracy": share, "nll": math.log(classes), "brier": 1 - share, "ece": 0.0, "confidence": share},
        abs=1e-6,
    )


def test_full_confidence_falls_into_the_last_bin() -> None:
    logits = torch.tensor([[1000.0, 0.0]] * 3 + [[3.0, 0.0]])
    labels = torch.tensor([0, 0, 1, 1])
    sure = 1 / (1 + math.exp(-3.0))
    expected = abs((1 - 1) + (1 - 1) + (0 - 1) + (0 - sure)) / 4
    assert metrics.ece(logits, labels) == pytest.approx(expected, abs=1e-6)


def test_a_confidence_on_an_edge_belongs_to_the_bin_below_it() -> None:
    # Confidences 0.5 and 0.5 + a little, edges at halves: two bins, whose gaps do not cancel.
    logits = torch.tensor([[0.0, 0.0], [0.02, 0.0]], dtype=torch.float64)
    above = 1 / (1 + math.exp(-0.02))
    expected = (abs(1 - 0.5) + abs(0 - above)) / 2
    assert metrics.ece(logits, torch.tensor([0, 1]), bins=2) == pytest.approx(expected)


def test_ece_of_one_bin_is_the_gap_between_accuracy_and_confidence() -> None:
    logits, labels = logits_and_labels(3)
    gap = abs(metrics.accuracy(logits, labels) - metrics.confidence(logits, labels))
    for equal_mass in (False, True):
        assert metrics.ece(logits, labels, bins=1, equal_mass=equal_mass) == pytest.approx(gap)


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 10**6), ties=st.booleans())
def test_no_metric_depends_on_the_order_of_the_images(seed: int, ties: bool) -> None:
    logits, labels = logits_and_labels(seed, images=60)
    logits = logits.round() if ties else logits
    order = torch.randperm(60, generator=rng_for(seed, "order"))
    before, after = metrics.per_chip(logits, labels), metrics.per_chip(logits[order], labels[order])
    assert before == pytest.approx(after)
    mass = [
        metrics.ece(*pair, equal_mass=True) for pair in ((logits, labels), (logits[order], labels[order]))
    ]
    assert mass[0] == pytest.approx(mass[1])


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 10**6), scale=st.sampled_from([0.01, 1.0, 100.0]))
def test_metrics_stay_within_their_bounds(seed: int, scale: float) -> None:
    got = metrics.per_chip(*logits_and_labels(seed, images=40, scale=scale))
    assert 0 <= got["accuracy"] <= 1
    assert 0 <= got["ece"] <= 1
    assert 1 / CLASSES - 1e-6 <= got["confidence"] <= 1
    assert 0 <= got["brier"] <= 2
    assert got["nll"] >= 0


@pytest.mark.parametrize(
    "row", [[math.nan, 0.0], [0.0, math.nan], [math.inf, 0.0], [math.inf, math.inf], [-math.inf, -math.inf]]
)
def test_a_broken_row_is_a_wrong_answer_given_with_full_confidence(row: list[float]) -> None:
    for label in (0, 1):
        got = metrics.per_chip(torch.tensor([row]), torch.tensor([label]))
        assert got == {"accuracy": 0.0, "nll": math.inf, "brier": 2.0, "ece": 1.0, "confidence": 1.0}


def test_one_broken_row_leaves_the_others_as_they_are() -> None:
    logits, labels = logits_and_labels(4, images=9)
    broken = torch.cat([logits, torch.full((1, CLASSES), math.nan)])
    got = metrics.per_chip(broken, torch.cat([labels, torch.tensor([0])]))
    clean = metrics.per_chip(logits, labels)
    assert got["accuracy"] == pytest.approx(clean["accuracy"] * 0.9)
    assert got["brier"] == pytest.approx(clean["brier"] * 0.9 + 0.2)
    assert got["nll"] == math.inf


def test_a_label_without_probability_makes_the_nll_infinite_and_nothing_else() -> None:
    got = metrics.per_chip(torch.tensor([[0.0, -math.inf]]), torch.tensor([1]))
    assert got == {"accuracy": 0.0, "nll": math.inf, "brier": 2.0, "ece": 1.0, "confidence": 1.0}
    assert metrics.accuracy(torch.tensor([[0.0, -math.inf]]), torch.tensor([0])) == 1.0


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_logits_are_scored_in_full_precision(dtype: torch.dtype) -> None:
    logits, labels = logits_and_labels(6)
    low = logits.to(dtype)
    assert metrics.per_chip(low, labels) == metrics.per_chip(low.float(), labels)


def test_per_chip_gives_what_the_functions_give() -> None:
    logits, labels = logits_and_labels(7)
    got = metrics.per_chip(logits, labels)
    assert tuple(got) == metrics.METRICS
    assert got == {name: getattr(metrics, name)(logits, labels) for name in metrics.METRICS}


@pytest.mark.parametrize("images", [1, 13, 540])
def test_several_chips_scored_at_once_have_the_scores_of_each_to_the_bit(images: int) -> None:
    """A row that overflowed among them."""
    logits = 3 * torch.randn(4, images, 10, generator=rng_for(images))
    logits[1, 0] = torch.nan
    labels = torch.randint(10, (images,), generator=rng_for(images, "labels"))
    together = Classification().together(3)
    for batch in (slice(0, images // 2), slice(images // 2, images)):
        if len(labels[batch]):
            together.update({"logits": logits[:, batch]}, labels[batch])
    assert together.compute() == [metrics.per_chip(logits[chip], labels) for chip in range(3)]


def test_logits_that_need_gradients_are_taken_as_they_are() -> None:
    logits, labels = logits_and_labels(8)
    assert metrics.per_chip(logits.clone().requires_grad_(), labels) == metrics.per_chip(logits, labels)


@pytest.mark.parametrize(
    ("logits", "labels", "words"),
    [
        (torch.zeros(0, 3), torch.zeros(0, dtype=torch.long), r"logits \[0, 3\] and labels \[0\]"),
        (torch.zeros(3), torch.zeros(3, dtype=torch.long), r"logits \[3\]"),
        (torch.zeros(2, 3), torch.zeros(3, dtype=torch.long), r"labels \[3\]"),
        (torch.zeros(2, 3), torch.tensor([0, 3]), "labels 0 … 3 beside 3 logits; expected labels 0 … 2"),
        (torch.zeros(2, 3), torch.tensor([-1, 0]), "labels -1 … 0"),
        (torch.zeros(2, 3), torch.zeros(2), "labels of torch.float32"),
    ],
)
def test_what_cannot_be_scored_is_refused_in_words(
    logits: torch.Tensor, labels: torch.Tensor, words: str
) -> None:
    with pytest.raises(DataError, match=words):
        metrics.per_chip(logits, labels)


@pytest.mark.parametrize("bins", [0, -1, 2.5, "3", True])
def test_only_a_whole_number_of_bins_is_taken(bins: Any) -> None:
    with pytest.raises(ConfigError, match=r"ece\.bins: found .*; expected a whole number, at least 1"):
        metrics.ece(torch.zeros(1, 2), torch.tensor([0]), bins=bins)
