"""What an answer takes is what the part of the network takes that computes it, built by itself."""

from __future__ import annotations

import json

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

import everychip as ec
from everychip import models
from everychip.cli import call
from everychip.cost import Answers, answers, estimate
from everychip.errors import ConfigError
from everychip.policies import Combined, Early, Last, Only, PerChip

HARDWARE = ec.Hardware(device=ec.devices.Gaussian(sigma=0.1), mapping=ec.mapping.BitSliced())
X = torch.zeros(2, 1, 16, 16)
BLOCKS = {"block1": 1, "block2": 2, "block4": 4}


@pytest.fixture(scope="module")
def net() -> ec.MultiExit:
    return ec.MultiExit(models.VGG8(width=2).build((1, 16, 16), 3), X).eval()


@pytest.fixture(scope="module")
def found(net: ec.MultiExit) -> Answers:
    return answers(net, HARDWARE, X)


def alone(net: ec.MultiExit, n: int) -> nn.Module:
    """Exit n and the layers before it, as a network of their own."""
    blocks = [getattr(net.backbone, f"block{k + 1}") for k in range(BLOCKS[net.exits.positions[n]])]
    return nn.Sequential(*blocks, list(net.exits.heads.values())[n])


def macs(network: nn.Module) -> int:
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(X[:1])
    return counter.get_total_flops() // 2


def test_one_output_alone_takes_what_its_part_of_the_network_takes(net, found):
    for n, answer in enumerate(found.alone):
        part = net.backbone if n == len(net.exits.positions) else alone(net, n)
        cost = estimate(part, HARDWARE, X)
        assert answer.macs == macs(part)
        assert answer.layers == len(cost.layers)
        assert answer.energy_j == pytest.approx(cost.energy_j)
        assert answer.latency_s == pytest.approx(cost.latency_s)


def test_the_combination_takes_what_the_whole_network_takes(net, found):
    whole = estimate(net, HARDWARE, X)
    assert found.combined.energy_j == pytest.approx(whole.energy_j)
    assert found.combined.latency_s == pytest.approx(whole.latency_s)
    assert found.combined.of_combined == 1


def test_an_input_that_leaves_late_has_run_every_head_on_its_way(net, found):
    heads = [macs(alone(net, n)) - found.alone[n].macs for n in range(3)]
    assert heads == [0, 0, 0]
    before = found.leaving[0]
    assert before.macs == found.alone[0].macs
    for n in (1, 2):
        head = list(net.exits.heads.values())[n - 1]
        extra = sum(p.numel() for p in head.parameters() if p.ndim == 2)
        earlier = found.leaving[n].macs - found.alone[n].macs
        assert earlier == extra + (found.leaving[n - 1].macs - found.alone[n - 1].macs)


def test_early_is_the_mean_of_its_shares(found):
    shares = [0.4, 0.3, 0.1, 0.2]
    expected = sum(s * a.energy_j for s, a in zip(shares, found.leaving, strict=True))
    assert found.early(shares).energy_j == pytest.approx(expected)
    assert found.early([0, 0, 0, 1]).macs == found.combined.macs
    for wrong in ([0.5, 0.5], [0.5, 0.5, 0.5, 0.5], [1.2, -0.2, 0, 0]):
        with pytest.raises(ConfigError, match="4 shares"):
            found.early(wrong)


def test_the_shares_that_early_reports_are_those_it_is_charged_by(net, found):
    x = torch.randn(120, 1, 16, 16, generator=ec.rng_for(1))
    data = x, torch.arange(120) % 3
    policy = Early(loss=0.3, images=100)
    draws = ec.evaluate(net, HARDWARE, data, chips=2, policy=policy, calibration=data)
    fact = draws.treatment[0]
    assert found.of(policy, draws.treatment).of_combined == pytest.approx(fact["share of the MACs"], abs=2e-4)
    assert found.of(policy, draws.treatment).layers == pytest.approx(fact["layers used"], abs=0.01)


def test_each_policy_is_charged_for_what_it_runs(found):
    assert found.of(None) is found.of(Combined()) or found.of(Combined()).macs == found.combined.macs
    assert found.of(Last()) == found.alone[-1]
    assert found.of(Only(exit=2)) == found.alone[1]
    assert (found.of(PerChip()).name, found.of(PerChip()).macs) == ("per_chip", found.combined.macs)


def test_digital_heads_have_macs_and_no_energy(net, found):
    digital = answers(net, HARDWARE.replace(digital=("exits",)), X)
    backbone = estimate(net.backbone, HARDWARE, X)
    assert digital.combined.macs == found.combined.macs
    assert digital.combined.energy_j == pytest.approx(backbone.energy_j)


def test_a_network_without_exits_is_refused_in_one_line(net):
    with pytest.raises(ConfigError, match="without exits"):
        answers(net.backbone, HARDWARE, X)


def test_the_command_lists_every_answer(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.chdir(tmp_path)
    words = ["cost", "digits", "--set", 'model={kind="multi_exit", of={kind="lenet"}, pool=1}']
    assert call(words) == 0
    told = capsys.readouterr().out
    assert max(map(len, told.splitlines())) <= 80
    for name in ("exit 1", "exit 3", "last", "combined", "early"):
        assert name in told
    assert call([*words, "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert [one["name"] for one in facts["answers"]][-1] == "combined"
    assert facts["answers"][-1]["energy_j"] == pytest.approx(facts["energy_j"])
