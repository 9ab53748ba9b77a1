"""The recipe that survives reads the device's law, and its loss is the equation in its docstring."""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest
import torch
from reference import losses
from torch import nn

from everychip import (
    Experiment,
    Hardware,
    constraints,
    data,
    devices,
    effective_sigma,
    mapping,
    methods,
    models,
)
from everychip.errors import ConfigError
from everychip.methods.probe import same_masks
from everychip.methods.resilient import noise_to_signal, normalised, spread
from everychip.study.recipes import find
from everychip.training.loop import Training, train

FEFET = devices.preset("FeFET6", sigma=0.4)
FACTOR = math.sqrt(1 + 4**2 + 16**2 + 64**2) / 85  # σ_W of 8-bit weights in 2-bit cells of σ = 1


def on(device, **fields):
    return Hardware(device=device, **fields)


# --- what it chooses --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sigma", "alpha"), [(0.4, 1.3), (0.2, 1.3), (0.1, 0.16 / (FACTOR * 0.1)), (0.0, 2.5)]
)
def test_alpha_is_the_target_over_the_effective_noise_within_its_bounds(sigma, alpha):
    chosen = methods.Resilient().resolved(on(devices.Gaussian(sigma=sigma)))
    assert chosen.alpha == pytest.approx(alpha, abs=1e-4)
    assert chosen.constraint == constraints.clip(chosen.alpha)


def test_a_law_of_bands_counts_with_the_mean_of_its_variances():
    s = FACTOR * 0.2 * math.sqrt((FEFET.multipliers[0] ** 2 + FEFET.multipliers[1] ** 2) / 2)
    hardware = on(FEFET.with_sigma(0.2))
    assert spread(hardware) == pytest.approx(s, rel=1e-2)
    assert methods.Resilient(target=0.3).resolved(hardware).alpha == pytest.approx(0.3 / s, rel=1e-2)


@pytest.mark.parametrize(
    ("device", "gradient"),
    [
        (devices.Gaussian(sigma=0.2), "detached"),
        (devices.preset("RRAM1", sigma=0.2), "detached"),
        (FEFET, "pathwise"),
        (devices.Mismatch(sigma=0.2), "pathwise"),
    ],
    ids=lambda value: getattr(value, "label", value),
)
def test_the_gradient_goes_through_the_law_where_the_law_reads_the_conductance(device, gradient):
    assert methods.Resilient().resolved(on(device)).noise_gradient == gradient
    assert methods.Resilient(noise_gradient="clean").resolved(on(device)).noise_gradient == "clean"


@pytest.mark.parametrize("alpha_of", ["network", "layer"])
def test_what_is_resolved_stays_and_survives_its_own_table(alpha_of):
    chosen = methods.Resilient(alpha_of=alpha_of, rescale="none").resolved(on(FEFET))
    assert chosen.resolved(on(devices.Gaussian(sigma=0.01))) == chosen
    assert methods.Method.parse(chosen.table()) == chosen


def test_a_constraint_of_ones_own_takes_the_place_of_alpha(setting):
    method = methods.Resilient(alpha=1.2, constraint=constraints.clip(2.0), ramp=0)
    assert method.bind(setting.model, setting.hardware).method.constraint == constraints.clip(2.0)


def test_a_number_for_alpha_is_taken_as_it_is():
    chosen = methods.Resilient(alpha=3.0).resolved(on(FEFET))
    assert (chosen.alpha, chosen.constraint) == (3.0, constraints.clip(3.0))


def test_bind_trains_with_what_is_resolved_and_leaves_digital_layers_alone(setting):
    kept = setting.model.out.weight.detach().clone()
    hardware = setting.hardware.replace(digital=("out",), device=FEFET)
    objective = methods.Resilient(ramp=0).bind(setting.model, hardware)
    assert objective.method == methods.Resilient(ramp=0).resolved(hardware)
    assert torch.equal(setting.model.out.weight, kept)
    w = setting.model.hidden.weight.detach()
    assert float(w.abs().max() / w.square().mean().sqrt()) < 1.45 < 1.7


