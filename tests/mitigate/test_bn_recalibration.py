"""Batch-norm recalibration: what a copy of the model in training mode would measure, and nothing else."""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest
import torch
from torch import nn

import everychip as ec
from everychip import Hardware, devices, evaluate, program, rng_for
from everychip.errors import ConfigError, DataError, ModelError
from everychip.evaluation.measuring import measure
from everychip.hardware.chip import program_weights
from everychip.mitigate import BNRecalibration, Mitigation

HARDWARE = Hardware(device=devices.Gaussian(sigma=0.3))
PATH = ("evaluate", 3)


def convolutions():
    return nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1, bias=False), nn.BatchNorm2d(6), nn.ReLU(), nn.Dropout(0.5),
        nn.Conv2d(6, 6, 3, groups=6), nn.BatchNorm2d(6, momentum=0.3), nn.ReLU(), nn.Flatten(),
        nn.Linear(6 * 36, 8), nn.BatchNorm1d(8), nn.Linear(8, 4),
    )  # fmt: skip


def images(n=96):
    return torch.randn(n, 3, 8, 8, generator=rng_for(0, "x")) * 2 + 1, torch.arange(n) % 4


def the_used(x, count, seed=0):
    """The calibration images, in the order in which they are met."""
    return x[torch.randperm(len(x), generator=rng_for(seed, "calibration"))[:count]]


def by_hand(model, chip, batches):
    """A deep copy that holds the chip, its batch norms reset and in training mode, run on batches."""
    twin = copy.deepcopy(model).eval()
    with torch.no_grad():
        for name, value in chip.items():
            twin.get_parameter(name).copy_(value)
        for module in twin.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.reset_running_stats()
                module.momentum = None
                module.train()
        for x in batches:
            twin(x)
    return twin.eval()


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_the_statistics_are_those_of_a_deep_copy_in_training_mode(layout):
    model, (x, y) = convolutions(), images()
    x = x.contiguous(memory_format=layout)
    chip = program(model, HARDWARE, seed=0, chip=3)
    treat = BNRecalibration(images=90, batch_size=30).bind(model, HARDWARE, (x, y))
    treated = treat(chip, seed=0, path=PATH)
    twin = by_hand(model, chip, the_used(x, 90).split(30))
    buffers = {name: value for name, value in twin.named_buffers() if "running" in name}
    assert set(treated) == set(chip) | set(buffers)
    for name, value in buffers.items():
        torch.testing.assert_close(treated[name], value, rtol=1e-5, atol=1e-6)
    with torch.no_grad():
        z = torch.func.functional_call(copy.deepcopy(model).eval(), treated, (x,))
        torch.testing.assert_close(z, twin(x), rtol=1e-4, atol=1e-4)


def test_the_first_layers_statistics_are_the_moments_of_its_products():
    model = nn.Sequential(nn.Linear(5, 7), nn.BatchNorm1d(7), nn.ReLU(), nn.Linear(7, 3))
    x, y = torch.randn(60, 5, generator=rng_for(1)), torch.arange(60) % 3
    chip = program(model, HARDWARE, seed=0, chip=3)
    treated = BNRecalibration(images=60, batch_size=20).bind(model, HARDWARE, (x, y))(chip, seed=0, path=PATH)
    used, bias = the_used(x, 60).double().numpy(), model[0].bias.detach().double().numpy()
    h = (used @ chip["0.weight"].detach().double().numpy().T + bias).reshape(3, 20, 7)
    np.testing.assert_allclose(treated["1.running_mean"], h.mean(axis=1).mean(axis=0), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(treated["1.running_var"], h.var(axis=1, ddof=1).mean(axis=0), rtol=1e-4)


def test_no_image_is_left_over_and_no_batch_is_smaller_than_asked():
    model, (x, y) = convolutions(), images()
    treat = BNRecalibration(images=95, batch_size=30).bind(model, HARDWARE, (x, y))
    assert sorted(len(batch) for batch in treat.batches) == [31, 32, 32]
    treat = BNRecalibration(images=3, batch_size=2).bind(model, HARDWARE, (x, y))
    assert [len(batch) for batch in treat.batches] == [3]


def test_model_chip_modes_and_the_global_generator_stay_as_they_are():
    model, (x, y) = convolutions().train(), images()
    model[5].eval()
    chip = program(model, HARDWARE, seed=0, chip=3)
    before = copy.deepcopy((model.state_dict(), {n: t.clone() for n, t in chip.items()}))
    modes = [module.training for module in model.modules()]
    momenta = [getattr(module, "momentum", 0) for module in model.modules()]
    generator = torch.random.get_rng_state()
    BNRecalibration(images=90).bind(model, HARDWARE, (x, y))(chip, seed=0, path=PATH)
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[0][name])
    assert set(chip) == set(before[1]) and all(torch.equal(chip[n], before[1][n]) for n in chip)
    assert modes == [module.training for module in model.modules()]
    assert momenta == [getattr(module, "momentum", 0) for module in model.modules()]
    assert torch.equal(generator, torch.random.get_rng_state())


def test_a_failing_run_leaves_the_model_as_it_was():
    model, (x, y) = convolutions().train(), images()
    treat = BNRecalibration(images=90).bind(model, HARDWARE, (x[:, :2], y))
    with pytest.raises(RuntimeError):
        treat(program(model, HARDWARE, seed=0, chip=3), seed=0, path=PATH)
    assert model.training and model[1].momentum == 0.1 and int(model[1].num_batches_tracked) == 0


