"""Full scales that are trained: their gradients against literal equations, and where they go from there."""

from __future__ import annotations

import math
from importlib.util import find_spec

import pytest
import torch
import torch.utils.checkpoint
from torch import nn

import everychip as ec
from everychip.array import Array
from everychip.errors import ConfigError
from everychip.hardware.learned import Learned
from everychip.hardware.placement import Placed
from everychip.mapping import BitSliced, Direct
from everychip.methods import LearnedInputs, LearnedScales, NoiseInjection
from everychip.training.optimizers import optimizer_of

IDEAL = ec.devices.Ideal()
X = torch.randn(240, 12, generator=ec.rng_for(3))
Y = X[:, :5].argmax(1)


def net(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(12, 9), nn.ReLU(), nn.Linear(9, 5))


@pytest.mark.parametrize("bits", [3, 8])
def test_ranges_weights_and_inputs_have_the_gradients_of_a_clamp_before_the_layer(bits):
    model, hw = net(), ec.Hardware(device=IDEAL, mapping=Direct(), array=Array(dac_bits=bits))
    how = LearnedInputs(start=1.0, decay=0.0, widen=False)
    objective = NoiseInjection(inputs=how).bind(model, hw)
    loss = objective(X, Y)
    loss.backward()
    found = [p.grad.clone() for p in (*objective.learned.ranges, *model.parameters())]

    betas = [X.square().mean().sqrt().clone().requires_grad_()]
    model.zero_grad()
    between = torch.relu(dac_of(X, betas[0], bits) @ model[0].weight.T + model[0].bias)
    rms = float(torch.exp(objective.learned.ranges[1]).detach())
    betas.append(torch.tensor(rms, requires_grad=True))
    z = dac_of(between, betas[1], bits) @ model[2].weight.T + model[2].bias
    wanted = nn.functional.cross_entropy(z, Y)
    wanted.backward()
    assert torch.allclose(loss, wanted, atol=1e-5)
    assert math.isclose(rms, float(hidden_rms(X, model, bits)), rel_tol=1e-5)
    # What is trained is the logarithm: ∂L/∂ln β = β·∂L/∂β.
    expected = [beta.grad * beta.detach() for beta in betas] + [p.grad for p in model.parameters()]
    for one, other in zip(found, expected, strict=True):
        assert torch.allclose(one, other, rtol=1e-4, atol=1e-6)


def dac_of(x, beta, bits):
    """The same written for autograd: the value of the converter, the slope of the clamp alone."""
    steps = 2 ** (bits - 1) - 1
    inside = torch.where(x >= beta, beta, torch.where(x <= -beta, -beta, x))
    unit = beta.detach() / steps
    return inside + ((x.detach() / unit).round().clamp(-steps, steps) * unit - inside).detach()


def hidden_rms(x, model, bits):
    """The start of the second range: the rms of what the first layer gives at its own DAC range's max|x|."""
    steps = 2 ** (bits - 1) - 1
    unit = x.abs().max() / steps
    with torch.no_grad():
        hidden = torch.relu((x / unit).round() * unit @ model[0].weight.T + model[0].bias)
    return hidden.square().mean().sqrt()


@pytest.mark.skipif(find_spec("aihwkit") is None, reason="aihwkit is installed for comparisons only")
@pytest.mark.parametrize("kept", [0.5, 0.99])
def test_the_gradient_is_that_of_aihwkit(kept):
    from aihwkit.simulator.parameters.pre_post import InputRangeParameter
    from aihwkit.simulator.tiles.inference_torch import InputRangeForward

    how = InputRangeParameter(decay=0.01, input_min_percentage=kept, gradient_relative=True)
    beta, slope = torch.tensor([1.3], requires_grad=True), torch.randn(240, 12, generator=ec.rng_for(4))
    InputRangeForward.apply(X.clone(), beta, how).backward(slope)
    # aihwkit adds β·decay to β·∂L/∂β: its relative gradient is that of ln β here.
    law = ec.array.InputRange(beta.detach()[0], decay=0.01, kept=kept, widen=True)
    assert torch.allclose(law.gradient(X, slope) * 1.3, beta.grad[0], rtol=1e-5)