@pytest.mark.parametrize(
    ("rescale", "kept"),
    [("auto", {"hidden", "out"}), ("all", {"conv1", "conv2", "hidden", "out"}), ("none", set())],
)
def test_layers_without_a_normalisation_keep_their_rms(setting, rescale, kept):
    before = {name: p.detach().square().mean().sqrt() for name, p in setting.model.named_parameters()}
    objective = methods.Resilient(rescale=rescale, alpha=1.2, ramp=0).bind(setting.model, setting.hardware)
    for _ in range(10):
        objective.after_step()
    for name in ("conv1", "conv2", "hidden", "out"):
        w = setting.model.get_parameter(f"{name}.weight").detach()
        assert float(w.abs().max() / w.square().mean().sqrt()) < 1.22
        ratio = float(w.square().mean().sqrt() / before[f"{name}.weight"])
        assert (ratio == pytest.approx(1.0, rel=1e-4)) == (name in kept)


def test_the_layers_that_a_norm_follows_are_found_in_the_papers_networks():
    hardware = on(devices.Gaussian(sigma=0.1))
    for model, without in ((models.VGG8(width=4), 2), (models.ResNet18(width=4), 1), (models.LeNet(), 5)):
        objective = methods.NoiseInjection().bind(model.build((1, 32, 32), 10), hardware)
        assert len(objective.weights) - len(normalised(objective)) == without
    objective = methods.NoiseInjection().bind(
        models.Transformer(dim=8, heads=2).build((1, 8, 8), 10), hardware
    )
    assert normalised(objective) == [], "a layer norm on a sum does not take out the scale of one addend"


@pytest.mark.parametrize("network", [models.VGG8(width=4), models.ResNet18(width=4), models.LeNet()])
def test_in_the_papers_networks_the_order_of_use_is_that_of_definition(network):
    model, hardware = network.build((1, 32, 32), 10), on(devices.Gaussian(sigma=0.1))
    defined, used = (
        normalised(methods.NoiseInjection().bind(model, hardware, sample=sample))
        for sample in (None, torch.zeros(2, 1, 32, 32))
    )
    assert defined == used


class OutOfOrder(nn.Module):
    """Norms that are defined after all layers, one of them after the layer that it does not follow."""

    def __init__(self):
        super().__init__()
        self.first, self.second, self.head = nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 3)
        self.norm = nn.BatchNorm1d(8)

    def forward(self, x):
        return self.head(self.second(torch.relu(self.norm(self.first(x)))))


def test_layers_and_norms_are_paired_in_the_order_of_use():
    model = OutOfOrder()
    before = {name: buffer.clone() for name, buffer in model.named_buffers()}
    objective = methods.Resilient(alpha=1.2, ramp=0).bind(
        model, on(devices.Gaussian(sigma=0.1)), sample=torch.randn(4, 8)
    )
    assert normalised(objective) == ["first.weight"]
    assert all(torch.equal(buffer, before[name]) for name, buffer in model.named_buffers())
    rms = {name: float(w.detach().square().mean().sqrt()) for name, w in objective.weights.items()}
    for _ in range(5):
        objective.after_step()
    ratio = {
        name: float(w.detach().square().mean().sqrt()) / rms[name] for name, w in objective.weights.items()
    }
    assert ratio["second.weight"] == pytest.approx(1.0, rel=1e-4), "its scale nothing else restores"
    assert ratio["first.weight"] < 0.999


def test_frozen_layers_stay_to_the_bit(setting):
    setting.model.hidden.weight.requires_grad_(False)
    kept = setting.model.hidden.weight.clone()
    methods.Resilient(ramp=0).bind(setting.model, setting.hardware).after_step()
    assert torch.equal(setting.model.hidden.weight, kept)


