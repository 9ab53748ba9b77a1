"""What composes with every method, and the training loop of one's own."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from everychip import Hardware, constraints, data, devices, methods, rng_for
from everychip.errors import ConfigError
from everychip.methods.ovf import running_statistics

ALL = {
    "vanilla": methods.Vanilla,
    "noise_injection": methods.NoiseInjection,
    "temperature": methods.Temperature,
    "deep_supervision": lambda **f: methods.DeepSupervision(hidden=16, **f),
    "over_noise": lambda **f: methods.OverNoise(**{"ramp": 0.0, **f}),
    "irs": lambda **f: methods.IRS(hidden=16, **f),
    "ovf": methods.OVF,
}
NOISY = [name for name in ALL if name != "vanilla"]


def bind(method, setting, **options):
    return method.bind(setting.model, setting.hardware, seed=1, sample=setting.x[:2], **options)


def step(objective, setting, lr=0.01):
    optimizer = torch.optim.SGD(objective.parameters(), lr=lr)
    optimizer.zero_grad()
    loss = objective(setting.x, setting.y)
    loss.backward()
    optimizer.step()
    objective.after_step()
    return float(loss.detach())


# --- noise over training ----------------------------------------------------------------------------------


def test_these_methods_are_known_by_their_names():
    assert set(ALL) <= set(methods.Method.kinds())


@pytest.mark.parametrize("name", NOISY)
def test_every_step_meets_fresh_chips_and_the_same_step_the_same_ones(setting, chips_run, name):
    objective = bind(ALL[name](), setting)
    for _ in range(2):
        objective(setting.x, setting.y)
    first, again = chips_run[: len(chips_run) // 2], chips_run[len(chips_run) // 2 :]
    for one, other in zip(first, again, strict=True):
        assert torch.equal(one["out.weight"], other["out.weight"])
    chips_run.clear()
    objective.after_step()
    objective(setting.x, setting.y)
    assert not torch.equal(chips_run[0]["out.weight"], first[0]["out.weight"])


def test_training_chips_are_neither_those_of_validation_nor_of_evaluation(setting):
    from everychip import program

    objective = bind(methods.NoiseInjection(), setting)
    trained = []
    for _ in range(20):
        trained.append(objective.chip()["out.weight"].detach())
        objective.after_step()
    measured = [
        program(setting.model, setting.hardware, seed=1, chip=chip, purpose=purpose)["out.weight"]
        for chip in range(20)
        for purpose in ("evaluate", "validate")
    ]
    assert not any(torch.equal(one, other) for one in trained for other in measured)


def test_a_ramp_reaches_full_noise_linearly_at_its_share_of_the_steps(setting):
    objective = bind(methods.NoiseInjection(ramp=0.5), setting, steps=20)
    weight = setting.model.hidden.weight.detach()
    shown = []
    for _ in range(20):
        shown.append(setting.sigma("hidden.weight", objective.chip()))
        objective.after_step()
    expected = [0.2 * min(1.0, n / 10) for n in range(20)]
    assert shown == pytest.approx(expected, rel=0.08, abs=1e-9)
    assert torch.equal(setting.model.hidden.weight, weight)


@pytest.mark.parametrize("name", NOISY)
def test_a_ramp_begins_without_noise_in_every_forward(setting, chips_run, name):
    objective = bind(ALL[name](ramp=1.0), setting, steps=8)
    objective(setting.x, setting.y)
    for chip in chips_run:
        assert setting.sigma("hidden.weight", chip) == 0.0


@pytest.mark.parametrize("name", ALL)
def test_a_ramp_needs_the_length_of_training(setting, name):
    with pytest.raises(ConfigError, match=r"method\.ramp.*steps=epochs") as error:
        bind(ALL[name](ramp=0.5), setting)
    assert "\n" not in str(error.value)


# --- what backward sees -----------------------------------------------------------------------------------


def gradients(method, setting):
    model = copy.deepcopy(setting.model)
    objective = method.bind(model, setting.hardware, seed=1, sample=setting.x[:2])
    objective(setting.x, setting.y).backward()
    return {name: p.grad for name, p in model.named_parameters()}


def noisy_leaves(setting, make):
    """Gradients of a literal model whose weights are `make(W, N)`, N the normals of this step's chip."""
    model = copy.deepcopy(setting.model)
    objective = methods.NoiseInjection().bind(model, setting.hardware, seed=1)
    weights, chip = {}, {}
    for name, noisy in objective.chip().items():
        weight = model.get_parameter(name).detach().clone().requires_grad_()
        normal = (noisy.detach() - weight.detach()) / weight.detach().abs().max()
        weights[name], chip[name] = weight, make(weight, normal)
    loss = cross_entropy(torch.func.functional_call(model, chip, (setting.x,)), setting.y)
    return dict(zip(weights, torch.autograd.grad(loss, list(weights.values())), strict=True))


