"""A chip's own readout is the best combination of its outputs, with labels or without."""

from __future__ import annotations

import pytest
import torch
from scipy.optimize import minimize
from torch.nn.functional import cross_entropy

import everychip as ec
from everychip.errors import ConfigError
from everychip.exits.outputs import all_outputs
from everychip.mitigate import BNRecalibration
from everychip.policies import Combined, Last, Only, PerChip
from everychip.policies.per_chip import fit_combination
from everychip.rng import rng_for

HARDWARE = ec.Hardware(device=ec.devices.Gaussian(sigma=0.3))


@pytest.mark.parametrize("soft", [False, True])
def test_the_combination_is_the_minimum_that_scipy_finds(soft):
    rng = rng_for(2)
    z = torch.randn(4, 50, 3, generator=rng, dtype=torch.float64)
    targets = torch.randint(3, (50,), generator=rng)
    if soft:
        targets = torch.rand(50, 3, generator=rng, dtype=torch.float64)
        targets = targets / targets.sum(-1, keepdim=True)
    start, ridge = torch.tensor([0.1, 0.2, 0.3, 0.4], dtype=torch.float64), 0.05

    def loss(w):
        w = torch.as_tensor(w)
        logits = torch.einsum("o,onc->nc", w, z)
        return float(cross_entropy(logits, targets) + ridge * ((w - start) ** 2).sum() / (start**2).sum())

    expected = minimize(
        loss, start.numpy(), method="Nelder-Mead", options={"xatol": 1e-9, "fatol": 1e-13, "maxiter": 8000}
    )
    found = fit_combination(z, targets, start=start, ridge=ridge)
    torch.testing.assert_close(found, torch.as_tensor(expected.x), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("targets", ["labels", "digital"])
def test_each_chip_gets_its_own_combination_and_its_batch_norm_is_recalibrated(net, data, targets):
    policy = PerChip(targets=targets, images=120)
    treat = policy.bind(net, HARDWARE, data, seed=0)
    chips = [treat(ec.program(net, HARDWARE, seed=0, chip=c), seed=0, path=("evaluate", c)) for c in (0, 1)]
    assert not torch.equal(chips[0]["combination"], chips[1]["combination"])
    recalibrated = BNRecalibration(images=120, batch_size=120).bind(net, HARDWARE, data, seed=0)
    for c, chip in enumerate(chips):
        alone = recalibrated(ec.program(net, HARDWARE, seed=0, chip=c), seed=0, path=("evaluate", c))
        for name, value in alone.items():
            torch.testing.assert_close(chip[name], value, rtol=1e-4, atol=1e-5)
    state = {n: t.clone() for n, t in net.state_dict().items()}
    treat(ec.program(net, HARDWARE, seed=0, chip=2), seed=0, path=("evaluate", 2))
    assert all(torch.equal(t, state[n]) for n, t in net.state_dict().items())


def test_fitting_lowers_the_loss_of_every_chip_on_its_calibration_inputs(net, data):
    treat = PerChip(images=120, recalibrate=False, ridge=0.0).bind(net, HARDWARE, data, seed=0)
    for c in range(5):
        chip = ec.program(net, HARDWARE, seed=0, chip=c)
        fitted = treat(chip, seed=0, path=("evaluate", c))
        with torch.no_grad():
            before, after = (
                cross_entropy(torch.func.functional_call(net, held, (data[0],)), data[1])
                for held in (chip, fitted)
            )
        assert float(after) < float(before)


def test_fixed_policies_are_the_outputs_alone_or_together(net, data):
    chip, x = ec.program(net, HARDWARE, seed=0, chip=0), data[0]
    with torch.no_grad():
        outputs = all_outputs(net, chip, x)
        for policy, expected in (
            (Last(), outputs[3]),
            (Only(exit=2), outputs[1]),
            (Combined(), outputs.mean(0)),
        ):
            held = policy.bind(net, HARDWARE)(chip, seed=0, path=("evaluate", 0))
            torch.testing.assert_close(torch.func.functional_call(net, held, (x,)), expected)
    with pytest.raises(ConfigError, match=r"policy\.only\.exit: found exit 4 of a network with 3"):
        Only(exit=4).bind(net, HARDWARE)
    for policy in (Last(), Only(), Combined(), PerChip()):
        with pytest.raises(ConfigError, match=rf"policy\.{policy.kind}: .*multi_exit"):
            policy.bind(net.backbone, HARDWARE, data)