@pytest.mark.parametrize("steps", [None, 15])
@pytest.mark.parametrize("scale", ["layer", "column"])
def test_full_scales_have_the_gradient_of_a_learned_step(scale, steps):
    bits = {"weight_bits": 4, "cell_bits": 4, "quantize": True, "scale": scale}
    mapping = Direct(scale=scale) if steps is None else BitSliced(**bits)
    layer = nn.Linear(12, 5, bias=False)
    hw = ec.Hardware(device=IDEAL, mapping=mapping)
    objective = NoiseInjection(scales=LearnedScales(start=1.0)).bind(layer, hw)
    objective(X, Y).backward()

    w = layer.weight.detach()
    squares = w.square().mean(1, keepdim=True) if scale == "column" else w.square().mean()
    full = squares.sqrt().clone().requires_grad_()
    weight = w.clone().requires_grad_()
    # Esser et al., eq. 1 to 3, written out: s = F/Q, v̂ = round(clip(W/s)), Ŵ = v̂·s, and g = 1/√(N·Q).
    q = steps or 1
    n = w.shape[1] if scale == "column" else w.numel()
    s = full / q
    v = torch.maximum(torch.minimum(weight / s, torch.tensor(float(q))), torch.tensor(-float(q)))
    held = (v if steps is None else v + (v.round() - v).detach()) * s
    nn.functional.cross_entropy(X @ held.T, Y).backward()
    [trained] = objective.learned.scales
    assert torch.allclose(trained.exp().squeeze(), full.detach().squeeze())
    assert torch.allclose(layer.weight.grad, weight.grad, atol=1e-6)
    wanted = full.grad * full.detach() / math.sqrt(n * q)
    assert torch.allclose(trained.grad.squeeze(), wanted.squeeze(), rtol=1e-4, atol=1e-7)


def test_noise_pulls_on_the_full_scale_that_it_is_a_multiple_of():
    hw = ec.Hardware(device=ec.devices.Gaussian(sigma=0.2), mapping="direct")
    layer = nn.Linear(12, 5, bias=False)
    objective = NoiseInjection(scales=LearnedScales(start=1.0)).bind(layer, hw)
    chip, w = objective.chip()["weight"], layer.weight.detach()
    full = w.square().mean().sqrt()
    drawn = (chip.detach() - w.clamp(-full, full)) / full
    chip.sum().backward()
    [trained] = objective.learned.scales
    at_full = drawn.sum() + (w > full).sum() - (w < -full).sum()
    assert torch.allclose(trained.grad, at_full * full / math.sqrt(w.numel()), rtol=1e-4)
    assert torch.equal(layer.weight.grad, (w.abs() <= full).float())


LAYERS = {
    "linear": (lambda: nn.Linear(6, 4), (7, 6)),
    "conv": (lambda: nn.Conv2d(4, 6, 3, padding=1), (3, 4, 5, 5)),
    "grouped": (lambda: nn.Conv2d(4, 6, 3, groups=2), (3, 4, 5, 5)),
    "transposed": (lambda: nn.ConvTranspose2d(4, 6, 3, stride=2, groups=2), (3, 4, 3, 3)),
}


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("sign", ["sign_magnitude", "differential", "offset"])
@pytest.mark.parametrize("quantize", [False, True])
def test_learned_scales_at_the_largest_weight_change_no_chip(name, sign, quantize):
    build, _ = LAYERS[name]
    torch.manual_seed(1)
    layer = build()
    for scale in ("layer", "column"):
        mapping = BitSliced(scale=scale, sign=sign, quantize=quantize)
        hw = ec.Hardware(device=ec.devices.Gaussian(sigma=0.1), mapping=mapping)
        objective = NoiseInjection(scales=LearnedScales()).bind(layer, hw)
        learned = objective.deployed
        plain, other = (ec.program(layer, one, seed=1, chip=2)["weight"] for one in (hw, learned))
        assert torch.allclose(plain, other, atol=1e-5)


