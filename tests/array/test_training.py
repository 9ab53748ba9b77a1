"""Training through an array: gradients, methods, precision, mitigations, recipes."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn
from torch.func import functional_call

import everychip as ec
from everychip.array import Array
from everychip.hardware.chip import program_weights
from everychip.study.experiment import Experiment

FINE = Array(rows=9, columns=4, dac_bits=20, adc_bits=20)
COARSE = Array(rows=20, columns=4, dac_bits=4, adc_bits=3)
LAYERS = {
    "linear": (lambda: nn.Linear(20, 6), (7, 20)),
    "conv": (lambda: nn.Conv2d(4, 6, 3, padding=1, stride=2), (3, 4, 7, 7)),
    "grouped": (lambda: nn.Conv2d(4, 6, 3, groups=2), (3, 4, 7, 7)),
    "transposed": (lambda: nn.ConvTranspose2d(4, 6, 3, stride=2), (3, 4, 5, 5)),
    "attention": (lambda: nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True), (3, 5, 8)),
}


def gradients(layer, x, array, *, gradient="detached", mapping="bit_sliced"):
    """Of Σ c·y², c random, at every parameter and at the input, through chip 0."""
    hw = ec.Hardware(device=ec.devices.Gaussian(sigma=0.1), mapping=mapping, array=array)
    chip = program_weights(
        hw.crossbar(layer), hw, seed=0, path=("train", 0), gradient=gradient, columns=hw.columns(layer)
    )
    x = x.clone().requires_grad_()
    y = functional_call(layer, chip, (x,))
    weights = torch.randn(y.shape, generator=torch.Generator().manual_seed(1))
    return y.detach(), torch.autograd.grad((weights * y.square()).sum(), [x, *layer.parameters()])


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("gradient", ["detached", "pathwise", "clean"])
def test_fine_converters_have_the_gradients_of_the_programmed_weights(name, gradient):
    build, shape = LAYERS[name]
    torch.manual_seed(0)
    layer, x = build(), torch.randn(shape)
    y, found = gradients(layer, x, FINE, gradient=gradient)
    z, wanted = gradients(layer, x, None, gradient=gradient)
    assert torch.allclose(y, z, atol=1e-4)
    # Clean Jacobians are taken layer by layer here, and without an array of attention as a whole.
    near = 0.2 if (name, gradient) == ("attention", "clean") else 1e-3
    for one, other in zip(found, wanted, strict=True):
        assert torch.allclose(one, other, rtol=near, atol=near * float(other.abs().max()))


def test_coarse_converters_are_seen_through():
    layer, x = nn.Linear(20, 6, bias=False), torch.randn(7, 20)
    y, (at_x, at_w) = gradients(layer, x, COARSE)
    y = y * torch.randn(y.shape, generator=torch.Generator().manual_seed(1))
    weight = ec.program(layer, ec.Hardware(device=ec.devices.Ideal()), seed=0, chip=0)["weight"]
    hw = ec.Hardware(device=ec.devices.Gaussian(sigma=0.1))
    noisy = program_weights(hw.crossbar(layer), hw, seed=0, path=("train", 0))["weight"]
    assert torch.equal(weight, layer.weight)
    step = x.abs().max() / 7
    inputs = (x / step).round() * step
    assert torch.allclose(at_x, 2 * y @ noisy, atol=1e-5)
    assert torch.allclose(at_w, 2 * y.T @ inputs, atol=1e-4)


def test_a_second_derivative_passes_too():
    layer, x = nn.Linear(20, 6, bias=False), torch.randn(7, 20, requires_grad=True)
    chip = program_weights(
        {"weight": layer.weight}, ec.Hardware(device=ec.devices.Ideal(), array=FINE), seed=0, path=(),
        gradient="detached",
    )  # fmt: skip
    slope = torch.autograd.grad(functional_call(layer, chip, (x,)).square().sum(), x, create_graph=True)[0]
    found = torch.autograd.grad(slope.square().sum(), layer.weight)[0]
    plain = torch.autograd.grad(layer(x).square().sum(), x, create_graph=True)[0]
    wanted = torch.autograd.grad(plain.square().sum(), layer.weight)[0]
    assert torch.allclose(found, wanted, rtol=1e-3, atol=1e-2)


def test_digits_train_through_an_array_slice_by_slice():
    mapping = ec.mapping.BitSliced(weight_bits=8, cell_bits=2, quantize=True)
    layer, x = nn.Linear(20, 6), torch.randn(7, 20)
    y, found = gradients(layer, x, FINE, mapping=mapping)
    z, wanted = gradients(layer, x, None, mapping=mapping)
    assert torch.allclose(y, z, atol=1e-4)
    assert all(torch.allclose(a, b, atol=1e-3) for a, b in zip(found, wanted, strict=True))


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_training_through_an_array_learns(precision):
    data = ec.data.Digits()
    hw = ec.Hardware(
        device=ec.devices.Gaussian(sigma=0.05),
        array=Array(rows=64, columns=32, dac_bits=6, adc_bits=6, read_noise=0.02),
    )
    model = ec.models.MLP(hidden=(32,)).build((1, 8, 8), 10)
    before = ec.evaluate(model, hw, data, chips=3, calibration=data).accuracy.mean()
    options = {"epochs": 4, "batch_size": 32, "lr": 3e-3, "precision": precision}
    model = ec.fit(model, ec.methods.NoiseInjection(), data, hardware=hw, **options)
    after = ec.evaluate(model, hw, data, chips=3, calibration=data, precision=precision).accuracy.mean()
    assert before < 0.3
    assert after > 0.8


def test_training_through_a_coarse_dac_beats_training_without_it():
    data = ec.data.Digits()
    array = Array(rows=64, columns=32, dac_bits=2)
    plain = ec.Hardware(device=ec.devices.Gaussian(sigma=0.02))
    accuracy = {}
    for name, hw in (("without", plain), ("through", plain.replace(array=array))):
        model = ec.models.MLP(hidden=(32,)).build((1, 8, 8), 10)
        model = ec.fit(
            model, ec.methods.NoiseInjection(), data, hardware=hw, epochs=8, batch_size=32, lr=3e-3
        )
        draws = ec.evaluate(model, plain.replace(array=array), data, chips=5, calibration=data)
        accuracy[name] = float(draws.accuracy.mean())
    assert accuracy["through"] > accuracy["without"] + 0.05


@pytest.mark.parametrize(
    "method",
    [
        ec.methods.IRS(positions=("0",), hidden=8),
        ec.methods.OVF(),
        ec.methods.NoiseInjection(noise_gradient="clean"),
        ec.methods.Resilient(),
        ec.methods.SAM(noise=True),
        ec.methods.AdversarialWeight(attack_steps=1),
        ec.methods.Censored(),
    ],
    ids=lambda method: method.kind,
)
def test_methods_take_a_step_through_an_array(method):
    model = nn.Sequential(nn.Linear(20, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 4))
    x, y = torch.randn(16, 20), torch.arange(16) % 4
    hw = ec.Hardware(device=ec.devices.Gaussian(sigma=0.1), array=COARSE)
    objective = method.bind(model, hw, sample=x[:2], steps=10)
    loss = objective(x, y)
    loss.backward()
    assert math.isfinite(float(loss.detach()))
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize("gradient", ["detached", "pathwise", "clean"])
@pytest.mark.parametrize("mapping", ["bit_sliced", "direct"])
def test_censored_noise_passes_the_converters_and_has_its_gradients(gradient, mapping):
    """Fine converters change nothing, coarse ones the loss."""
    found = {}
    for name, array in (("none", None), ("fine", FINE), ("coarse", COARSE)):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(20, 8), nn.ReLU(), nn.Linear(8, 4))
        x, y = torch.randn(16, 20), torch.arange(16) % 4
        hw = ec.Hardware(device=ec.devices.Gaussian(sigma=0.1), mapping=mapping, array=array)
        loss = ec.methods.Censored(noise_gradient=gradient).bind(model, hw, seed=3)(x, y)
        loss.backward()
        found[name] = [loss.detach(), *(p.grad for p in model.parameters())]
    for one, other in zip(found["fine"], found["none"], strict=True):
        assert torch.allclose(one, other, rtol=1e-3, atol=1e-5)
    assert abs(found["coarse"][0] - found["none"][0]) > 1e-4


def test_censored_noise_has_no_digits_for_an_array_to_convert_alone():
    model, digits = nn.Linear(20, 4), ec.mapping.BitSliced(weight_bits=8, cell_bits=2, quantize=True)
    hw = ec.Hardware(device=ec.devices.Gaussian(sigma=0.1), mapping=digits, array=COARSE)
    with pytest.raises(ec.errors.ConfigError, match='shift_add = "analog"') as error:
        ec.methods.Censored().bind(model, hw)
    assert "\n" not in str(error.value)
    analog = hw.replace(array=COARSE.replace(shift_add="analog"))
    assert ec.methods.Censored().bind(model, analog)(torch.randn(8, 20), torch.arange(8) % 4).isfinite()


def test_read_noise_of_censored_chips_is_fresh_in_every_step_and_the_same_in_the_same():
    model, x, y = nn.Linear(20, 4), torch.randn(8, 20), torch.arange(8) % 4
    hw = ec.Hardware(device=ec.devices.Ideal(), array=Array(read_noise=0.1))
    objective = ec.methods.Censored().bind(model, hw)
    one, again = objective(x, y), objective(x, y)
    objective.after_step()
    assert torch.equal(one, again)
    assert not torch.equal(one, objective(x, y))


def test_bfloat16_products_stay_near_float32_ones(outputs):
    torch.manual_seed(0)
    model, x = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Flatten(), nn.Linear(288, 5)), torch.randn(4, 3, 8, 8)
    exact = outputs(model, x, Array(dac_bits=8, adc_bits=8))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rough = outputs(model, x, Array(dac_bits=8, adc_bits=8))
    assert rough.dtype == torch.bfloat16
    assert torch.allclose(rough.float(), exact, atol=0.03 * float(exact.abs().max()))


def test_mitigations_treat_chips_on_an_array():
    data = ec.data.Digits()
    model = ec.models.MLP(hidden=(16,)).build((1, 8, 8), 10)
    model = ec.fit(
        model, ec.methods.Vanilla(), data, hardware=ec.Hardware(device=ec.devices.Ideal()), epochs=3
    )
    hw = ec.Hardware(device=ec.devices.Gaussian(sigma=0.2), array=Array(rows=32, dac_bits=8, adc_bits=8))
    plain = ec.evaluate(model, hw, data, chips=6, calibration=data).accuracy.mean()
    written = ec.mitigate.SelectiveWriteVerify(fraction=0.5, score="magnitude")
    verified = ec.evaluate(model, hw, data, chips=6, mitigation=written, calibration=data).accuracy.mean()
    scaled = ec.mitigate.DriftCompensation(images=100)
    compensated = ec.evaluate(model, hw, data, chips=6, mitigation=scaled, calibration=data).accuracy.mean()
    assert verified > plain
    assert abs(compensated - plain) < 0.1


def test_drift_compensation_reads_attention_on_an_array_as_without_one(hardware):
    model = nn.Sequential(nn.Linear(8, 8), nn.TransformerEncoderLayer(8, 2, 16, batch_first=True))
    data = (torch.randn(20, 5, 8), torch.zeros(20, dtype=torch.long))
    scaled = {}
    for name, array in (("plain", None), ("array", Array(rows=5, columns=4))):
        hw = hardware(array)
        treat = ec.mitigate.DriftCompensation(images=20).bind(model, hw, data)
        scaled[name] = treat(ec.program(model, hw, seed=0, chip=0), seed=0, path=("evaluate", 0))
    for name, weight in scaled["array"].items():
        gain = weight.cells.gain
        assert torch.allclose(weight.cells.slices[0] * gain, scaled["plain"][name], atol=1e-6)
    assert any(abs(weight.cells.gain - 1) > 1e-4 for weight in scaled["array"].values())


def test_a_digital_factor_on_a_weight_scales_what_the_array_gives(hardware):
    layer, x = nn.Linear(20, 6, bias=False), torch.randn(7, 20)
    chip = ec.program(layer, hardware(COARSE), seed=0, chip=0)
    twice = {"weight": chip["weight"] * 2.0}
    with torch.no_grad():
        assert torch.allclose(functional_call(layer, twice, (x,)), 2 * functional_call(layer, chip, (x,)))


def test_an_absent_array_leaves_the_ids_of_runs_as_they_were():
    plain = Experiment.from_toml("digits")
    assert "array" not in plain.table()["hardware"]
    with_array = Experiment.from_toml("digits", ["hardware.array.rows=64", "hardware.array.adc_bits=8"])
    assert with_array.hardware.array == Array(rows=64, adc_bits=8)
    assert with_array.id != plain.id


def test_a_recipe_runs_through_an_array(tmp_path):
    from everychip.study.execution import run

    settings = [
        "hardware.array={ rows = 64, columns = 64, dac_bits = 8, adc_bits = 6, read_noise = 0.02 }",
        "training.epochs=1",
        "evaluation.chips=2",
        "evaluation.sigma=[0.1]",
        "compute.threads=1",
    ]
    folder = tmp_path / "run"
    run(Experiment.from_toml("digits", settings), folder)
    assert (folder / "draws.parquet").exists()
    assert "[hardware.array]" in (folder / "recipe.toml").read_text()