# --- the loss ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("beta", [0.4, -0.5])
def test_the_loss_with_feedback_and_penalty_is_its_equation(setting, beta):
    hardware = on(devices.Gaussian(sigma=0.2))
    method = methods.Resilient(feedback=beta, noise_penalty=0.7, alpha=1.5, ramp=0, chips=1)
    objective = method.bind(setting.model, hardware, seed=3)
    chip = objective.chip()
    z, clean = (setting.logits(held).double().numpy() for held in (chip, {}))
    penalty = 0.0
    for name in chip:
        w = setting.model.get_parameter(name).detach().double().numpy()
        penalty += (0.2 * FACTOR * np.abs(w).max()) ** 2 / (w**2).mean()
    expected = losses.cross_entropy(z - beta * (z - clean), setting.labels) + 0.7 * penalty
    assert float(objective(setting.x, setting.y).detach()) == pytest.approx(expected, rel=1e-5)


def test_feedback_gives_the_share_of_the_gradient_and_nothing_through_the_clean_pass(setting):
    objective = methods.Resilient(feedback=0.4, ramp=0, chips=1).bind(setting.model, setting.hardware, seed=3)
    with torch.no_grad():
        constant = copy.deepcopy(setting.model)(setting.x)
    objective(setting.x, setting.y).backward()
    found = setting.model.out.weight.grad.clone()
    setting.model.zero_grad()
    z = objective.noisy_logits(setting.x)
    nn.functional.cross_entropy(0.6 * z + 0.4 * constant, setting.y).backward()
    torch.testing.assert_close(found, setting.model.out.weight.grad, rtol=1e-4, atol=1e-6)


def test_without_feedback_and_penalty_it_is_noise_injection_on_flat_weights(setting):
    twin = copy.deepcopy(setting.model)
    own = methods.Resilient(alpha=1.3, rescale="none", ramp=0, chips=1).bind(
        setting.model, setting.hardware, seed=3
    )
    flat = methods.NoiseInjection(constraint=constraints.clip(1.3)).bind(twin, setting.hardware, seed=3)
    assert torch.equal(own(setting.x, setting.y), flat(setting.x, setting.y))


def test_the_clean_pass_moves_no_statistics_and_no_generator(setting):
    objective = methods.Resilient(feedback=0.4, ramp=0, chips=1).bind(setting.model, setting.hardware)
    with same_masks(objective):
        before = torch.get_rng_state()
        objective(setting.x, setting.y)
        assert torch.equal(before, torch.get_rng_state())
    assert int(setting.model.norm1.num_batches_tracked) == 1


# --- the law, differentiated ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "law",
    [
        on(FEFET),
        on(devices.preset("RRAM1", sigma=0.3)),
        on(devices.Gaussian(sigma=0.1), mapping=mapping.Direct()),
        on(FEFET.replace(level_of="cell"), mapping=mapping.BitSliced(quantize=True)),
    ],
    ids=lambda law: law.device.label,
)
def test_the_share_of_noise_is_the_square_of_the_effective_sigma(law):
    layer = nn.Linear(90, 70)
    expected = effective_sigma(layer, law).of_rms ** 2
    tolerance = 0.1 if law.device.needs_digits else 0.01
    assert float(noise_to_signal(layer.weight, law).detach()) == pytest.approx(expected, rel=tolerance)


def test_the_penalty_empties_the_loud_bands_of_a_fefet():
    """By descent on the penalty alone; the exact derivative of the staircase would leave them full."""
    w = (torch.rand(40, 40) * 2 - 1).requires_grad_()
    hardware, optimizer = on(FEFET), torch.optim.Adam([w], lr=0.02)
    loud, before = [], float(noise_to_signal(w.detach(), hardware))
    for _ in range(60):
        g = (w.detach() / w.detach().abs().max()).abs()
        loud.append(float(((g > 0.25) & (g < 0.75)).float().mean()))
        optimizer.zero_grad()
        noise_to_signal(w, hardware).backward()
        optimizer.step()
    assert loud[0] > 0.4
    assert loud[-1] < 0.1
    assert float(noise_to_signal(w.detach(), hardware)) < 0.2 * before