@pytest.mark.parametrize("name", LAYERS)
def test_what_is_clipped_is_what_a_column_cannot_hold(name):
    build, _ = LAYERS[name]
    layer = build()
    hw = ec.Hardware(device=IDEAL, mapping=Direct(scale="column"))
    objective = NoiseInjection(scales=LearnedScales(start=1.0)).bind(layer, hw)
    held = ec.program(layer, objective.deployed, seed=0, chip=0)["weight"]
    columns = Placed.of(layer, hw).columns["weight"]
    w = layer.weight.detach()
    for n in range(columns.groups):  # column by column, as a loop
        rows = slice(n * w.shape[0] // columns.groups, (n + 1) * w.shape[0] // columns.groups)
        block, got = w[rows], held[rows]
        for c in range(block.shape[columns.axis]):
            one, other = (part.select(columns.axis, c) for part in (block, got))
            reach = min(one.square().mean().sqrt(), one.abs().max())
            assert torch.allclose(other, one.clamp(-reach, reach), atol=1e-6)


@pytest.fixture
def trained():
    hw = ec.Hardware(
        device=ec.devices.Gaussian(sigma=0.1), array=Array(dac_bits=4, adc_bits=6, adc_noise=0.5)
    )
    method = NoiseInjection(inputs=LearnedInputs(), scales=LearnedScales(start=2.0))
    model = net()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    done = ec.fitted(model, method, (X, Y), hardware=hw, epochs=4, batch_size=8, lr=0.02, validation=0.2)
    return model, before, hw, done


def test_a_training_learns_and_its_hardware_takes_along_what_it_learned(trained):
    model, before, hw, done = trained
    assert done.model is model and list(model.state_dict()) == list(before)
    assert set(done.hardware.array.dac_ranges) == {"0.weight", "2.weight"}
    assert {name: len(v) for name, v in done.hardware.mapping.full_scales.items()} == {
        "0.weight": 1,
        "2.weight": 1,
    }
    assert hw.array.dac_ranges is None and hw.mapping.full_scales is None
    again = ec.Hardware.read(done.hardware.table(), where="hardware")
    assert again == done.hardware


def test_chips_of_the_deployed_hardware_are_those_of_the_objective(trained):
    model, _, hw, done = trained
    objective = NoiseInjection(inputs=LearnedInputs(), scales=LearnedScales()).bind(
        model, done.hardware, seed=5
    )
    chip = objective.placed.program(seed=5, path=("evaluate", 1))
    other = ec.program(model, done.hardware, seed=5, chip=1)
    with torch.no_grad():
        one, two = (ec.run(model, c, X) for c in (chip, other))
    assert torch.equal(one, two) and not torch.equal(
        one, ec.run(model, ec.program(model, hw, seed=5, chip=1), X)
    )


def test_calibration_keeps_learned_ranges_and_measures_the_adcs_behind_them(trained):
    model, _, _, done = trained
    found = ec.calibrate(model, done.hardware, (X, Y)).array
    assert all(
        math.isclose(found.ranges[n].dac, v, rel_tol=1e-6) for n, v in done.hardware.array.dac_ranges.items()
    )
    clipped = X.clamp(-found.ranges["0.weight"].dac, found.ranges["0.weight"].dac)
    full = done.hardware.mapping.full_scales["0.weight"][0]
    sums = clipped @ model[0].weight.detach().clamp(-full, full).T
    assert float(found.ranges["0.weight"].adc[0][0][0]) == pytest.approx(float(sums.abs().max()), rel=0.15)


def test_an_averaged_copy_has_the_learned_scales_and_another_network_is_refused(trained):
    model, _, _, done = trained
    wrapped = torch.optim.swa_utils.AveragedModel(model)
    one, two = (Placed.of(m, done.hardware) for m in (model, wrapped))
    assert [c.full for c in one.columns.values()] == [c.full for c in two.columns.values()]
    assert [r.value for r in one.inputs.values()] == [r.value for r in two.inputs.values()]
    with pytest.raises(ConfigError, match="which is no weight on the crossbar"):
        Placed.of(nn.Sequential(model), done.hardware)


def test_a_training_resumed_at_any_epoch_learns_the_same(tmp_path):
    hw = ec.Hardware(device=ec.devices.Gaussian(sigma=0.1), array=Array(dac_bits=4))
    how = {"hardware": hw, "batch_size": 8, "lr": 0.02, "validation": 0.2, "seed": 2}
    method = NoiseInjection(inputs=LearnedInputs(), scales=LearnedScales())
    whole = ec.fitted(net(), method, (X, Y), epochs=4, **how)

    def stop(event):
        if event.values.get("epoch") == 3:
            raise KeyboardInterrupt

    path = tmp_path / "checkpoint.safetensors"
    with pytest.raises(KeyboardInterrupt):
        ec.fitted(net(), method, (X, Y), epochs=4, checkpoint=path, progress=stop, **how)
    resumed = ec.fitted(net(), method, (X, Y), epochs=4, checkpoint=path, **how)
    assert resumed.hardware == whole.hardware and resumed.history == whole.history
    for one, other in zip(whole.model.parameters(), resumed.model.parameters(), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("kind", ["sgd", "adam"])
def test_weight_decay_leaves_full_scales_alone(kind):
    hw = ec.Hardware(device=IDEAL, array=Array(dac_bits=8))
    objective = NoiseInjection(inputs=LearnedInputs(), scales=LearnedScales()).bind(net(), hw)
    objective(X, Y)
    optimizer = optimizer_of(objective, kind=kind, lr=0.1, momentum=0.0, weight_decay=1.0)
    for parameter in objective.parameters():
        parameter.grad = torch.zeros_like(parameter)
    before = [p.detach().clone() for p in (*objective.learned.parameters(), *objective.model.parameters())]
    optimizer.step()
    after = [*objective.learned.parameters(), *objective.model.parameters()]
    same = [torch.equal(one, other) for one, other in zip(before, after, strict=True)]
    assert same == [True] * 4 + [False] * 4


def test_starting_ranges_leaves_the_model_and_the_generators_alone():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(12, 9), nn.BatchNorm1d(9), nn.Dropout(0.5), nn.Linear(9, 5))
    hw = ec.Hardware(device=IDEAL, array=Array(dac_bits=8))
    objective = NoiseInjection(inputs=LearnedInputs()).bind(model, hw)
    before, state = {k: v.clone() for k, v in model.state_dict().items()}, torch.get_rng_state()
    objective._start_ranges(objective.learned, X)
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), state) and objective.learned.has_started


