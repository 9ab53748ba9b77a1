"""The trade-off measures every policy on the same chips, and its chart shows what was measured."""

from __future__ import annotations

import pytest
import torch

import everychip as ec
from everychip import models
from everychip.cost import tradeoff
from everychip.errors import ConfigError
from everychip.policies import Early, Last, Only, PerChip

HARDWARE = ec.Hardware(device=ec.devices.Gaussian(sigma=0.1))


@pytest.fixture(scope="module")
def net():
    x = torch.zeros(2, 1, 16, 16)
    return ec.MultiExit(models.VGG8(width=2).build((1, 16, 16), 3), x).eval()


@pytest.fixture(scope="module")
def data():
    return torch.randn(120, 1, 16, 16, generator=ec.rng_for(1)), torch.arange(120) % 3


@pytest.fixture(scope="module")
def found(net, data):
    policies = {"first": Only(exit=1), "last": Last(), "early 30 %": Early(loss=0.3, images=100)}
    policies |= {"fitted": PerChip(images=100)}
    return tradeoff(net, HARDWARE, data, policies=policies, calibration=data, chips=4, seed=2)


def test_every_way_meets_the_chips_of_evaluate(net, data, found):
    for draws, policy in zip(found.draws, (Only(exit=1), Last()), strict=False):
        again = ec.evaluate(net, HARDWARE, data, chips=4, seed=2, policy=policy)
        assert torch.equal(draws.accuracy, again.accuracy)


def values(spec, part):
    """The rows of a chart or of one of its layers, which altair keeps by name."""
    held = part["data"]
    return held["values"] if "values" in held else spec["datasets"][held["name"]]


def test_the_chart_shows_the_mean_and_the_band_of_the_chips(found):
    spec = found.plot().to_dict()
    rows = {row["answer"]: row for row in values(spec, spec)}
    assert list(rows) == sorted(found.labels, key=lambda label: rows[label]["macs"])
    for label, answer, draws in zip(found.labels, found.answers, found.draws, strict=True):
        row = rows[label]
        assert row["mean"] == pytest.approx(100 * float(draws.accuracy.mean()), abs=1e-3)
        low, high = draws.accuracy.quantile(torch.tensor([0.05, 0.95], dtype=torch.float64))
        assert (row["worst"], row["best"]) == pytest.approx((100 * float(low), 100 * float(high)), abs=1e-3)
        assert row["macs"] == pytest.approx(answer.macs / 1e3, rel=1e-4)
    assert rows["early 30 %"]["family"] == "early"
    assert rows["fitted"]["family"] == "fitted to each chip"
    joined = next(layer for layer in spec["layer"] if layer["mark"]["type"] == "line")
    assert [row["answer"] for row in values(spec, joined)] == ["early 30 %"]


def test_by_default_every_output_and_the_combination_is_measured(net, data):
    found = tradeoff(net, HARDWARE, data, chips=2)
    assert found.labels == ("exit 1", "exit 2", "exit 3", "last", "combined")
    assert "combined" in str(found) and found.answers[-1].of_combined == 1


def test_a_loss_that_cannot_be_kept_is_left_out_only_where_it_was_not_asked_for(net, data, monkeypatch):
    def refuse(*_args, **_named):
        raise ConfigError("policy.early.loss", found="0.01, which no thresholds keep")

    monkeypatch.setattr(Early, "bind", refuse)
    found = tradeoff(net, HARDWARE, data, chips=2, calibration=data)
    assert len(found.left_out) == 4 and len(found.labels) == 5
    with pytest.raises(ConfigError, match="no thresholds keep"):
        tradeoff(net, HARDWARE, data, chips=2, calibration=data, policies={"mine": Early()})
