"""Scores that are counted here agree with torchmetrics: on random answers, ties, ignored labels, saturation.

And where they part on purpose: what a chip that overflows is worth, and how many digits a sum keeps.
"""

from __future__ import annotations

import math
import subprocess
import sys

import pytest
import torch
from torch import Tensor
from torchmetrics.functional import pairwise_cosine_similarity
from torchmetrics.functional.classification import multiclass_accuracy, multiclass_calibration_error
from torchmetrics.functional.retrieval import retrieval_hit_rate
from torchmetrics.functional.text import perplexity

from everychip import metrics, rng_for, tasks

CLASSES = 5
KINDS = ("random", "ties", "saturated", "nearly equal")


def logits(kind: str, *shape: int, seed: int = 0) -> Tensor:
    z = 2 * torch.randn(*shape, generator=rng_for(seed, "held", kind))
    changes = {"random": z, "ties": z.round(), "saturated": 100 * z.round(), "nearly equal": z * 1e-3}
    return changes[kind]


def labels(*shape: int, seed: int = 0) -> Tensor:
    return torch.randint(CLASSES, shape, generator=rng_for(seed, "labels"))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", range(3))
def test_accuracy_and_calibration_error_are_torchmetrics_own(kind: str, seed: int) -> None:
    z, y = logits(kind, 400, CLASSES, seed=seed), labels(400, seed=seed)
    found = metrics.per_chip(z, y)
    known = multiclass_accuracy(z, y, num_classes=CLASSES, average="micro")
    assert found["accuracy"] == pytest.approx(float(known), abs=1e-7)
    known = multiclass_calibration_error(z.softmax(1), y, num_classes=CLASSES, n_bins=15, norm="l1")
    assert found["ece"] == pytest.approx(float(known), abs=1e-5)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "saturated"])
@pytest.mark.parametrize("ignore", [-100, 3])
def test_perplexity_and_accuracy_of_tokens_are_torchmetrics_own(kind: str, ignore: int) -> None:
    z, y = logits(kind, 12, 7, CLASSES), labels(12, 7)
    y[:, 5:] = ignore
    meter = tasks.Tokens(ignore=ignore).meter()
    for part, target in zip(z.split(5), y.split(5), strict=True):
        meter.update(part, target)
    found = meter.compute()
    assert found["perplexity"] == pytest.approx(float(perplexity(z, y, ignore_index=ignore)), rel=1e-5)
    known = multiclass_accuracy(
        z.movedim(-1, 1), y, num_classes=CLASSES, average="micro", ignore_index=ignore
    )
    assert found["accuracy"] == pytest.approx(float(known), abs=1e-7)


def test_a_causal_perplexity_is_torchmetrics_own_of_the_shifted_tokens() -> None:
    z, y = logits("random", 4, 9, CLASSES), labels(4, 9)
    meter = tasks.Tokens(causal=True).meter()
    meter.update(z, y)
    known = float(perplexity(z[:, :-1], y[:, 1:]))
    assert meter.compute()["perplexity"] == pytest.approx(known, rel=1e-5)


@pytest.mark.parametrize("top", [1, 3])
def test_retrieval_and_cosine_are_torchmetrics_own(top: int) -> None:
    chip, digital = (torch.randn(40, 6, generator=rng_for(n, "vectors")) for n in (0, 1))
    chip = digital + 0.7 * chip
    meter = tasks.Embedding(top=top).meter()
    for part, vectors in zip(chip.split(16), digital.split(16), strict=True):
        meter.update(part, {"vectors": vectors})
    found = meter.compute()
    alike = pairwise_cosine_similarity(chip, digital)
    own = torch.eye(40, dtype=torch.bool)
    hits = [float(retrieval_hit_rate(alike[n], own[n], top_k=top)) for n in range(40)]
    assert found["retrieval"] == pytest.approx(sum(hits) / 40)
    assert found["cosine"] == pytest.approx(float(alike.diagonal().mean()), abs=1e-6)


def test_recall_at_one_is_torchmetrics_hit_rate_among_the_others() -> None:
    vectors, y = torch.randn(40, 6, generator=rng_for(2, "vectors")), labels(40)
    vectors += 1.5 * torch.nn.functional.one_hot(y, 6)
    meter = tasks.Embedding(score="recall").meter()
    meter.update(vectors, {"vectors": vectors, "labels": y})
    alike = pairwise_cosine_similarity(vectors, zero_diagonal=False)
    hits = []
    for n in range(40):
        others = torch.arange(40) != n
        hits.append(float(retrieval_hit_rate(alike[n, others], (y == y[n])[others], top_k=1)))
    assert meter.compute()["recall"] == pytest.approx(sum(hits) / 40)
    assert 0.1 < sum(hits) / 40 < 1


def test_a_chip_that_overflows_is_wrong_here_and_may_be_right_there() -> None:
    """The first reason why accuracy is counted here: of NaN, argmax is a class like any other."""
    z, y = torch.full((8, CLASSES), math.nan), torch.zeros(8, dtype=torch.long)
    assert float(multiclass_accuracy(z, y, num_classes=CLASSES, average="micro")) == 1.0
    assert metrics.accuracy(z, y) == 0.0
    meter = tasks.Tokens().meter()
    meter.update(z[None], y[None])
    assert meter.compute() == {"accuracy": 0.0, "loss": math.inf, "perplexity": math.inf}


def test_sums_here_keep_the_digits_of_float64() -> None:
    """The second one: draws are compared to the bit, and a sum in float32 depends on its batches."""
    z, y = logits("random", 3000, CLASSES), labels(3000)
    exact = -z.double().log_softmax(1).gather(1, y[:, None]).mean()
    totals = []
    for size in (7, 100, 3000):
        meter = tasks.Tokens().meter()
        for part, target in zip(z.split(size), y.split(size), strict=True):
            meter.update(part[None], target[None])
        totals.append(meter.compute()["loss"])
    assert totals == pytest.approx([float(exact)] * 3, rel=1e-7)
    assert max(totals) - min(totals) < 1e-12


def test_nothing_imports_torchmetrics_before_a_score_needs_it() -> None:
    code = (
        "import sys, everychip as ec; ec.tasks; ec.evaluate; ec.fit; ec.metrics; ec.check; "
        "assert 'torchmetrics' not in sys.modules, 'at import'; "
        "ec.tasks.Regression().meter().compute; assert 'torchmetrics' not in sys.modules, 'at a meter'"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
