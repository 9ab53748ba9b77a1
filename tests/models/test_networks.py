"""Claims about the small networks, and what every model promises."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.func import functional_call
from torch.nn import functional as F

from everychip.errors import ConfigError, ModelError
from everychip.models import CNN, GRU, MLP, VGG8, Factory, LeNet, Model, ResNet18, Transformer

EVERY = [
    CNN(channels=2, hidden=(8, 4)),
    LeNet(),
    MLP(hidden=(8,)),
    VGG8(width=2),
    ResNet18(width=2),
    Transformer(dim=8, heads=2, depth=1),
    Transformer(dim=8, heads=2, depth=1, patch=4),
    GRU(hidden=8, layers=2),
    Factory(call="torch.nn:Flatten"),
]


@pytest.mark.parametrize("config", EVERY, ids=lambda config: config.kind)
def test_a_model_survives_the_way_through_toml(config: Model) -> None:
    assert Model.parse(config.table()) == config


@pytest.mark.parametrize("config", EVERY[:-1], ids=lambda config: config.kind)
def test_the_seed_alone_decides_the_weights(config: Model, global_generators_untouched: None) -> None:
    def weights(seed: int) -> torch.Tensor:
        return torch.cat([p.flatten() for p in config.build((1, 16, 16), 3, seed=seed).parameters()])

    assert torch.equal(weights(4), weights(4))
    assert not torch.equal(weights(4), weights(5))


@pytest.mark.parametrize("config", EVERY[:-1], ids=lambda config: config.kind)
def test_an_image_gets_the_same_logits_alone_and_in_a_batch(config: Model) -> None:
    net = config.build((1, 16, 16), 3).eval()
    x = torch.randn(4, 1, 16, 16)
    with torch.no_grad():
        torch.testing.assert_close(net(x)[2:3], net(x[2:3]), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("config", EVERY[:-1], ids=lambda config: config.kind)
def test_every_parameter_gets_a_gradient(config: Model) -> None:
    net = config.build((1, 16, 16), 3)
    net(torch.randn(4, 1, 16, 16)).square().sum().backward()
    assert [name for name, p in net.named_parameters() if p.grad is None or not p.grad.any()] == []


@pytest.mark.parametrize(
    ("size", "expected"),
    [(28, 156 + 2416 + (784 * 120 + 120) + 10164 + 850), (8, 156 + 2416 + 7800 + 10164 + 850)],
)
def test_lenet_has_the_parameters_counted_by_hand(size: int, expected: int) -> None:
    net = LeNet().build((1, size, size), 10)
    assert sum(p.numel() for p in net.parameters()) == expected
    assert net(torch.zeros(2, 1, size, size)).shape == (2, 10)


def test_lenet_takes_colour_images_of_32_pixels_and_refuses_3() -> None:
    assert LeNet(width=2).build((3, 32, 32), 10)(torch.zeros(1, 3, 32, 32)).shape == (1, 10)
    with pytest.raises(ModelError, match="at least 4×4"):
        LeNet().build((1, 3, 3), 10)


def test_mlp_is_matrices_with_relu_between() -> None:
    net = MLP(hidden=(5, 4)).build((2, 3), 3)
    w1, b1, w2, b2, w3, b3 = net.parameters()
    x = torch.randn(6, 2, 3)
    h = (x.reshape(6, 6) @ w1.T + b1).clamp(min=0)
    torch.testing.assert_close(net(x), (h @ w2.T + b2).clamp(min=0) @ w3.T + b3)
    assert len(list(MLP(hidden=()).build((4,), 2).parameters())) == 2  # no hidden layer: softmax regression


def test_gru_follows_the_recurrence_over_the_rows_of_the_image() -> None:
    net = GRU(hidden=5).build((2, 4, 3), 3)
    w_in, w_state, b_in, b_state = net.recurrent.parameters()
    x, state = torch.randn(2, 2, 4, 3), torch.zeros(2, 5)
    for row in range(4):
        step = torch.cat([x[:, 0, row], x[:, 1, row]], dim=1)
        r_in, z_in, n_in = (step @ w_in.T + b_in).chunk(3, dim=1)
        r_state, z_state, n_state = (state @ w_state.T + b_state).chunk(3, dim=1)
        reset, update = torch.sigmoid(r_in + r_state), torch.sigmoid(z_in + z_state)
        state = (1 - update) * torch.tanh(n_in + reset * n_state) + update * state
    torch.testing.assert_close(net(x), state @ net.output.weight.T + net.output.bias)


@pytest.mark.parametrize("config", [GRU(hidden=6), Transformer(dim=8, heads=2)], ids=["gru", "transformer"])
def test_series_are_read_step_by_step_and_their_order_counts(config: Model) -> None:
    net = config.build((7, 3), 2).eval()
    x = torch.randn(4, 7, 3)
    assert net(x).shape == (4, 2)
    assert not torch.allclose(net(x), net(x.flip(1)), atol=1e-4)


def test_patches_are_embedded_as_by_a_convolution_with_their_size_as_stride() -> None:
    net = Transformer(dim=8, heads=2, patch=4).build((3, 8, 12), 5)
    x = torch.randn(2, 3, 8, 12)
    kernel = net.embed.weight.reshape(8, 3, 4, 4)
    expected = nn.functional.conv2d(x, kernel, net.embed.bias, stride=4).flatten(2).transpose(1, 2)
    torch.testing.assert_close(net.embed(net._steps(x)), expected)
    assert net.positions.weight.shape == (6, 8)


def test_tokens_are_looked_up_in_the_vocabulary() -> None:
    net = Transformer(dim=8, heads=2, vocabulary=11).build((5,), 4)
    assert net(torch.randint(11, (3, 5), generator=torch.Generator().manual_seed(0))).shape == (3, 4)


def test_the_layers_of_the_transformer_start_with_different_weights() -> None:
    net = Transformer(depth=2).build((4, 3), 2)
    assert not torch.equal(net.layers[0].linear1.weight, net.layers[1].linear1.weight)


def test_the_fused_inference_path_of_the_transformer_sees_a_programmed_chip() -> None:
    net = Transformer(dim=8, heads=2).build((4, 3), 2)
    chip = {name: p.detach() * 1.3 + 0.1 for name, p in net.named_parameters()}
    other = Transformer(dim=8, heads=2).build((4, 3), 2, seed=9)
    other.load_state_dict(chip)
    x = torch.randn(5, 4, 3)
    slow = other.train()(
        x
    )  # without dropout both modes compute the same, and training never takes the fused path
    with torch.no_grad():
        torch.testing.assert_close(functional_call(net.eval(), chip, (x,)), slow, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("config", "shape", "words"),
    [
        (GRU(), (12,), r"model.gru: found inputs of shape \[12\]"),
        (Transformer(), (12,), "set model.vocabulary"),
        (Transformer(vocabulary=9), (3, 8, 8), r"expected tokens \[steps\]"),
        (Transformer(patch=5), (1, 8, 8), "multiples of patch=5"),
        (Transformer(patch=16), (1, 8, 8), "at least 16×16"),
        (Transformer(patch=4), (8, 8), "expected images"),
        (MLP(), (), r"inputs of shape \[\]"),
        (MLP(), (0, 4), r"inputs of shape \[0, 4\]"),
    ],
)
def test_inputs_that_do_not_fit_are_refused(config: Model, shape: tuple[int, ...], words: str) -> None:
    with pytest.raises(ModelError, match=words) as caught:
        config.build(shape, 10)
    assert "\n" not in str(caught.value)


def test_a_model_needs_a_class() -> None:
    with pytest.raises(ModelError, match="found 0 classes"):
        MLP().build((4,), 0)


@pytest.mark.parametrize(
    "table",
    [
        {"kind": "vgg8", "width": 0},
        {"kind": "mlp", "hidden": [0]},
        {"kind": "transformer", "dim": 10, "heads": 3},
        {"kind": "transformer", "dropout": 1.0},
        {"kind": "factory", "call": "no_colon"},
        {"kind": "factory", "call": "os.path:"},
        {"kind": "factory"},
        {"kind": "vgg"},
    ],
    ids=str,
)
def test_impossible_recipes_are_refused(table: dict[str, object]) -> None:
    with pytest.raises(ConfigError) as caught:
        Model.parse(table)
    assert "\n" not in str(caught.value)


def test_cnn_has_the_parameters_counted_by_hand_and_drops_before_every_linear_layer() -> None:
    net = CNN(dropout=0.3).build((1, 28, 28), 10)
    counted = (64 * 16 + 64) + (64 * 64 * 16 + 64) + (1600 * 256 + 256) + (256 * 64 + 64) + 650
    assert sum(p.numel() for p in net.parameters()) == counted
    assert sum(isinstance(module, nn.Dropout) for module in net.modules()) == 3
    with pytest.raises(ModelError, match="at least 10×10"):
        CNN().build((1, 9, 28), 10)


def test_cnn_is_its_layers_written_out_with_relu_before_every_pool() -> None:
    net = CNN(channels=2, hidden=(8,)).build((1, 12, 13), 3, seed=0)
    x = torch.randn(5, 1, 12, 13, generator=torch.Generator().manual_seed(0))
    hidden = F.max_pool2d(F.relu(net.conv1(F.pad(x, (2, 1, 2, 1)))), 2)
    hidden = F.max_pool2d(F.relu(net.conv2(hidden)), 2).flatten(1)
    expected = net.output(F.relu(net.hidden[1](hidden)))
    found = net(x)
    assert torch.equal(found, expected)
    weights = list(net.parameters())
    gradients = [torch.autograd.grad(logits.square().sum(), weights) for logits in (found, expected)]
    assert all(map(torch.equal, *gradients))


def test_cnn_starts_as_published_where_asked() -> None:
    net = CNN(init="published").build((1, 28, 28), 10, seed=0)
    # A normal cut off at two deviations has 0.8796 of its deviation (Johnson & Kotz, 1970, ch. 13).
    fans = {"conv1": 64 * (4 + 4), "conv2": 64 * 64 * (4 + 4), "hidden.1": 1600 + 256, "output": 64 + 10}
    for name, fan in fans.items():
        weight, std = net.get_submodule(name).weight.detach(), (6 / fan) ** 0.5
        assert float(weight.std()) == pytest.approx(0.8796 * std, rel=0.05)
        assert float(weight.abs().max()) <= 2 * std
    assert not net.get_submodule("output").bias.any()


def test_cnn_drops_as_published_one_mask_for_a_batch_and_no_rescaling() -> None:
    net = CNN(channels=2, hidden=(64,), dropout=0.3, dropout_law="published").build((1, 12, 12), 3)
    drop, x = net.get_submodule("dropout"), torch.rand(5, 2000) + 1
    kept = drop(x) != 0
    assert (kept == kept[0]).all()
    assert float(kept[0].float().mean()) == pytest.approx(0.7, abs=0.05)
    torch.testing.assert_close(drop(x).amax(), x.amax(), rtol=1e-3, atol=0)
    torch.testing.assert_close(net.eval().get_submodule("dropout")(x), x, rtol=0, atol=0)


def test_cnn_standardises_the_last_features_over_the_batch_in_evaluation_as_in_training() -> None:
    net = CNN(channels=2, hidden=(8,), batch_statistics=True).build((1, 12, 12), 3).eval()
    seen: list[torch.Tensor] = []
    net.get_submodule("output").register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    net(torch.randn(64, 1, 12, 12, generator=torch.Generator().manual_seed(0)))
    live = seen[0].std(dim=0) > 0
    assert live.any()
    torch.testing.assert_close(seen[0].mean(dim=0), torch.zeros(8), rtol=0, atol=1e-5)
    variance = seen[0][:, live].var(dim=0, correction=0)
    torch.testing.assert_close(variance, torch.ones_like(variance), rtol=0.02, atol=0)
