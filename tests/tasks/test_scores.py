"""Every task's scores and losses, against the formulas written out and against torchmetrics."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torchmetrics import classification, regression, text

from everychip import rng_for, tasks
from everychip.errors import ConfigError, DataError


def rand(*shape: int, name: str = "z") -> torch.Tensor:
    return torch.randn(shape, generator=rng_for(0, "tasks", name))


def measured(task: tasks.Task, answer: torch.Tensor, y: torch.Tensor, size: int = 7) -> dict[str, float]:
    meter = task.meter()
    for part, target in zip(answer.split(size), y.split(size), strict=True):
        meter.update(part, target)
    return meter.compute()


def test_regression_is_its_formulas_whatever_the_batches():
    z, y = rand(40, 3), rand(40, 3, name="y")
    error = z.double() - y.double()
    found = measured(tasks.Regression(), z, y)
    assert found["RMSE"] == pytest.approx(float(error.square().mean().sqrt()), rel=1e-9)
    assert found["MAE"] == pytest.approx(float(error.abs().mean()), rel=1e-9)
    rest = error.square().sum(0) / (y.double() - y.double().mean(0)).square().sum(0)
    assert found["R2"] == pytest.approx(float((1 - rest).mean()), rel=1e-9)
    assert found == pytest.approx(measured(tasks.Regression(), z, y, size=40))
    assert float(tasks.Regression().loss(z, y)) == pytest.approx(float(error.square().mean()), rel=1e-5)
    assert float(tasks.Regression(error="absolute").loss(z, y)) == pytest.approx(found["MAE"], rel=1e-5)


@pytest.mark.parametrize("shape", [(40,), (40, 1)])
def test_one_target_may_lack_its_axis(shape):
    z, y = rand(40), rand(40, name="y")
    assert measured(tasks.Regression(), z.reshape(shape), y) == measured(tasks.Regression(), z, y)


def test_segmentation_is_intersection_over_union_written_out():
    z = rand(12, 3, 5, 4)
    y = torch.randint(3, (12, 5, 4), generator=rng_for(1))
    y[:, 0] = -100
    said, kept = z.argmax(1), y != -100
    shares = []
    for c in range(3):
        a, b = (y == c) & kept, (said == c) & kept
        shares.append(float((a & b).sum() / (a | b).sum()))
    found = measured(tasks.Segmentation(), z, y)
    assert found["mIoU"] == pytest.approx(sum(shares) / 3)
    assert found["accuracy"] == pytest.approx(float((said == y)[kept].float().mean()))
    assert torch.allclose(tasks.Segmentation().loss(z, y), F.cross_entropy(z, y, ignore_index=-100))


def test_tokens_agree_with_torchmetrics_and_count_no_ignored_token():
    z, y = rand(9, 6, 5), torch.randint(5, (9, 6), generator=rng_for(2))
    y[:, 4:] = -100
    found = measured(tasks.Tokens(), z, y)
    assert found["perplexity"] == pytest.approx(float(text.Perplexity(ignore_index=-100)(z, y)), rel=1e-5)
    known = classification.MulticlassAccuracy(num_classes=5, ignore_index=-100, average="micro")
    assert found["accuracy"] == pytest.approx(float(known(z.movedim(-1, 1), y)))
    assert found["loss"] == pytest.approx(float(tasks.Tokens().loss(z, y)), rel=1e-6)


def test_a_causal_token_is_foretold_by_the_one_before_it():
    z, y = rand(4, 6, 5), torch.randint(5, (4, 6), generator=rng_for(3))
    expected = F.cross_entropy(z[:, :-1].reshape(-1, 5), y[:, 1:].reshape(-1))
    task = tasks.Tokens(causal=True)
    assert torch.allclose(task.loss(z, y), expected)
    assert measured(task, z, y)["perplexity"] == pytest.approx(math.exp(float(expected)), rel=1e-5)
    assert task.headline.name == "perplexity"


def test_multilabel_is_f1_and_exact_match_written_out():
    z, y = rand(50, 4), (rand(50, 4, name="y") > 0).long()
    said = z.sigmoid() > 0.5
    f1 = [2 * ((said[:, k]) & (y[:, k] == 1)).sum() / (said[:, k].sum() + y[:, k].sum()) for k in range(4)]
    found = measured(tasks.Multilabel(), z, y)
    assert found["F1"] == pytest.approx(float(torch.stack(f1).mean()))
    assert found["accuracy"] == pytest.approx(float((said == y.bool()).float().mean()))
    assert found["exact match"] == pytest.approx(float((said == y.bool()).all(1).float().mean()))
    assert torch.allclose(tasks.Multilabel().loss(z, y), F.binary_cross_entropy_with_logits(z, y.float()))


def test_embedding_is_the_neighbour_written_out():
    chip, digital = rand(30, 6), rand(30, 6, name="y")
    cosine = F.cosine_similarity(chip[:, None], digital[None], dim=-1)
    rank = (cosine > cosine.diagonal()[:, None]).sum(1)
    for top in (1, 3):
        meter = tasks.Embedding(top=top).meter()
        for part, vectors in zip(chip.split(7), digital.split(7), strict=True):
            meter.update(part, {"vectors": vectors})
        found = meter.compute()
        assert found["retrieval"] == pytest.approx(float((rank < top).float().mean()))
    assert found["cosine"] == pytest.approx(float(cosine.diagonal().mean()), rel=1e-5)


@pytest.mark.parametrize(
    ("task", "answer", "y", "worst"),
    [
        (tasks.Regression(), torch.full((4,), math.nan), torch.ones(4), math.inf),
        (tasks.Multilabel(), torch.full((4, 2), math.nan), torch.tensor([[1, 0]] * 4), 0.0),
        (tasks.Segmentation(), torch.full((4, 2, 3), math.nan), torch.ones(4, 3).long(), 0.0),
        (tasks.Tokens(), torch.full((4, 3, 2), math.nan), torch.ones(4, 3).long(), 0.0),
        (tasks.Tokens(causal=True), torch.full((4, 3, 2), math.nan), torch.ones(4, 3).long(), math.inf),
    ],
)
def test_a_chip_that_overflows_has_the_worst_score_and_never_nan(task, answer, y, worst):
    found = measured(task, answer, y)
    assert found[task.headline.name] == worst
    assert not any(math.isnan(value) for value in found.values())


def test_vectors_that_overflow_find_nothing():
    meter = tasks.Embedding(score="recall").meter()
    meter.update(torch.full((4, 3), math.nan), {"vectors": rand(4, 3), "labels": torch.zeros(4).long()})
    assert meter.compute() == {"retrieval": 0.0, "cosine": 0.0, "recall": 0.0}


def test_chance_is_the_best_answer_that_does_not_look():
    y = rand(400, name="y") * 3 + 5
    assert tasks.Regression().chance(y) == pytest.approx(float(y.double().std(correction=0)), rel=1e-6)
    labels = torch.tensor([[0, 0, 0, 1]])
    assert tasks.Segmentation(score="accuracy").chance(labels) == 0.75
    assert tasks.Segmentation().chance(labels) == pytest.approx(0.375)
    entropy = -(0.75 * math.log(0.75) + 0.25 * math.log(0.25))
    assert tasks.Tokens(score="perplexity").chance(labels) == pytest.approx(math.exp(entropy))
    assert tasks.Classification().chance(torch.arange(5)) == 0.2


@pytest.mark.parametrize(
    ("task", "answer", "y", "words"),
    [
        (tasks.Regression(), torch.zeros(2, 3), torch.zeros(2), r"targets \[2\] for outputs \[2, 3\]"),
        (tasks.Regression(), torch.zeros(2), torch.tensor([1.0, math.nan]), "finite real numbers"),
        (tasks.Multilabel(), torch.zeros(2, 3), torch.full((2, 3), 2.0), "each 0 or 1, not 2"),
        (tasks.Multilabel(), torch.zeros(2, 3), torch.tensor([0, 1]), r"targets \[2\]"),
        (tasks.Segmentation(), torch.zeros(2, 3, 4), torch.zeros(2, 5).long(), r"targets \[2, 5\]"),
        (tasks.Segmentation(), torch.zeros(2, 3, 4), torch.full((2, 4), 255), "label 255.*ignore = 255"),
        (tasks.Segmentation(), torch.zeros(2, 3, 4), torch.zeros(2, 4), "call y.long()"),
        (tasks.Tokens(), torch.zeros(2, 3), torch.zeros(2, 3).long(), r"logits \[n, t, classes\]"),
        (tasks.Tokens(), torch.zeros(2, 3, 4), torch.full((2, 3), -100), "nothing but -100"),
    ],
)
def test_targets_that_do_not_fit_are_refused_in_one_line(task, answer, y, words):
    with pytest.raises(DataError, match=words) as caught:
        task.validate_for(answer, y)
    assert "\n" not in str(caught.value)


def test_an_unknown_score_names_the_known_ones():
    with pytest.raises(ConfigError, match="unknown score 'rmse'.*RMSE"):
        tasks.Regression(score="rmse").headline
    assert tasks.Regression(score="MAE", unit="K").headline.text(1.5, digits=1) == "1.5 K"


def test_r2_is_torchmetrics_own():
    z, y = rand(20), rand(20, name="y")
    expected = regression.R2Score()(z.double(), y.double())
    assert measured(tasks.Regression(score="R2"), z, y)["R2"] == pytest.approx(float(expected), rel=1e-9)