@pytest.mark.parametrize(
    ("method", "hardware", "message"),
    [
        ({"inputs": {}}, {}, "found no DAC, whose range could be learned"),
        ({"inputs": {}}, {"array": {"adc_bits": 8}}, "found no DAC"),
    ],
)
def test_what_cannot_be_learned_is_refused_in_one_line(method, hardware, message):
    hw = ec.Hardware.read({"device": {"kind": "ideal"}, **hardware}, where="hardware")
    with pytest.raises(ConfigError, match=message):
        ec.methods.Method.parse({"kind": "noise_injection", **method}).bind(net(), hw)


def test_fit_refuses_to_lose_what_is_learned():
    hw = ec.Hardware(device=IDEAL, array=Array(dac_bits=8))
    with pytest.raises(ConfigError, match=r"everychip\.fitted"):
        ec.fit(net(), {"kind": "vanilla", "inputs": {}}, (X, Y), hardware=hw)


@pytest.mark.parametrize(
    ("learned", "message"),
    [
        (Learned(full_scales={"nothing": (1.0,)}), "'nothing', which is no weight on the crossbar"),
        (
            Learned(full_scales={"0.weight": (1.0, 2.0)}),
            "2 numbers; expected one, or one for each of its 9 columns",
        ),
        (Learned(dac_ranges={"0.bias": 1.0}), "'0.bias', which is no weight on the crossbar"),
    ],
)
def test_scales_of_another_network_are_refused_in_one_line(learned, message):
    hw = learned.on(ec.Hardware(device=IDEAL, array=Array(dac_bits=8)))
    with pytest.raises(ConfigError, match=message):
        ec.program(net(), hw, seed=0, chip=0)


def test_the_noise_of_an_adc_is_as_many_steps_as_it_says():
    layer, x = nn.Linear(64, 4, bias=False), torch.ones(4000, 64)
    array = Array(dac_bits=8, adc_bits=12)
    quiet, noisy = (
        ec.calibrate(
            layer,
            ec.Hardware(device=IDEAL, array=array.replace(adc_noise=lsb)),
            (x, torch.zeros(4000).long()),
        )
        for lsb in (0.0, 3.0)
    )
    with torch.no_grad():
        y, z = (ec.run(layer, ec.program(layer, hw, seed=0, chip=0), x * 0.5) for hw in (quiet, noisy))
    step = noisy.array.ranges["weight"].adc[0][0][0] / (2**11 - 1)
    # The rounding of a noisy value adds Δ²/12.
    assert float((z - y).std() / step) == pytest.approx(math.sqrt(9 + 1 / 12), rel=0.05)
    with pytest.raises(ConfigError, match="3 steps of an ideal ADC"):
        Array.read({"adc_noise": 3.0}, where="array")
    assert "adc_noise" not in Array().table()


class Checkpointed(nn.Module):
    """A block whose activations are computed again in backward, by the same chip."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(12, 9), nn.Linear(9, 5)

    def forward(self, x):
        hidden = torch.utils.checkpoint.checkpoint(self.first, x, use_reentrant=False)
        return self.last(torch.relu(hidden))


class Attention(nn.Module):
    """Packed projections, which are read in parts of one parameter."""

    def __init__(self) -> None:
        super().__init__()
        self.attention, self.out = nn.MultiheadAttention(12, 3, batch_first=True), nn.Linear(12, 5)

    def forward(self, x):
        h = x.unflatten(1, (1, 12))
        return self.out(self.attention(h, h, h, need_weights=False)[0].flatten(1))


class Tied(nn.Module):
    """One matrix, read twice."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two, self.out = nn.Linear(12, 12), nn.Linear(12, 12), nn.Linear(12, 5)
        self.two.weight = self.one.weight

    def forward(self, x):
        return self.out(torch.relu(self.two(torch.relu(self.one(x)))))


