"""A network whose exits stay is an ordinary network: one answer, one chip, one file."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import everychip as ec
from everychip import exits, methods, models
from everychip.errors import ConfigError, ModelError
from everychip.exits.outputs import all_outputs
from everychip.rng import rng_for
from everychip.training.loop import Training, train

HARDWARE = ec.Hardware(device=ec.devices.Gaussian(sigma=0.2))


@pytest.fixture
def x():
    return torch.randn(6, 3, 16, 16, generator=rng_for(0, "x"))


@pytest.fixture
def net(x):
    return ec.MultiExit(models.VGG8(width=4).build((3, 16, 16), 5), x).eval()


def test_its_answer_is_the_weighted_sum_of_heads_written_out(net, x):
    with torch.no_grad():
        net.combination.copy_(torch.tensor([0.5, -1.0, 2.0, 0.25]))
        h, features = x, {}
        for n in range(1, 7):
            h = getattr(net.backbone, f"block{n}")(h)
            features[f"block{n}"] = h
        z = [net.backbone(x)]
        for position, head in zip(
            ("block4", "block2", "block1"), list(net.exits.heads.values())[::-1], strict=True
        ):
            pooled = nn.functional.adaptive_avg_pool2d(features[position], 2).flatten(1)
            z.insert(0, head.classes(head.hidden(pooled).relu()))
        expected = 0.5 * z[0] - 1.0 * z[1] + 2.0 * z[2] + 0.25 * z[3]
        torch.testing.assert_close(net(x), expected)
        torch.testing.assert_close(all_outputs(net, {}, x), torch.stack(z))


def test_every_matrix_is_programmed_and_the_combination_is_digital(net, x):
    chip = ec.program(net, HARDWARE, seed=0, chip=1)
    matrices = {name for name, p in net.named_parameters() if p.ndim >= 2}
    assert set(chip) == matrices
    assert any(name.startswith("exits.") for name in chip)
    told = str(ec.check(net, HARDWARE, x))
    assert "combination" in told
    digital = HARDWARE.replace(digital=("exits",))
    assert not any(name.startswith("exits.") for name in ec.program(net, digital, seed=0, chip=1))


def test_the_backbone_starts_as_it_does_alone(x):
    alone = models.VGG8(width=4).build((3, 16, 16), 5, seed=7)
    within = models.WithExits(of=models.VGG8(width=4)).build((3, 16, 16), 5, seed=7)
    for name, p in alone.named_parameters():
        torch.testing.assert_close(p, within.backbone.get_parameter(name), rtol=0, atol=0)
    other = models.WithExits(of=models.VGG8(width=4)).build((3, 16, 16), 5, seed=8)
    assert not torch.equal(
        within.exits.heads[0 if False else "exit1_block1"].hidden.weight,
        other.exits.heads["exit1_block1"].hidden.weight,
    )


@pytest.mark.parametrize(
    "of",
    [
        {"kind": "mlp", "hidden": [16, 16]},
        {"kind": "transformer", "dim": 16},
        {"kind": "gru"},
        {"kind": "resnet18", "width": 4},
        {"kind": "conv_net", "channels": [4, 8, 8], "residual": True},
    ],
)
def test_any_classifier_takes_exits_and_trains_with_them(of, x):
    shape, labels = (3, 16, 16), torch.arange(6) % 3
    if of["kind"] in ("transformer", "gru"):
        shape, x = (1, 16, 16), x[:, :1]
    net = models.WithExits(of=of).build(shape, 3)
    objective = methods.NoiseInjection(exit_loss=0.3).bind(net, HARDWARE, seed=0, sample=x[:2])
    objective(x, labels).backward()
    assert all(p.grad is not None for p in net.exits.parameters())
    assert net.combination.grad.abs().sum() > 0


def test_it_is_saved_and_loaded_like_any_network(net, x, tmp_path):
    from safetensors.torch import load_model, save_model

    save_model(net, str(tmp_path / "net.safetensors"))
    other = ec.MultiExit(models.VGG8(width=4).build((3, 16, 16), 5, seed=9), x, seed=9).eval()
    assert not torch.equal(other(x), net(x))
    load_model(other, str(tmp_path / "net.safetensors"))
    torch.testing.assert_close(other(x), net(x), rtol=0, atol=0)


@pytest.mark.parametrize("wrapped", [False, True])
def test_a_threshold_that_an_earlier_version_wrote_as_infinite_is_read_as_never(net, x, wrapped):
    before = net.state_dict()["thresholds"].clone()
    stored = {**net.state_dict(), "thresholds": torch.full_like(before, torch.inf)}
    where = nn.Sequential(net) if wrapped else net
    where.load_state_dict({f"0.{name}": value for name, value in stored.items()} if wrapped else stored)
    assert torch.equal(net.thresholds, before)
    assert all(tensor.isfinite().all() for tensor in net.state_dict().values())


def test_a_threshold_that_a_policy_chose_is_loaded_as_it_is(net, x):
    chosen = torch.tensor([0.5, 0.9, 2.0])
    net.load_state_dict({**net.state_dict(), "thresholds": chosen})
    assert torch.equal(net.thresholds, chosen)


def test_exit_loss_adds_the_mean_cross_entropy_of_the_exits_on_the_same_chip(net, x):
    y = torch.arange(6) % 5
    plain = methods.NoiseInjection().bind(net, HARDWARE, seed=3)
    added = methods.NoiseInjection(exit_loss=0.7).bind(net, HARDWARE, seed=3)
    outputs = all_outputs(net, plain.chip(), x)
    inner = torch.stack([nn.functional.cross_entropy(z, y) for z in outputs[:-1]]).mean()
    torch.testing.assert_close(added(x, y), plain(x, y) + 0.7 * inner)


@pytest.mark.parametrize(
    "kind", sorted(k for k, m in methods.Method.kinds().items() if m.__module__.startswith("everychip."))
)
def test_every_method_trains_a_network_whose_exits_stay(kind, x):
    method = methods.Method.parse({"kind": kind, "exit_loss": 0.1})
    y = torch.arange(6) % 5
    net = ec.MultiExit(models.VGG8(width=2).build((3, 16, 16), 5), x, hidden=4)
    before = {n: p.detach().clone() for n, p in net.exits.named_parameters()}
    objective = method.bind(net, HARDWARE, seed=0, sample=x[:2], steps=4)
    optimizer = torch.optim.SGD([p for p in objective.parameters() if p.requires_grad], lr=0.1)
    for _ in range(2):
        loss = objective(x, y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        objective.after_step()
    assert torch.isfinite(loss)
    assert all(not torch.equal(before[n], p) for n, p in net.exits.named_parameters())


def test_irs_deployed_as_it_is_trained_answers_with_the_logits_of_its_loss(net, x):
    method = methods.IRS(beta=0.4, deploy="combined")
    objective = method.bind(net, HARDWARE, seed=0)
    assert objective.exits is None
    z1, z2, z3, z = all_outputs(net, {}, x)
    torch.testing.assert_close(net(x), (z - 0.4 * (z1 + 0.1 * z2 + 0.01 * z3)) / 4)
    assert not net.combination.requires_grad
    assert objective.detach() is net


def test_training_logs_the_exits_beside_the_backbone(x):
    y = torch.arange(6) % 3
    data = ec.data.Arrays(x.repeat(10, 1, 1, 1), y.repeat(10))
    training = Training(epochs=1, batch_size=16)
    with_exits = models.WithExits(of=models.VGG8(width=2)).build((3, 16, 16), 3)
    for model, method, names in (
        (with_exits, methods.NoiseInjection(), {"exit1", "exit2", "exit3", "backbone"}),
        (
            models.VGG8(width=2).build((3, 16, 16), 3),
            methods.IRS(positions="paper", hidden=4),
            {"exit1", "exit2", "exit3"},
        ),
        (models.VGG8(width=2).build((3, 16, 16), 3), methods.NoiseInjection(), set()),
    ):
        fitted = train(model, method, data, hardware=HARDWARE, training=training)
        assert set(fitted.history[0]) - {"epoch", "loss", "accuracy", "nll"} == names
        assert all(0 <= fitted.history[0][name] <= 1 for name in names)


def test_an_input_leaves_at_the_first_exit_that_is_sure(net, x):
    with torch.no_grad():
        outputs, combined = all_outputs(net, {}, x), net(x)
        confidence = outputs.softmax(-1).amax(-1)
        limits = torch.tensor([confidence[0].median(), 2.0, confidence[2].median()])
        net.thresholds.copy_(limits)
        answer = net(x)
    for n in range(6):
        first = next((k for k in range(3) if confidence[k, n] >= limits[k]), None)
        torch.testing.assert_close(answer[n], combined[n] if first is None else outputs[first, n])
    assert not torch.equal(answer, combined)
    torch.testing.assert_close(net.train()(x).shape, combined.shape)


def test_what_has_no_exits_is_refused_in_one_line(net, x):
    plain = models.VGG8(width=2).build((3, 16, 16), 5)
    with pytest.raises(ConfigError, match=r"method\.exit_loss: .*multi_exit"):
        methods.NoiseInjection(exit_loss=0.1).bind(plain, HARDWARE)
    with pytest.raises(ConfigError, match=r"method\.deploy: .*multi_exit"):
        methods.IRS(deploy="combined").bind(plain, HARDWARE, sample=x[:2])
    with pytest.raises(ModelError, match="no inner submodule"):
        ec.MultiExit(nn.Linear(4, 2), torch.ones(2, 4))
    with pytest.raises(ModelError, match="has exits"):
        ec.MultiExit(net, x)
    with pytest.raises(ModelError, match=r"MultiExit\.hidden"):
        ec.MultiExit(plain, x, hidden=0)


def test_exits_module_exports_what_a_user_needs():
    assert {"MultiExit", "attach"} <= set(exits.__all__)


@pytest.mark.parametrize(
    ("network", "sample", "axis"),
    [
        (nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 3, 1)), (2, 1, 8, 8), 1),
        (nn.Sequential(nn.Conv1d(1, 4, 3, padding=1), nn.ReLU(), nn.Conv1d(4, 3, 1)), (2, 1, 8), 1),
        (nn.Sequential(nn.Linear(6, 4), nn.ReLU(), nn.Linear(4, 3)), (2, 5, 6), -1),
    ],
)
def test_of_an_output_at_every_place_the_line_names_the_argument_that_says_where_classes_are(
    network, sample, axis
):
    x = torch.zeros(sample)
    with pytest.raises(ModelError) as caught:
        ec.MultiExit(network, x, where=["1"])
    line = str(caught.value)
    assert f"axis={axis} where the 3 " in line
    assert "classes=" not in line, "MultiExit has no such argument"
    net = ec.MultiExit(network, x, where=["1"], axis=axis).eval()
    assert net(x).shape == network(x).shape


def test_of_a_dict_the_exits_are_combined_with_what_it_names_logits():
    class Named(nn.Module):
        def __init__(self, *names: str) -> None:
            super().__init__()
            self.names = names
            self.inner, self.other, self.head = nn.Linear(4, 8), nn.Linear(8, 3), nn.Linear(8, 3)

        def forward(self, x):
            h = self.inner(x)
            return dict(zip(self.names, (self.other(h), self.head(h)), strict=True))

    x = torch.ones(2, 4)
    model = Named("features", "logits")
    net = ec.MultiExit(model, x, where=["inner"])
    assert torch.equal(net.all_logits(x)[-1], model(x)["logits"])
    with pytest.raises(ModelError, match="found outputs first, second; expected an entry called logits"):
        ec.MultiExit(Named("first", "second"), x, where=["inner"])(x)
