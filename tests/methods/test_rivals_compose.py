"""Every rival composes with what composes with every method, and learns in a loop of one's own."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from everychip import Hardware, constraints, data, devices, methods, models, rng_for
from everychip.network.running import autocast
from everychip.training.loop import Training, train

RIVALS = {
    "correctnet": methods.CorrectNet,
    "correctnet, kernels": lambda **f: methods.CorrectNet(view="kernel", **f),
    "censored": lambda **f: methods.Censored(mean_corrected=True, **f),
    "distillation": lambda **f: methods.Distillation(teacher_share=0.1, **f),
    "consistency": methods.Consistency,
    "adversarial_weight": lambda **f: methods.AdversarialWeight(attack_steps=2, **f),
    "sam": lambda **f: methods.SAM(noise=True, **f),
    "samson": lambda **f: methods.SAMSON(noise=True, **f),
    "vant": methods.VANT,
    "resilient": lambda **f: methods.Resilient(
        **{"alpha": 30.0, "feedback": 0.3, "noise_penalty": 0.1, "ramp": 0.0, **f}
    ),
}


def bind(method, setting, model=None):
    objective = method.bind(model or setting.model, setting.hardware, seed=1, steps=10)
    objective.step = 1  # where distillation's teacher is ready
    return objective


@pytest.mark.parametrize("kind", ["detached", "pathwise", "clean"])
@pytest.mark.parametrize("name", RIVALS)
def test_every_gradient_works_and_leaves_the_loss_as_it_is(setting, name, kind):
    values = []
    for gradient in ("detached", kind):
        # One gradient reaches another point uphill than the other: only without a step are losses alike.
        fields = {"rho": 0.0} if name in ("sam", "samson") else {}
        objective = bind(
            RIVALS[name](noise_gradient=gradient, **fields), setting, copy.deepcopy(setting.model)
        )
        loss = objective(setting.x, setting.y)
        loss.backward()
        values.append(float(loss.detach()))
        assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in objective.model.parameters())
    assert values[1] == pytest.approx(values[0], rel=1e-4)


@pytest.mark.parametrize("name", RIVALS)
def test_each_step_meets_noise_of_its_own_and_the_same_step_the_same(setting, name):
    objective = bind(RIVALS[name](), setting)
    setting.model.eval()
    one, again = objective(setting.x, setting.y), objective(setting.x, setting.y)
    objective.step += 1
    other = objective(setting.x, setting.y)
    assert torch.equal(one, again)
    assert not torch.equal(one, other)


@pytest.mark.parametrize("name", RIVALS)
def test_constraint_gain_and_smoothing_take_hold(setting, name):
    both = []
    for smoothing in (0.0, 0.4):
        objective = bind(RIVALS[name](label_smoothing=smoothing), setting, copy.deepcopy(setting.model))
        both.append(float(objective(setting.x, setting.y).detach()))
    assert both[0] != pytest.approx(both[1], rel=1e-4)
    before = setting.model.out.weight.detach().clone()
    objective = bind(RIVALS[name](last_layer_gain=0.5), setting)
    torch.testing.assert_close(setting.model.out.weight.detach(), 0.5 * before)
    objective = bind(RIVALS[name](constraint=constraints.clip(1.2)), setting)
    optimizer = torch.optim.SGD([p for p in objective.parameters() if p.requires_grad], lr=0.05)
    for _ in range(2):
        objective(setting.x, setting.y).backward()
        optimizer.step()
        objective.after_step()
        for w in objective.weights.values():
            # The rms after the clamp is at most the one before it.
            assert float(w.detach().abs().max() / w.detach().square().mean().sqrt()) <= 1.2 * 1.3


@pytest.mark.parametrize("name", [name for name in RIVALS if name != "distillation"])
def test_a_ramp_begins_where_there_is_no_noise(setting, name):
    """At strength 0 the loss is that of a device without variation."""
    quiet = copy.copy(setting)
    quiet.hardware = Hardware(device=devices.Gaussian(sigma=0.0))
    fields = {"theta": 0.0} if name == "vant" else {"scale": 0.8} if name == "correctnet" else {}
    both = []
    for side, ramp in ((setting, 1.0), (quiet, 0.0)):
        model = copy.deepcopy(setting.model)
        objective = RIVALS[name](ramp=ramp, **fields).bind(model, side.hardware, seed=1, steps=10)
        both.append(objective(setting.x, setting.y))
    torch.testing.assert_close(both[0], both[1])


@pytest.mark.parametrize("name", RIVALS)
def test_half_precision_products_give_a_finite_loss_in_full_precision(setting, name):
    objective = bind(RIVALS[name](), setting)
    with autocast(torch.device("cpu"), "bfloat16"):
        loss = objective(setting.x, setting.y)
    loss.backward()
    assert loss.dtype == torch.float32
    assert bool(loss.isfinite())


@pytest.mark.parametrize("name", RIVALS)
def test_ones_own_loop_learns_and_gives_the_same_model_back(name):
    x = torch.randn(256, 6, generator=rng_for(0))
    y = (x[:, 0] > 0).long() + 2 * (x[:, 1] > 0).long()
    model = nn.Sequential(nn.Linear(6, 32), nn.ReLU(), nn.Linear(32, 16), nn.ReLU(), nn.Linear(16, 4))
    keys = list(model.state_dict())
    method = RIVALS[name]()
    objective = method.bind(model, Hardware(device=devices.Gaussian(sigma=0.05)), seed=0, steps=60)
    optimizer = torch.optim.Adam(objective.parameters(), lr=1e-2)
    for _ in range(60):
        loss = objective(x, y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        objective.after_step()
    assert objective.detach() is model
    assert list(model.state_dict()) == keys
    assert not any(module._forward_hooks for module in model.modules())
    assert float((model(x).argmax(1) == y).float().mean()) > 0.85


@pytest.mark.parametrize("name", RIVALS)
def test_the_training_loop_trains_a_paper_network(name):
    """VGG-8 in channels-last memory, its checkpoint's fingerprint and its validation included."""
    x, y = torch.randn(24, 1, 16, 16), torch.arange(24) % 2
    model = models.VGG8(width=2).build((1, 16, 16), 2, seed=0)
    fitted = train(
        model,
        RIVALS[name](),
        data.Arrays(x, y),
        hardware=Hardware(device=devices.preset("FeFET6", sigma=0.1)),
        training=Training(epochs=1, batch_size=10, validation_chips=1),
    )
    assert fitted.model is model
    assert fitted.status != "diverged"


def test_tied_weights_are_one_matrix_for_every_rival():
    from reference.zoo import TiedLanguageModel

    tokens, y = torch.randint(11, (3, 5)), torch.randint(11, (3, 5))
    hardware = Hardware(device=devices.Gaussian(sigma=0.1), embeddings=True)
    for make in RIVALS.values():
        objective = make().bind(TiedLanguageModel(), hardware, steps=10)
        objective.step = 1
        loss = objective(tokens, y)
        loss.backward()
        assert bool(loss.isfinite())
