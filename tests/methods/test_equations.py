"""Each method's loss is its paper's equation, on the chips that the method itself drew."""

from __future__ import annotations

import copy

import pytest
import torch
from reference import losses as reference
from torch.nn.functional import adaptive_avg_pool2d, linear, relu

from everychip import devices, methods
from everychip.exits import attach
from everychip.methods.losses import cross_entropy, negative_feedback

MATRICES = ["conv1.weight", "conv2.weight", "hidden.weight", "out.weight"]


def numbers(tensor):
    return tensor.detach().double().numpy()


def one_loss(method, setting, **bound):
    objective = method.bind(setting.model, setting.hardware, seed=3, sample=setting.x[:2], steps=10, **bound)
    twin = copy.deepcopy(setting.model)
    loss = float(objective(setting.x, setting.y).detach())
    setting.model.load_state_dict(twin.state_dict())
    return objective, loss


def test_vanilla_is_cross_entropy_of_the_digital_model(setting, chips_run):
    _, loss = one_loss(methods.Vanilla(), setting)
    assert chips_run == [{}]
    assert loss == pytest.approx(
        reference.cross_entropy(numbers(setting.logits({})), setting.labels), rel=1e-5
    )


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_noise_injection_is_cross_entropy_on_a_chip_at_the_devices_sigma(setting, chips_run, smoothing):
    _, loss = one_loss(methods.NoiseInjection(label_smoothing=smoothing), setting)
    (chip,) = chips_run
    assert list(chip) == MATRICES
    z = numbers(setting.logits(chip))
    assert loss == pytest.approx(reference.cross_entropy(z, setting.labels, smoothing=smoothing), rel=1e-5)
    assert setting.sigma("hidden.weight", chip) == pytest.approx(0.2, rel=0.06)


@pytest.mark.parametrize("t", [1.0, 4.0, 0.5])
def test_temperature_divides_the_logits(setting, chips_run, t):
    _, loss = one_loss(methods.Temperature(temperature=t), setting)
    assert loss == pytest.approx(
        reference.temperature(numbers(setting.logits(chips_run[0])), setting.labels, t=t), rel=1e-5
    )


def test_over_noise_meets_ratio_times_sigma(setting, chips_run):
    method = methods.OverNoise(ratio=2.0, ramp=0)
    _, loss = one_loss(method, setting)
    (chip,) = chips_run
    assert loss == pytest.approx(
        reference.cross_entropy(numbers(setting.logits(chip)), setting.labels), rel=1e-5
    )
    assert setting.sigma("hidden.weight", chip) == pytest.approx(0.4, rel=0.06)
    one_loss(methods.NoiseInjection(), setting)
    for name in MATRICES:
        weight = setting.model.get_parameter(name)
        torch.testing.assert_close(
            chip[name] - weight, 2 * (chips_run[1][name] - weight), rtol=1e-3, atol=1e-5
        )


@pytest.mark.parametrize("shares", [(None, None), (1.0, 0.5)])
def test_ovf_is_the_negative_feedback_of_three_noisier_forwards(setting, chips_run, shares):
    method = methods.OVF(beta=0.7, backbone_share=shares[0], feedback_share=shares[1])
    _, loss = one_loss(method, setting)
    z, *feedback = (numbers(setting.logits({n: c[n] for n in MATRICES})) for c in chips_run)
    expected = reference.negative_feedback(
        z, feedback, setting.labels, beta=0.7, a_b=shares[0], a_f=shares[1]
    )
    assert loss == pytest.approx(expected, rel=1e-5)


def test_ovf_feeds_the_noisiest_forward_back_most_strongly(setting, chips_run):
    one_loss(methods.OVF(), setting)
    shown = [setting.sigma("hidden.weight", chip) for chip in chips_run]
    assert shown == pytest.approx([0.2, 0.35, 0.30, 0.25], rel=0.06)
    # The literal equation gives γ = 1 to the first of them: swapping the order must change the loss.
    z, *feedback = (numbers(setting.logits({n: c[n] for n in MATRICES})) for c in chips_run)
    forth, back = (
        reference.negative_feedback(z, order, setting.labels, beta=0.7)
        for order in (feedback, feedback[::-1])
    )
    assert forth != pytest.approx(back, rel=1e-4)
    assert one_loss(methods.OVF(beta=0.7), setting)[1] == pytest.approx(forth, rel=1e-5)


def test_ovf_draws_its_forwards_independently(setting, chips_run):
    one_loss(methods.OVF(), setting)
    weight = setting.model.hidden.weight
    normals = torch.stack([(c["hidden.weight"] - weight).flatten() for c in chips_run])
    correlation = torch.corrcoef(normals.detach()) - torch.eye(4)
    assert float(correlation.abs().max()) < 0.1


def test_ovf_raises_sigma_at_both_ends_only_as_the_authors_code_does_on_resnet(setting, chips_run):
    one_loss(methods.OVF(increments=(0.4,), reach="ends"), setting)
    assert len(chips_run) == 2
    shown = {name: setting.sigma(name, chips_run[1]) for name in MATRICES}
    assert shown["conv1.weight"] == pytest.approx(0.6, rel=0.4)
    assert shown["out.weight"] == pytest.approx(0.6, rel=0.4)
    assert shown["hidden.weight"] == pytest.approx(0.2, rel=0.06)
    assert shown["conv2.weight"] == pytest.approx(0.2, rel=0.15)


