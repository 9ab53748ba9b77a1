"""Leaving early keeps its promise over chips, and each part of it is what its equation says."""

from __future__ import annotations

import pytest
import torch
from scipy.stats import binom

import everychip as ec
from everychip.errors import ConfigError, DataError
from everychip.exits.macs import output_cost
from everychip.exits.outputs import all_outputs
from everychip.policies import Early, Policy
from everychip.policies.answers import Answers
from everychip.policies.early import GRID
from everychip.rng import rng_for

HARDWARE = ec.Hardware(device=ec.devices.Gaussian(sigma=0.2))


def population(chips, images, *, seed, bad=0.04):
    """Chips whose exit is wrong more often the less sure it is; a few of them are much worse."""
    rng = rng_for(seed, "population")
    confidence = torch.rand(chips, 2, images, generator=rng, dtype=torch.float64)
    skill = torch.where(torch.rand(chips, 1, generator=rng) < bad, 0.35, 0.02)
    combined = torch.rand(chips, images, generator=rng) < 0.9
    wrong = torch.rand(chips, 2, images, generator=rng) < (skill[:, None] + 0.5 * (1 - confidence) ** 2)
    right = combined[:, None] ^ wrong
    return Answers(confidence, right, ~wrong, combined)


@pytest.mark.slow
def test_a_new_chip_loses_more_than_epsilon_no_more_often_than_was_promised():
    policy = Early(loss=0.03, coverage=0.9, delta=0.1, chips=60)
    truth = population(1000, 400, seed=10_000)
    broken, used = 0, 0
    for trial in range(150):
        try:
            rate, thresholds = policy.choose(population(60, 800, seed=trial))
        except ConfigError:
            continue  # nothing promised
        used += rate > 0
        over = float((truth.losses(thresholds) > policy.loss + 0.004).double().mean())
        broken += over > 1 - policy.coverage
    assert used > 50
    assert broken <= binom.ppf(0.999, 150, policy.delta)


def test_more_loss_allowed_sends_more_inputs_out_early():
    answers = population(80, 1000, seed=1)
    shares = [Early(loss=loss, chips=80).choose(answers)[1].clamp(max=2).sum() for loss in (0.02, 0.1, 0.3)]
    assert shares == sorted(shares, reverse=True)
    assert shares[0] > shares[-1]


def test_thresholds_are_the_least_that_keep_the_rate_of_disagreement():
    answers = population(5, 60, seed=2)
    for rate in (0.05, 0.3):
        first = float(answers.thresholds(rate)[0])
        confidence, agrees = (c[:, 0].flatten().tolist() for c in (answers.confidence, answers.agrees))
        pairs = list(zip(confidence, agrees, strict=True))
        allowed = []
        for c in confidence:
            above = [agree for k, agree in pairs if k >= c]
            if 1 - sum(above) / len(above) <= rate:
                allowed.append(c)
        assert first == min(allowed, default=2.0)


def test_losses_and_shares_are_those_of_a_literal_loop():
    answers = population(3, 40, seed=3)
    limits = torch.tensor([0.8, 0.5], dtype=torch.float64)
    left = [0, 0, 0]
    for chip in range(3):
        early = 0
        for image in range(40):
            for n in (0, 1):
                if answers.confidence[chip, n, image] >= limits[n]:
                    early += int(answers.right[chip, n, image])
                    left[n] += 1
                    break
            else:
                early += int(answers.combined[chip, image])
                left[2] += 1
        expected = float(answers.combined[chip].double().mean()) - early / 40
        assert float(answers.losses(limits)[chip]) == pytest.approx(expected)
    assert answers.shares(limits) == pytest.approx([n / 120 for n in left])


@pytest.mark.parametrize(("coverage", "delta"), [(0.95, 0.05), (0.9, 0.1), (0.99, 0.05)])
def test_the_least_number_of_chips_is_where_none_failing_is_evidence(coverage, delta):
    least = Early(coverage=coverage, delta=delta).least_chips
    assert binom.cdf(0, least, 1 - coverage) <= delta < binom.cdf(0, least - 1, 1 - coverage)


def test_a_bound_policy_answers_as_its_thresholds_say(net, data):
    treat = Early(loss=0.5, chips=59, images=120).bind(net, HARDWARE, data, seed=0)
    chip = treat(ec.program(net, HARDWARE, seed=0, chip=0), seed=0, path=("evaluate", 0))
    with torch.no_grad():
        outputs = all_outputs(net, chip, data[0])
        answer = torch.func.functional_call(net, chip, (data[0],))
    sure = outputs[:-1].softmax(-1).amax(-1) >= chip["thresholds"][:, None]
    assert sure.any()
    for n in range(len(data[0])):
        first = next((k for k in range(3) if sure[k, n]), None)
        combined = (chip["combination"].view(-1, 1) * outputs[:, n]).sum(0)
        torch.testing.assert_close(answer[n], combined if first is None else outputs[first, n])
    (fact,) = treat.metadata()
    assert sum(fact["shares leaving at each output"]) == pytest.approx(1, abs=1e-3)


def test_it_says_in_one_line_what_it_lacks(net, data):
    with pytest.raises(ConfigError, match=r"policy\.early\.chips: found 58 chips.* at least 59"):
        Early(chips=58).bind(net, HARDWARE, data)
    with pytest.raises(DataError, match=r"policy\.early\.images: .*120"):
        Early(images=121).bind(net, HARDWARE, data)
    with pytest.raises(DataError, match="class 2"):
        Early(images=40).bind(net, HARDWARE, (data[0][:60], torch.arange(60) % 2))
    with pytest.raises(ConfigError, match=r"policy\.early: .*multi_exit"):
        Early().bind(net.backbone, HARDWARE, data)
    with pytest.raises(ConfigError, match="no calibration data"):
        Early().bind(net, HARDWARE)
    hopeless = population(59, 400, seed=4, bad=1.0)
    sure = torch.ones_like(hopeless.confidence)
    answers = Answers(sure, hopeless.right, torch.ones_like(hopeless.agrees), hopeless.combined)
    with pytest.raises(ConfigError, match=r"policy\.early\.loss"):
        Early(loss=1e-6, chips=59).choose(answers)


def test_an_early_exit_costs_the_products_up_to_it(net):
    cost = output_cost(net, torch.zeros(1, 1, 16, 16))
    sides, widths = (16, 16, 8, 8, 4, 4), (1, 2, 4, 8, 8, 16, 16)
    convolutions = [9 * a * b * s * s for a, b, s in zip(widths, widths[1:], sides, strict=False)]
    heads = [c * 4 * 32 + 32 * 3 for c in (2, 4, 8)]
    expected = [sum(convolutions[:n]) + sum(heads[:k]) for k, n in enumerate((1, 2, 4), 1)]
    whole = sum(convolutions) + 16 * 4 * 32 + 32 * 3 + sum(heads)
    assert cost.macs == (*expected, whole)
    assert cost.layers == (1 + 2, 2 + 4, 4 + 6, 8 + 6)
    assert cost.mean_macs([0, 0, 0, 1]) == whole


def test_the_grid_begins_with_no_disagreement_at_all():
    assert GRID[0] == 0.0
    assert list(GRID) == sorted(GRID)
    assert Policy.parse({"kind": "early", "loss": 0.02}).loss == 0.02
