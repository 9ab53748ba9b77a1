"""Scores agree with torchmetrics, those that are counted here, too: on random answers, ties, saturation.

And where these part on purpose: what a chip that overflows is worth, edges of bins, how many digits are kept.
"""

from __future__ import annotations

import math
import subprocess
import sys

import pytest
import torch
from torch import Tensor
from torchmetrics.functional import classification, cosine_similarity, pairwise_cosine_similarity
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
    """Why broken rows are taken out before torchmetrics counts: of NaN, argmax is a class like any other."""
    z, y = torch.full((8, CLASSES), math.nan), torch.zeros(8, dtype=torch.long)
    assert float(multiclass_accuracy(z, y, num_classes=CLASSES, average="micro")) == 1.0
    assert metrics.accuracy(z, y) == 0.0
    meter = tasks.Tokens().meter()
    meter.update(z[None], y[None])
    assert meter.compute() == {"accuracy": 0.0, "loss": math.inf, "perplexity": math.inf}


@pytest.mark.parametrize("score", ["accuracy", "tokens", "recall"])
def test_right_answers_are_counted_by_torchmetrics(score: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every count goes through it: with a torchmetrics that finds one more right, so does the score."""
    z, y = logits("random", 40, CLASSES), labels(40)

    def found() -> float:
        if score == "accuracy":
            return metrics.per_chip(z, y)["accuracy"]
        meter = tasks.Tokens().meter() if score == "tokens" else tasks.Embedding(score="recall").meter()
        part = (z[None], y[None]) if score == "tokens" else (z, {"vectors": z, "labels": y})
        meter.update(*part)
        return meter.compute()[score if score == "recall" else "accuracy"]

    before, known = found(), classification.multiclass_stat_scores
    monkeypatch.setattr(classification, "multiclass_stat_scores", lambda *a, **k: known(*a, **k) + 1)
    assert found() == pytest.approx(before + 1 / 40)


def test_tokens_of_a_batch_of_padding_alone_count_for_nothing() -> None:
    meter = tasks.Tokens().meter()
    meter.update(logits("random", 2, 3, CLASSES), torch.full((2, 3), -100))
    z, y = logits("random", 4, 3, CLASSES), labels(4, 3)
    meter.update(z, y)
    assert meter.compute()["accuracy"] == float((z.argmax(-1) == y).double().mean())


def test_calibration_error_parts_from_torchmetrics_at_an_edge_and_in_its_digits() -> None:
    """Guo et al., ICML 2017, eq. 3: bins are ((b − 1)/B, b/B]; there they are [(b − 1)/B, b/B) and {1}."""
    # Confidences 1/2 and a little more, labels right and wrong: two bins of two, or one.
    z, y = torch.tensor([[0.0, 0.0], [0.02, 0.0]]), torch.tensor([0, 1])
    above = 1 / (1 + math.exp(-0.02))
    apart, together = (0.5 + above) / 2, (above - 0.5) / 2
    theirs = multiclass_calibration_error(z.softmax(1), y, num_classes=2, n_bins=2, norm="l1")
    assert metrics.ece(z, y, bins=2) == pytest.approx(apart, abs=1e-6)
    assert float(theirs) == pytest.approx(together, abs=1e-6)
    # Confidences of 1 and of 0.95, which a single bin joins.
    z, y = torch.tensor([[1000.0, 0.0], [math.log(19.0), 0.0]]), torch.tensor([1, 0])
    theirs = multiclass_calibration_error(z.softmax(1), y, num_classes=2, n_bins=1, norm="l1")
    assert metrics.ece(z, y, bins=1) == pytest.approx((1 - 0.05) / 2, abs=1e-6)
    assert float(theirs) == pytest.approx((1 + 0.05) / 2, abs=1e-6)
    z, y = logits("random", 3000, CLASSES).double(), labels(3000)
    theirs = multiclass_calibration_error(z.softmax(1), y, num_classes=CLASSES, n_bins=15, norm="l1")
    assert theirs.dtype == torch.float32, "whatever the precision of the answers"


def test_perplexity_of_a_label_that_underflows_is_infinite_in_torchmetrics_alone() -> None:
    z, y = torch.tensor([[[200.0, 0.0]] * 4]), torch.tensor([[1, 0, 0, 0]])
    meter = tasks.Tokens().meter()
    meter.update(z, y)
    assert meter.compute()["perplexity"] == pytest.approx(math.exp(200 / 4))
    assert float(perplexity(z, y)) == math.inf


def test_cosine_and_retrieval_part_from_torchmetrics_in_digits_and_at_doubles() -> None:
    v = torch.randn(6, 4, generator=rng_for(4, "vectors"), dtype=torch.float64)
    assert cosine_similarity(v, v + 0.1, reduction="mean").dtype == torch.float32
    v[1] = 0
    assert math.isnan(cosine_similarity(v, v, reduction="mean"))
    v[1] = v[0]  # the same input twice: both are at distance 0 of both
    meter = tasks.Embedding().meter()
    meter.update(v, {"vectors": v})
    assert meter.compute() == {"retrieval": 1.0, "cosine": pytest.approx(1.0)}
    alike, own = pairwise_cosine_similarity(v, v), torch.eye(6, dtype=torch.bool)
    assert sum(float(retrieval_hit_rate(alike[n], own[n], top_k=1)) for n in range(6)) < 6


def test_sums_here_keep_the_digits_of_float64() -> None:
    """Draws are compared to the bit, and a sum in float32 depends on its batches."""
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