def test_a_norm_that_two_names_hold_is_measured_where_it_is_used():
    norm = nn.BatchNorm1d(6)
    model = nn.Sequential(nn.Linear(6, 6, bias=False), norm, nn.ReLU(), norm, nn.Linear(6, 3))
    x, y = torch.randn(40, 6, generator=rng_for(2)), torch.arange(40) % 3
    chip = program_weights(HARDWARE.crossbar(model), HARDWARE, seed=0, path=PATH)
    treated = BNRecalibration(images=40, batch_size=40).bind(model, HARDWARE, (x, y))(chip, seed=0, path=PATH)
    twin = by_hand(model, chip, [the_used(x, 40)])
    torch.testing.assert_close(treated["1.running_mean"], twin[1].running_mean)
    assert not [name for name in treated if name.startswith("3.")]


def test_evaluate_treats_each_chip_before_it_is_measured():
    model, (x, y) = convolutions(), images()
    mitigation = BNRecalibration(images=80, batch_size=40)
    draws = evaluate(model, HARDWARE, (x, y), chips=3, seed=5, mitigation=mitigation, calibration=(x, y))
    treat = mitigation.bind(model, HARDWARE, (x, y), seed=5)
    for n in range(3):
        chip = treat(program(model, HARDWARE, seed=5, chip=n), seed=5, path=("evaluate", n))
        row = measure(model, chip, ec.data.as_arrays((x, y)))
        assert float(draws.accuracy[n]) == row["accuracy"]
        assert float(draws.nll[n]) == pytest.approx(row["nll"], rel=1e-5)
    plain = evaluate(model, HARDWARE, (x, y), chips=3, seed=5)
    assert not torch.equal(plain.nll, draws.nll)


def test_evaluation_in_bfloat16_also_measures_in_bfloat16():
    model, (x, y) = convolutions(), images()
    options = {"chips": 2, "mitigation": BNRecalibration(images=90, batch_size=45), "calibration": (x, y)}
    full = evaluate(model, HARDWARE, (x, y), **options)
    half = evaluate(model, HARDWARE, (x, y), precision="bfloat16", **options)
    assert not torch.equal(full.nll, half.nll)
    torch.testing.assert_close(full.nll, half.nll, rtol=0.05, atol=0)


def test_it_wins_back_what_shifted_statistics_cost():
    with ec.rng.seeded_global_generator(0, "init"):
        layers = [[nn.Linear(24, 24), nn.BatchNorm1d(24), nn.ReLU()] for _ in range(4)]
        model = nn.Sequential(*(layer for block in layers for layer in block), nn.Linear(24, 4))
    x = torch.randn(600, 24, generator=rng_for(0, "x")) + 2
    model = by_hand(model, {}, [x])
    y = model(x).argmax(1)  # the digital network is always right, and so is a chip that computes the same
    plain = evaluate(model, HARDWARE, (x, y), chips=20)
    mitigation = BNRecalibration(images=500)
    again = evaluate(model, HARDWARE, (x, y), chips=20, mitigation=mitigation, calibration=(x, y))
    assert again.compare(plain).difference.low > 0.03, (plain.accuracy, again.accuracy)


def test_recipes_name_it_and_tables_know_that_it_is_per_chip():
    value = Mitigation.parse({"kind": "bn_recalibration", "images": 500})
    assert value == BNRecalibration(images=500) and value.per_chip
    assert value.table() == {"kind": "bn_recalibration", "images": 500, "batch_size": 250}


def test_what_cannot_be_recalibrated_is_refused_in_one_line():
    model, (x, y) = convolutions(), images()
    with pytest.raises(ModelError, match=r"Linear: found no batch norm .* leave this mitigation out$"):
        BNRecalibration().bind(nn.Linear(4, 2), HARDWARE, (x, y))
    with pytest.raises(ModelError, match="no batch norm"):
        BNRecalibration().bind(nn.Sequential(nn.BatchNorm1d(3, track_running_stats=False)), HARDWARE, (x, y))
    with pytest.raises(ConfigError, match=r"no calibration data; .* evaluate\(…, calibration=\(x, y\)\)$"):
        evaluate(model, HARDWARE, (x, y), mitigation=BNRecalibration())
    with pytest.raises(DataError, match=r"images: found 96 calibration images; .* the 1000 .*; images = 96$"):
        evaluate(model, HARDWARE, (x, y), mitigation=BNRecalibration(), calibration=(x, y))
    with pytest.raises(ConfigError, match="images: found 1"):
        BNRecalibration(images=1)
    assert math.isfinite(float(evaluate(model, HARDWARE, (x, y), chips=1).nll))


def test_evaluate_takes_a_mitigation_as_its_table_or_its_kind_and_refuses_what_is_none():
    model, (x, y) = convolutions(), images()
    hardware = Hardware(device=devices.Gaussian(sigma=0.3))

    def accuracy(mitigation):
        return evaluate(model, hardware, (x, y), chips=2, mitigation=mitigation, calibration=(x, y)).nll

    expected = accuracy(BNRecalibration(images=60, batch_size=20))
    table = {"kind": "bn_recalibration", "images": 60, "batch_size": 20}
    np.testing.assert_array_equal(accuracy(table), expected)
    for wrong in (3, "bn_recalibration_", {"kind": "bn_recalibration", "images": 1}):
        with pytest.raises(ConfigError, match="mitigation") as caught:
            accuracy(wrong)
        assert "\n" not in str(caught.value)