def test_a_uniform_device_is_penalised_for_the_largest_weight_only():
    w = torch.tensor([2.0, 1.0, -0.5], requires_grad=True)
    hardware = on(devices.Gaussian(sigma=0.2), mapping=mapping.Direct())
    noise_to_signal(w, hardware).backward()
    v = w.detach().clone().requires_grad_()
    (0.04 * v.abs().max().square() / v.square().mean()).backward()
    torch.testing.assert_close(w.grad, v.grad)


def test_a_layer_of_zeros_has_no_noise_and_a_finite_gradient():
    w = torch.zeros(3, 4, requires_grad=True)
    value = noise_to_signal(w, on(FEFET))
    value.backward()
    assert float(value.detach()) == 0.0
    assert bool(w.grad.isfinite().all())


# --- what it is for ---------------------------------------------------------------------------------------


def test_on_a_fefet_it_ends_with_less_noise_and_more_accuracy_than_noise_injection():
    splits, hardware = data.Data.parse("digits").load(), on(FEFET)
    ended = {}
    for method in (methods.NoiseInjection(ramp=0.5), methods.Resilient()):
        model = models.MLP(hidden=(32,)).build(tuple(splits.train.x.shape[1:]), 10, seed=0)
        training = Training(epochs=6, batch_size=32, lr=3e-3, validation_chips=2)
        fitted = train(model, method, splits.train, hardware=hardware, training=training)
        score = fitted.history[fitted.best_epoch]["accuracy"]
        ended[method.kind] = effective_sigma(fitted.model, hardware).of_rms, score
    assert ended["resilient"][0] < 0.4 * ended["noise_injection"][0]
    assert ended["resilient"][1] > ended["noise_injection"][1]


@pytest.mark.parametrize(
    "model",
    [models.LeNet(), models.Transformer(dim=8, heads=2), models.GRU(hidden=6), models.ResNet18(width=4)],
    ids=lambda model: model.kind,
)
@pytest.mark.parametrize("alpha_of", ["network", "layer"])
def test_it_trains_any_kind_of_model(model, alpha_of):
    x, y = torch.randn(24, 1, 16, 16), torch.arange(24) % 2
    method = methods.Resilient(alpha_of=alpha_of, feedback=0.2, noise_penalty=0.1)
    fitted = train(
        model.build((1, 16, 16), 2, seed=0),
        method,
        data.Arrays(x, y),
        hardware=on(FEFET),
        training=Training(epochs=1, batch_size=10, validation_chips=1),
    )
    assert fitted.status != "diverged"
    assert fitted.forwards == int(20 * method.forwards)
    for layer in effective_sigma(fitted.model, on(FEFET)).layers:
        assert layer.of_rms < 0.6


# --- refusals ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("alpha", 0.9),
        ("alpha", "automatic"),
        ("alpha", float("nan")),
        ("alpha", float("inf")),
        ("alpha_of", "weight"),
        ("target", 0.0),
        ("feedback", 1.0),
        ("noise_penalty", -0.1),
        ("noise_gradient", "dirty"),
        ("rescale", "sometimes"),
    ],
)
def test_what_it_cannot_mean_is_refused_in_one_line(field, value):
    with pytest.raises(ConfigError, match=rf"^method\.{field}: ") as error:
        methods.Method.parse({"kind": "resilient", field: value})
    assert "\n" not in str(error.value)


def test_its_ramp_needs_the_length_of_training(setting):
    with pytest.raises(ConfigError, match=r"method\.ramp.*steps=epochs"):
        methods.Resilient().bind(setting.model, setting.hardware)


# --- its recipe -------------------------------------------------------------------------------------------


def test_every_command_in_the_recipe_is_one_that_can_be_run():
    lines = find("resilient").read_text(encoding="utf-8").splitlines()
    commands = [line.split() for line in lines if line.startswith("#   everychip run resilient")]
    read = [Experiment.from_toml("resilient", [w for w in words[4:] if w != "--set"]) for words in commands]
    assert len({experiment.id for experiment in read}) == len(commands) >= 4
    assert {experiment.method for experiment in read} == {methods.Resilient()}
    assert [experiment.evaluation.mitigation is not None for experiment in read].count(True) == 1