def convolutional() -> nn.Module:
    shaped = nn.Unflatten(1, (1, 3, 4))
    return nn.Sequential(
        shaped, nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(48, 5)
    )


NETWORKS = {
    "plain": net,
    "checkpointed": Checkpointed,
    "attention": Attention,
    "tied": Tied,
    "convolutional": convolutional,
    "double": lambda: net().double(),
    "bfloat16": lambda: net().bfloat16(),
}


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("gradient", ["detached", "pathwise", "clean"])
def test_every_network_learns_both_sides_and_its_hardware_gives_the_chips_of_the_objective(name, gradient):
    model = NETWORKS[name]()
    x = X.to(next(model.parameters()).dtype)
    array = Array(rows=8, columns=4, dac_bits=5, adc_bits=8)
    hw = ec.Hardware(device=ec.devices.Gaussian(sigma=0.05), mapping=Direct(scale="column"), array=array)
    sides = {"inputs": LearnedInputs(start=1.5), "scales": LearnedScales(start=2.0)}
    objective = NoiseInjection(**sides, noise_gradient=gradient, chips=2).bind(model, hw, seed=1)
    optimizer = torch.optim.SGD(objective.parameters(), lr=0.01)
    before = objective.deployed
    for _ in range(3):
        for part in (slice(0, 120), slice(120, 240)):  # accumulated over two batches
            objective(x[part], Y[part]).backward()
        assert all(
            p.grad is not None and bool(p.grad.isfinite().all()) for p in objective.learned.parameters()
        )
        optimizer.step()
        optimizer.zero_grad()
        objective.after_step()
    after = objective.deployed
    assert set(after.array.dac_ranges) == set(hw.crossbar(model)) and after != before
    model.eval()
    with torch.no_grad():
        chips = (
            objective.placed.program(seed=4, path=("evaluate", 0)),
            ec.program(model, after, seed=4, chip=0),
        )
        one, other = (ec.run(model, chip, x) for chip in chips)
    assert torch.equal(one, other)


def test_layers_with_their_own_array_and_mapping_learn_in_them():
    table = {
        "device": {"kind": "gaussian", "sigma": 0.05},
        "array": {"dac_bits": 8},
        "layers": [
            {"match": "2", "array": {"dac_bits": 3}, "mapping": {"kind": "direct", "scale": "column"}}
        ],
    }
    hw = ec.Hardware.read(table, where="hardware")
    method = NoiseInjection(inputs=LearnedInputs(), scales=LearnedScales())
    done = ec.fitted(net(), method, (X, Y), hardware=hw, epochs=4, batch_size=8, lr=0.02, validation=0.2)
    own = done.hardware.layers[0]
    assert own.array.dac_bits == 3 and set(own.array.dac_ranges) == {"0.weight", "2.weight"}
    assert {name: len(values) for name, values in own.mapping.full_scales.items()} == {
        "0.weight": 1,
        "2.weight": 5,
    }
    model = done.model
    objective = method.bind(model, done.hardware, seed=5)
    chips = (
        objective.placed.program(seed=5, path=("evaluate", 0)),
        ec.program(model, done.hardware, seed=5, chip=0),
    )
    with torch.no_grad():
        one, other = (ec.run(model, chip, X) for chip in chips)
    # The ranges go on from those of the hardware, which are logarithms for a moment.
    assert torch.allclose(one, other, atol=1e-5)


def test_a_penalty_in_units_of_the_largest_weight_is_refused_beside_learned_scales():
    with pytest.raises(ConfigError, match="quiet: found 0.1, a penalty in units of max"):
        ec.methods.Method.parse({"kind": "resilient", "quiet": 0.1, "scales": {}})


def test_the_worst_case_is_one_of_the_clipped_weights():
    model, full = net(), 0.05
    hw = Learned(full_scales={"0.weight": (full,), "2.weight": (full,)}).on(ec.Hardware(device=IDEAL))
    found = ec.worst_case_search(model, hw, (X, Y), th=0.1, steps=1, restarts=1)
    bounds = [float(delta.abs().max()) for delta in found.perturbation.values()]
    assert bounds == pytest.approx([0.1 * full] * 2, rel=1e-5)  # of F, and not of the largest weight
    for module in (model[0], model[2]):
        module.weight.data.clamp_(-full, full)
    plain = ec.worst_case_search(model, ec.Hardware(device=IDEAL), (X, Y), th=0.1, steps=1, restarts=1)
    assert (plain.clean, plain.worst) == (found.clean, found.worst)
