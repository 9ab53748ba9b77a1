"""A policy in `evaluate` and in a recipe: the same chips, answered in another way."""

from __future__ import annotations

import pytest
import torch

import everychip as ec
from everychip.errors import ConfigError, DataError
from everychip.exits.outputs import all_outputs
from everychip.policies import PerChip
from everychip.study.execution import run
from everychip.study.experiment import Experiment

HARDWARE = ec.Hardware(device=ec.devices.Gaussian(sigma=0.3))


def accuracy(logits, y):
    return float((logits.argmax(-1) == y).double().mean())


@pytest.mark.parametrize(("policy", "output"), [("last", -1), ({"kind": "only", "exit": 2}, 1)])
def test_one_output_alone_is_that_output_of_the_same_chips(net, data, policy, output):
    draws = ec.evaluate(net, HARDWARE, data, chips=3, seed=5, policy=policy)
    for c in range(3):
        chip = ec.program(net, HARDWARE, seed=5, chip=c)
        with torch.no_grad():
            assert float(draws.accuracy[c]) == pytest.approx(
                accuracy(all_outputs(net, chip, data[0])[output], data[1])
            )


def test_combined_is_what_the_network_answers_without_a_policy(net, data):
    plain = ec.evaluate(net, HARDWARE, data, chips=4, seed=5)
    combined = ec.evaluate(net, HARDWARE, data, chips=4, seed=5, policy="combined")
    assert torch.equal(plain.nll, combined.nll)


def test_a_mitigation_comes_before_the_policy(net, data):
    both = ec.evaluate(
        net,
        HARDWARE,
        data,
        chips=3,
        mitigation={"kind": "bn_recalibration", "images": 120, "batch_size": 120},
        policy=PerChip(images=120, recalibrate=False),
        calibration=data,
    )
    alone = ec.evaluate(net, HARDWARE, data, chips=3, policy=PerChip(images=120), calibration=data)
    torch.testing.assert_close(both.nll, alone.nll, rtol=1e-3, atol=1e-3)
    assert [fact["mitigation"] for fact in alone.treatment] == ["per_chip"]


def test_what_a_policy_lacks_is_one_line(net, data):
    with pytest.raises(ConfigError, match=r"policy\.last: .*without exits"):
        ec.evaluate(net.backbone, HARDWARE, data, chips=1, policy="last")
    with pytest.raises(DataError, match=r"policy\.per_chip\.images: found 120 calibration images"):
        ec.evaluate(net, HARDWARE, data, chips=1, policy="per_chip", calibration=data)
    with pytest.raises(ConfigError, match="unknown policy 'lats'; did you mean last"):
        ec.evaluate(net, HARDWARE, data, chips=1, policy="lats")


RECIPE = {
    "data": {"kind": "digits"},
    "model": {"kind": "multi_exit", "of": {"kind": "lenet"}, "pool": 1, "hidden": 16},
    "hardware": {"device": {"kind": "gaussian", "sigma": 0.2}},
    "method": {"kind": "noise_injection", "exit_loss": 0.3},
    "training": {"epochs": 1, "batch_size": 64},
    "compute": {"threads": 1},
}


@pytest.mark.parametrize(
    ("policy", "per_chip"),
    [
        ({"kind": "last"}, False),
        ({"kind": "early", "loss": 0.2, "images": 100, "chips": 60}, False),
        ({"kind": "per_chip", "images": 100}, True),
    ],
)
def test_a_recipe_says_how_its_network_answers(tmp_path, policy, per_chip):
    experiment = Experiment.read({**RECIPE, "evaluation": {"chips": 3, "policy": policy}}, where="recipe")
    found = run(experiment, tmp_path / "run")
    assert set(found.draws()["per_chip"]) == {per_chip}
    assert len(found.draws()["chip"]) == 3
    told = [fact["mitigation"] for fact in found.record.get("treatment", [])]
    assert told == ([] if policy["kind"] == "last" else [policy["kind"]])


def test_a_recipe_is_refused_before_training_where_its_policy_does_not_suit(tmp_path):
    for change, message in (
        ({"model": {"kind": "lenet"}}, r"policy\.last: .*without exits"),
        ({"evaluation": {"policy": {"kind": "per_chip", "images": 1000}}}, r"policy\.per_chip\.images"),
    ):
        table = {
            **RECIPE,
            "method": {"kind": "noise_injection"},
            "evaluation": {"policy": {"kind": "last"}},
            **change,
        }
        with pytest.raises((ConfigError, DataError), match=message):
            run(Experiment.read(table, where="recipe"), tmp_path / message[:12].replace("\\", ""))