@pytest.mark.parametrize(
    ("kind", "make"),
    [
        ("detached", lambda w, n: w + n * w.detach().abs().max()),
        ("pathwise", lambda w, n: w + n * w.abs().max()),
    ],
)
def test_the_gradient_is_that_of_autograd_through_the_law_written_out(setting, kind, make):
    found = gradients(methods.NoiseInjection(noise_gradient=kind), setting)
    for name, expected in noisy_leaves(setting, make).items():
        torch.testing.assert_close(found[name], expected, rtol=1e-4, atol=1e-6)


def test_the_three_gradients_differ(setting):
    found = [
        gradients(methods.NoiseInjection(noise_gradient=kind), setting)["conv1.weight"]
        for kind in ("detached", "pathwise", "clean")
    ]
    assert not torch.allclose(found[0], found[1])
    assert not torch.allclose(found[0], found[2])


@pytest.mark.parametrize("kind", ["detached", "pathwise", "clean"])
@pytest.mark.parametrize("name", NOISY)
def test_every_method_works_with_every_gradient(setting, name, kind):
    values = []
    for gradient in ("detached", kind):
        model = copy.deepcopy(setting.model)
        method = ALL[name](noise_gradient=gradient)
        objective = method.bind(model, setting.hardware, seed=1, sample=setting.x[:2])
        loss = objective(setting.x, setting.y)
        loss.backward()
        values.append(float(loss.detach()))
        assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in objective.parameters())
    assert values[1] == pytest.approx(values[0], rel=1e-4)


# --- weights ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ALL)
def test_a_constraint_holds_from_the_start_and_after_every_step(setting, name):
    matrices = [setting.model.get_parameter(f"{m}.weight") for m in ("conv1", "conv2", "hidden", "out")]

    def stretched():
        """One weight of each matrix far out; what a clamp at 1.5·rms leaves of it all."""
        with torch.no_grad():
            for w in matrices:
                w.view(-1)[0] = 20 * w.square().mean().sqrt()
        limits = [1.5 * float(w.detach().square().mean().sqrt()) for w in matrices]
        return [w.detach().clamp(-most, most) for w, most in zip(matrices, limits, strict=True)]

    expected = stretched()
    objective = bind(ALL[name](constraint=constraints.clip(1.5)), setting)
    optimizer = torch.optim.SGD(objective.parameters(), lr=0.05)
    for _ in range(3):
        for found, clamped in zip(matrices, expected, strict=True):
            torch.testing.assert_close(found.detach(), clamped)
        optimizer.zero_grad()
        objective(setting.x, setting.y).backward()
        optimizer.step()
        expected = stretched()
        objective.after_step()


@pytest.mark.parametrize("name", ALL)
def test_gain_and_smoothing_take_hold(setting, name):
    losses = []
    for smoothing in (0.0, 0.4):
        twin = copy.deepcopy(setting.model)
        objective = ALL[name](label_smoothing=smoothing).bind(
            twin, setting.hardware, seed=1, sample=setting.x[:2]
        )
        losses.append(float(objective(setting.x, setting.y).detach()))
    assert losses[0] != pytest.approx(losses[1], rel=1e-4)
    before = setting.model.out.weight.detach().clone()
    bind(ALL[name](last_layer_gain=0.5), setting)
    torch.testing.assert_close(setting.model.out.weight.detach(), 0.5 * before)


def test_a_constraint_spares_frozen_weights_and_biases(setting):
    setting.model.conv1.weight.requires_grad_(False)
    kept = {
        name: p.detach().clone()
        for name, p in setting.model.named_parameters()
        if name == "conv1.weight" or p.ndim < 2
    }
    bind(methods.NoiseInjection(constraint=constraints.clip(1.0)), setting).after_step()
    for name, value in kept.items():
        assert torch.equal(setting.model.get_parameter(name), value)


def test_the_gain_scales_the_last_matrix_once(setting):
    before = copy.deepcopy(setting.model.state_dict())
    objective = bind(methods.NoiseInjection(last_layer_gain=0.25), setting)
    objective.after_step()
    for name, value in setting.model.state_dict().items():
        torch.testing.assert_close(value, 0.25 * before[name] if name == "out.weight" else before[name])


# --- batch norm -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("choice", ["backbone", "all"])
def test_running_statistics_move_with_the_forwards_they_are_told_to(setting, chips_run, choice):
    twin = copy.deepcopy(setting.model)
    bind(methods.OVF(batch_norm=choice), setting)(setting.x, setting.y)
    assert len(chips_run) == 4
    with torch.no_grad():
        for chip in chips_run if choice == "all" else chips_run[:1]:
            held = {name: value for name, value in chip.items() if "norm" not in name}
            torch.func.functional_call(twin, held, (setting.x,))
    for name, value in running_statistics(twin).items():
        torch.testing.assert_close(setting.model.get_buffer(name), value)
    assert int(setting.model.norm1.num_batches_tracked) == (4 if choice == "all" else 1)


def test_ovf_gradients_flow_through_all_its_forwards(setting):
    """With β = 0 the feedback forwards must not matter; with β they must."""
    quiet, fed = (gradients(methods.OVF(beta=b), setting)["conv1.weight"] for b in (0.0, 2.0))
    one = gradients(methods.Temperature(temperature=4.0), setting)["conv1.weight"]
    torch.testing.assert_close(quiet, one, rtol=1e-4, atol=1e-7)
    assert not torch.allclose(fed, one, rtol=1e-2)


