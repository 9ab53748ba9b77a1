"""Noisy values forward, clean Jacobians backward, for whatever the weight is used in."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from reference import straight_through as reference
from reference.zoo import ARCHITECTURES, FreeMatrices, SelfAttention, architecture
from torch import nn

from everychip import Hardware, devices
from everychip.hardware.chip import program_weights, run
from everychip.network.straight_through import CleanGradientWeight, with_clean_gradient
from everychip.rng import seeded_global_generator

HARDWARE = Hardware(device=devices.Gaussian(sigma=0.3))


def chip_of(model, gradient):
    return program_weights(HARDWARE.crossbar(model), HARDWARE, seed=0, path=("t", 0), gradient=gradient)


def gradients(model, loss):
    model.zero_grad()
    loss.backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize(
    ("layers", "literal", "shape"),
    [
        (
            lambda: nn.Sequential(nn.Linear(7, 9, bias=False), nn.ReLU(), nn.Linear(9, 4, bias=False)),
            reference.two_layers,
            (6, 7),
        ),
        (
            lambda: nn.Sequential(
                nn.Conv2d(2, 3, 3, bias=False), nn.ReLU(), nn.Conv2d(3, 4, 2, bias=False), nn.ReLU(),
                nn.Flatten(), nn.Linear(4 * 9, 4, bias=False),
            ),
            reference.small_convolutional_net,
            (6, 2, 6, 6),
        ),
    ],
    ids=["two layers", "convolutional"],
)  # fmt: skip
def test_values_and_gradients_are_those_of_the_estimator_by_hand(layers, literal, shape):
    model, x, y = layers().double(), torch.randn(shape).double(), torch.tensor([0, 1, 2, 3, 0, 1])
    chip = chip_of(model, "clean")
    z = run(model, chip, x)
    found = gradients(model, F.cross_entropy(z, y))
    clean = [p.detach().numpy() for p in model.parameters()]
    noisy = [chip[name].noisy.numpy() for name, _ in model.named_parameters()]
    expected_z, expected = literal(x.numpy(), y.numpy(), clean, noisy)
    torch.testing.assert_close(z.detach(), torch.from_numpy(expected_z))
    for (name, _), slope in zip(model.named_parameters(), expected, strict=True):
        torch.testing.assert_close(found[name], torch.from_numpy(slope))


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_the_outputs_are_those_of_the_noisy_weights(name):
    model, x = architecture(name)
    model.eval()
    clean, detached = (run(model, chip_of(model, kind), x) for kind in ("clean", "detached"))
    torch.testing.assert_close(clean, detached, rtol=1e-4, atol=1e-5)
    assert type(clean) is torch.Tensor


ONE_FUNCTION = [
    "linear",
    "conv1d",
    "conv2d",
    "conv3d",
    "grouped",
    "transposed 2d",
    "attention",
    "rnn",
    "lstm",
    "gru",
]


@pytest.mark.parametrize("name", ONE_FUNCTION)
def test_a_layer_that_is_one_function_differentiates_as_the_clean_one(name):
    model, x = architecture(name)
    x.requires_grad_()
    slope = torch.randn_like(run(model, {}, x))
    found = gradients(model, (run(model, chip_of(model, "clean"), x) * slope).sum())
    of_input = x.grad.clone()
    x.grad = None
    expected = gradients(model, (model(x) * slope).sum())
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        torch.testing.assert_close(found[key], value, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(of_input, x.grad, rtol=1e-4, atol=1e-5)


def test_transposed_and_multiplied_free_matrices_stay_weights():
    model, x = FreeMatrices(), torch.randn(3, 8, requires_grad=True)
    chip = chip_of(model, "clean")
    assert isinstance(chip["named.last"].T, CleanGradientWeight)
    assert isinstance(chip["more.0"] @ chip["more.1"], CleanGradientWeight)
    run(model, chip, x).sum().backward()
    slope = torch.ones(3, 4) @ model.named["last"]
    for matrix in (model.more[1], model.more[0], model.mixing):
        slope = slope @ matrix.T
    torch.testing.assert_close(x.grad, slope, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ["norms and dropout", "encoder", "lstm"])
def test_whole_networks_train_every_parameter(name):
    model, x = architecture(name)
    found = gradients(model.train(), run(model, chip_of(model, "clean"), x).square().sum())
    assert found.keys() == {key for key, _ in model.named_parameters()}
    assert all(bool(value.isfinite().all()) and float(value.abs().max()) > 0 for value in found.values())


def test_both_passes_draw_the_same_dropout_mask():
    model, x = SelfAttention(dropout=0.5).train(), torch.randn(3, 5, 8)
    outputs = []
    for kind in ("clean", "detached"):
        chip = chip_of(model, kind)
        with seeded_global_generator(0, "dropout"):
            outputs.append(run(model, chip, x))
            after = torch.rand(1)
        outputs.append(after)
    torch.testing.assert_close(outputs[0], outputs[2], rtol=1e-4, atol=1e-5)
    assert torch.equal(outputs[1], outputs[3]), "the two passes move the generator as one does"


@pytest.mark.parametrize("name", ["linear", "conv2d", "attention", "encoder"])
def test_it_works_under_bfloat16_autocast(name):
    model, x = architecture(name)
    model.eval()
    exact = run(model, chip_of(model, "clean"), x)
    expected = gradients(model, exact.square().sum())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = run(model, chip_of(model, "clean"), x)
    torch.testing.assert_close(output.float(), exact, rtol=0.05, atol=0.1)
    found = gradients(model, output.float().square().sum())
    for key, value in expected.items():
        assert found[key].dtype == torch.float32
        assert float((found[key] - value).norm()) <= 0.1 * float(value.norm()) + 1e-3, key


def test_without_noise_it_is_ordinary_differentiation():
    weight, x = torch.randn(4, 3, requires_grad=True), torch.randn(5, 3)
    F.linear(x, with_clean_gradient(weight, weight.detach())).square().sum().backward()
    found, weight.grad = weight.grad, None
    F.linear(x, weight).square().sum().backward()
    torch.testing.assert_close(found, weight.grad)


def test_shapes_and_types_are_read_as_from_any_weight():
    weight = with_clean_gradient(torch.zeros(4, 3, requires_grad=True), torch.ones(4, 3))
    assert (tuple(weight.shape), weight.dtype, weight.ndim, weight.device.type) == (
        (4, 3),
        torch.float32,
        2,
        "cpu",
    )
    assert weight.size(0) == 4
    assert not weight.is_cuda


def test_the_model_and_the_global_generator_stay_as_they_were():
    model, x = architecture("conv2d")
    before = torch.get_rng_state()
    run(model, chip_of(model, "clean"), x).sum().backward()
    assert torch.equal(torch.get_rng_state(), before)
    assert all(type(p) is nn.Parameter for p in model.parameters())
