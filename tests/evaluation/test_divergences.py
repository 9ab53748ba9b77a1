"""The three divergences over chips agree with scipy's relative entropy, pair by pair, and with each other."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from scipy.stats import entropy

from everychip.errors import DataError, SampleSizeError
from everychip.evaluation.divergences import expected_kl_to_clean, kl_to_mean_prediction, pairwise_kl
from everychip.rng import rng_for


def stack(seed: int, *, chips: int = 5, images: int = 4, classes: int = 3) -> torch.Tensor:
    logits = torch.randn(chips, images, classes, generator=rng_for(seed, "uncertainty"), dtype=torch.float64)
    return (2 * logits).softmax(-1)


def mean_kl(p: torch.Tensor, q: torch.Tensor) -> float:
    return float(entropy(p.numpy(), q.numpy(), axis=-1).mean())


@pytest.mark.parametrize("seed", range(3))
def test_each_agrees_with_a_literal_loop_over_chips(seed: int) -> None:
    p, clean = stack(seed), stack(seed + 100)[0]
    assert expected_kl_to_clean(p, clean=clean) == pytest.approx(sum(mean_kl(c, clean) for c in p) / 5)
    assert kl_to_mean_prediction(p) == pytest.approx(sum(mean_kl(c, p.mean(0)) for c in p) / 5)
    pairs = list(itertools.permutations(p, 2))
    assert pairwise_kl(p) == pytest.approx(sum(mean_kl(a, b) for a, b in pairs) / len(pairs))


def test_the_distance_to_the_clean_net_splits_into_spread_and_shift() -> None:
    p, clean = stack(1), stack(2)[0]
    shift = mean_kl(p.mean(0), clean)
    assert expected_kl_to_clean(p, clean=clean) == pytest.approx(kl_to_mean_prediction(p) + shift)


def test_chips_that_agree_have_no_spread() -> None:
    p = stack(3)[:1].expand(6, -1, -1)
    assert kl_to_mean_prediction(p) == pytest.approx(0, abs=1e-12)
    assert pairwise_kl(p) == pytest.approx(0, abs=1e-12)
    assert expected_kl_to_clean(p, clean=p[0]) == 0


def test_chips_sure_of_different_classes_share_ln_chips_of_information() -> None:
    p = torch.eye(4)[:, None, :]
    assert kl_to_mean_prediction(p) == pytest.approx(math.log(4))
    assert pairwise_kl(p) == math.inf


def test_a_class_no_chip_ever_gives_costs_nothing() -> None:
    p = torch.tensor([[[0.8, 0.2, 0.0]], [[0.2, 0.8, 0.0]]])
    assert pairwise_kl(p) == pytest.approx(pairwise_kl(p[..., :2]))
    assert expected_kl_to_clean(p, clean=p[0]) == pytest.approx(0.6 * math.log(4) / 2)


def test_a_class_the_clean_net_excludes_costs_everything() -> None:
    assert expected_kl_to_clean(torch.tensor([[[0.5, 0.5]]]), clean=torch.tensor([[1.0, 0.0]])) == math.inf


@pytest.mark.parametrize(
    "wrong",
    [
        torch.zeros(2, 3, 4),
        torch.full((2, 3, 4), math.nan),
        torch.tensor([[[1.5, -0.5]]]),
        torch.rand(3, 4),
        torch.zeros(0, 3, 4),
    ],
)
def test_what_is_no_stack_of_probabilities_is_refused(wrong: torch.Tensor) -> None:
    for function in (kl_to_mean_prediction, pairwise_kl):
        with pytest.raises(DataError, match="probabilities"):
            function(wrong)


def test_other_images_and_single_chips_are_refused() -> None:
    with pytest.raises(DataError, match="the same images and classes"):
        expected_kl_to_clean(stack(0), clean=stack(0, images=2)[0])
    with pytest.raises(SampleSizeError, match="at least 2"):
        pairwise_kl(stack(0)[:1])
