"""How chips disagree, against the definitions written out over a loop of chips."""

from __future__ import annotations

import re

import pytest
import torch
from torch.func import functional_call

import everychip as ec
from everychip.errors import ConfigError, SampleSizeError
from everychip.evaluation.disagreement import disagreement

HARDWARE = ec.Hardware(device=ec.devices.Gaussian(sigma=0.3))


@pytest.fixture
def setting():
    model = torch.nn.Sequential(torch.nn.Linear(6, 8), torch.nn.BatchNorm1d(8), torch.nn.Linear(8, 3))
    x = torch.randn(80, 6, generator=ec.rng_for(3))
    return model, (x, model.eval()(x).argmax(1))


def test_the_divergences_are_their_definitions_over_the_chips_of_evaluate(setting):
    model, (x, y) = setting
    found = disagreement(model, HARDWARE, (x, y), chips=3, seed=5)
    with torch.no_grad():
        q = model(x).double().softmax(-1)
        p = [
            functional_call(model, ec.program(model, HARDWARE, seed=5, chip=n), (x,)).double().softmax(-1)
            for n in range(3)
        ]

    def kl(a, b):
        return float((a * (a / b).log()).sum(-1).mean())

    whole = sum(p) / 3
    assert found.expected_kl_to_clean == pytest.approx(sum(kl(one, q) for one in p) / 3)
    assert found.kl_to_mean_prediction == pytest.approx(sum(kl(one, whole) for one in p) / 3)
    pairs = [kl(p[i], p[j]) for i in range(3) for j in range(3) if i != j]
    assert found.pairwise_kl == pytest.approx(sum(pairs) / 6)
    draws = ec.evaluate(model, HARDWARE, (x, y), chips=3, seed=5)
    assert found.accuracy.estimate == pytest.approx(float(draws.accuracy.double().mean()))
    assert found.clean == 1.0
    assert found.ensemble == pytest.approx(float((whole.argmax(-1) == y).double().mean()))


def test_it_is_printed_with_the_accuracy_first_and_the_ensemble_under_its_name(setting):
    model, data = setting
    words = str(disagreement(model, HARDWARE, data, chips=4))
    assert words.startswith("mean accuracy ")
    assert "ensemble of all chips" in words


def test_one_chip_cannot_disagree(setting):
    model, data = setting
    with pytest.raises(SampleSizeError, match="found 1; expected at least 2"):
        disagreement(model, HARDWARE, data, chips=1)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"chips": 2.5}, "disagreement.chips: found 2.5"),
        ({"chips": "3"}, "disagreement.chips: found '3'"),
        ({"images": -3}, "disagreement.images: found -3"),
        ({"images": 0}, "disagreement.images: found 0"),
        ({"images": 2.5}, "disagreement.images: found 2.5"),
        ({"batch_size": 0}, "disagreement.batch_size: found 0"),
    ],
)
def test_counts_are_refused_in_one_line(setting, options, words):
    model, data = setting
    with pytest.raises(ConfigError, match=re.escape(words)):
        disagreement(model, HARDWARE, data, **options)


def test_the_model_and_the_global_generator_stay(setting, global_generators_untouched):
    model, data = setting
    model.train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    disagreement(model, HARDWARE, data, chips=2)
    assert model.training
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