def exit_logits(setting, objective, chip, part="exits", hardware=None):
    """The exits by hand: features of a copy with the chip's weights, pooled, through programmed heads."""
    twin, features = copy.deepcopy(setting.model), {}
    with torch.no_grad():
        for name, value in chip.items():
            twin.get_parameter(name).copy_(value)
        for position in objective.exits.positions:
            module = twin.get_submodule(position)
            module.register_forward_hook(lambda _m, _a, out, key=position: features.update({key: out}))
        twin(setting.x)
        weights = {name: p for name, p in objective.exits.named_parameters() if p.ndim == 2}
        programmed = objective.chip(weights=weights, part=part, hardware=hardware)
        found = []
        heads = zip(objective.exits.positions, objective.exits.heads.items(), strict=True)
        for position, (label, head) in heads:
            x = features[position]
            if x.ndim == 4:
                x = adaptive_avg_pool2d(x, head.pool.size).flatten(1)
            hidden = relu(linear(x, programmed[f"heads.{label}.hidden.weight"], head.hidden.bias))
            found.append(
                numbers(linear(hidden, programmed[f"heads.{label}.classes.weight"], head.classes.bias))
            )
    return found, programmed


POSITIONS = ("norm1", "norm2", "hidden")


@pytest.mark.parametrize("shares", [(None, None), (0.9, 0.1)])
def test_irs_is_the_negative_feedback_of_programmed_exits_earliest_first(setting, chips_run, shares):
    method = methods.IRS(
        beta=0.8, positions=POSITIONS, hidden=16, backbone_share=shares[0], feedback_share=shares[1]
    )
    objective, loss = one_loss(method, setting)
    (chip,) = chips_run
    assert objective.exits.positions == POSITIONS
    feedback, _ = exit_logits(setting, objective, chip)
    z = numbers(setting.logits(chip))
    expected = reference.negative_feedback(
        z, feedback, setting.labels, beta=0.8, a_b=shares[0], a_f=shares[1]
    )
    assert loss == pytest.approx(expected, rel=1e-4)
    wrong = reference.negative_feedback(
        z, feedback[::-1], setting.labels, beta=0.8, a_b=shares[0], a_f=shares[1]
    )
    assert loss != pytest.approx(wrong, rel=1e-4)


def test_deep_supervision_adds_the_exits_losses_with_the_positive_sign(setting, chips_run):
    objective, loss = one_loss(
        methods.DeepSupervision(coefficient=0.6, positions=POSITIONS, hidden=16), setting
    )
    feedback, _ = exit_logits(setting, objective, chips_run[0])
    expected = reference.deep_supervision(
        numbers(setting.logits(chips_run[0])), feedback, setting.labels, weight=0.6
    )
    assert loss == pytest.approx(expected, rel=1e-4)


def test_exits_may_have_a_device_of_their_own(setting, chips_run):
    method = methods.IRS(positions=("norm1",), hidden=64, exit_device=devices.Gaussian(sigma=0.5), beta=0.8)
    objective, loss = one_loss(method, setting)
    other = setting.hardware.replace(device=devices.Gaussian(sigma=0.5))
    feedback, programmed = exit_logits(setting, objective, chips_run[0], hardware=other)
    expected = reference.negative_feedback(
        numbers(setting.logits(chips_run[0])), feedback, setting.labels, beta=0.8
    )
    assert loss == pytest.approx(expected, rel=1e-4)
    name = next(iter(programmed))
    weight = objective.exits.get_parameter(name).detach()
    shown = float((programmed[name].detach() - weight).std() / (0.77763 * weight.abs().max()))
    assert shown == pytest.approx(0.5, rel=0.05)
    assert setting.sigma("hidden.weight", chips_run[0]) == pytest.approx(0.2, rel=0.06)


def test_without_feedback_irs_is_training_at_temperature_four_exactly(setting):
    """METHODS.md, section 1, trap 5: the control that must stand beside IRS."""
    sides = []
    for method in (
        methods.IRS(beta=0.0, positions=POSITIONS, hidden=16, backbone_share=0.25),
        methods.Temperature(temperature=4.0),
    ):
        model = copy.deepcopy(setting.model)
        objective = method.bind(model, setting.hardware, seed=3, sample=setting.x[:2])
        loss = objective(setting.x, setting.y)
        loss.backward()
        sides.append((loss, [p.grad for p in model.parameters()]))
    assert torch.equal(sides[0][0], sides[1][0])
    for one, other in zip(sides[0][1], sides[1][1], strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("count", [1, 2, 5])
def test_the_shares_are_one_over_n_plus_one(count):
    z = torch.randn(3, 4)
    seen = negative_feedback(z, [torch.zeros(3, 4)] * count, beta=1.0)
    torch.testing.assert_close(seen, z / (count + 1))


def test_the_feedback_decays_by_powers_of_ten():
    feedback = [torch.full((1, 1), 1.0)] * 4
    seen = negative_feedback(torch.zeros(1, 1), feedback, beta=5.0, feedback_share=1.0)
    assert float(seen) == pytest.approx(-5.0 * 1.111)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_cross_entropy_averages_over_every_position_of_a_language_model(smoothing):
    z, y = torch.randn(2, 3, 5), torch.randint(0, 5, (2, 3))
    found = cross_entropy(z, y, label_smoothing=smoothing)
    expected = reference.cross_entropy(numbers(z).reshape(6, 5), y.flatten().tolist(), smoothing=smoothing)
    assert float(found) == pytest.approx(expected, rel=1e-5)
    assert cross_entropy(z.bfloat16(), y).dtype == torch.float32


def test_the_exits_of_a_paper_network_stand_where_the_authors_put_them():
    from everychip.models import VGG8

    model = VGG8(width=4).build((1, 32, 32), 10)
    exits = attach(model, torch.zeros(2, 1, 32, 32), where="paper", hidden=8)
    assert [head.pool.size for head in exits.heads.values()] == [(6, 6), (4, 4), (3, 3)]