# --- a loop of one's own ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ALL)
def test_ones_own_loop_learns_and_gives_the_same_model_back(name):
    x = torch.randn(256, 6, generator=rng_for(0))
    y = (x[:, 0] > 0).long() + 2 * (x[:, 1] > 0).long()
    model = nn.Sequential(nn.Linear(6, 32), nn.ReLU(), nn.Linear(32, 16), nn.ReLU(), nn.Linear(16, 4))
    keys = list(model.state_dict())
    hardware = Hardware(device=devices.Gaussian(sigma=0.05))
    objective = ALL[name]().bind(model, hardware, seed=0, sample=x[:2])
    optimizer = torch.optim.Adam(objective.parameters(), lr=1e-2)
    losses = []
    for _ in range(60):
        loss = objective(x, y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        objective.after_step()
        losses.append(float(loss.detach()))
    assert objective.detach() is model
    assert list(model.state_dict()) == keys
    assert not any(module._forward_hooks for module in model.modules())
    assert losses[-1] < 0.6 * losses[0]
    assert float((model(x).argmax(1) == y).float().mean()) > 0.85


def test_the_exits_are_trained_beside_the_model(setting):
    objective = bind(methods.DeepSupervision(hidden=8), setting)
    before = [p.detach().clone() for p in objective.exits.parameters()]
    step(objective, setting)
    assert all(not torch.equal(a, b) for a, b in zip(before, objective.exits.parameters(), strict=True))


def test_binding_moves_no_global_generator(setting):
    before = torch.get_rng_state()
    objective = bind(methods.IRS(hidden=8), setting)
    objective(setting.x, setting.y)
    assert torch.equal(torch.get_rng_state(), before)


def test_two_seeds_give_other_exits_and_other_chips(setting):
    one, other = (
        methods.IRS(hidden=8).bind(setting.model, setting.hardware, seed=s, sample=setting.x[:2])
        for s in (0, 1)
    )
    assert not torch.equal(next(one.exits.parameters()), next(other.exits.parameters()))
    assert not torch.equal(one.chip()["out.weight"], other.chip()["out.weight"])


# --- refusals ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["irs", "deep_supervision"])
def test_exits_need_a_sample(setting, name):
    with pytest.raises(ConfigError, match=r"sample=x\[:2\]") as error:
        ALL[name]().bind(setting.model, setting.hardware)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "device",
    [devices.Ideal(), devices.Sequence(devices=(devices.Gaussian(sigma=0.1), devices.Mismatch(sigma=0.1)))],
    ids=lambda device: device.kind,
)
def test_ovf_needs_a_device_with_a_nominal_sigma(setting, device):
    with pytest.raises(ConfigError, match="no nominal σ") as error:
        methods.OVF().bind(setting.model, Hardware(device=device))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "table",
    [
        {"kind": "irs", "decay": 0.0},
        {"kind": "irs", "count": 0},
        {"kind": "ovf", "increments": []},
        {"kind": "ovf", "increments": [-0.1]},
        {"kind": "ovf", "batch_norm": "none"},
        {"kind": "temperature", "temperature": 0},
        {"kind": "over_noise", "ratio": -1},
        {"kind": "noise_injection", "ramp": 1.5},
        {"kind": "noise_injection", "noise_gradient": "dirty"},
        {"kind": "noise_injection", "label_smoothing": 1.0},
        {"kind": "noise_injection", "last_layer_gain": 0.0},
        {"kind": "noise_injection", "constraint": {"kind": "clip", "alpha": 0.5}},
        {"kind": "noise_injection", "beta": 0.1},
        {"kind": "irs", "beta": float("nan")},
    ],
    ids=str,
)
def test_what_a_method_cannot_mean_is_refused_in_one_line(table):
    with pytest.raises(ConfigError) as error:
        methods.Method.parse(table)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ALL)
def test_a_method_survives_its_own_table(name):
    method = ALL[name](constraint=constraints.clip(2.0), ramp=0.25, label_smoothing=0.1)
    assert methods.Method.parse(method.table()) == method


def test_the_cost_in_forwards_is_told():
    assert methods.OVF().forwards == 4.0
    assert methods.OVF(increments=(0.1,)).forwards == 2.0
    assert methods.IRS().forwards == methods.NoiseInjection().forwards == 1.0


def test_digits_are_learnt_on_noisy_chips():
    splits = data.Data.parse("digits").load()
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))
    hardware = Hardware(device=devices.Gaussian(sigma=0.05))
    objective = methods.NoiseInjection(constraint=constraints.clip(2.0)).bind(model, hardware)
    optimizer = torch.optim.Adam(objective.parameters(), lr=1e-2)
    for n in range(100):
        rows = torch.randint(len(splits.train), (128,), generator=rng_for(0, n))
        loss = objective(splits.train.x[rows], splits.train.y[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        objective.after_step()
    assert float((model(splits.test.x).argmax(1) == splits.test.y).float().mean()) > 0.85
