"""Claims about VGG-8 and ResNet-18: sizes by hand, and the forward pass written out again."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from everychip.errors import ModelError
from everychip.models import VGG8, Model, ResNet18


def parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def vgg8_size(w: int, c: int, k: int) -> int:
    convolutions = 9 * (c * w + 2 * w**2 + 8 * w**2 + 16 * w**2 + 32 * w**2 + 64 * w**2)
    norms = 2 * (1 + 2 + 4 + 4 + 8 + 8) * w
    return convolutions + norms + (128 * w * 16 * w + 16 * w) + (16 * w * k + k)


def resnet18_size(w: int, c: int, k: int) -> int:
    stem = 9 * c * w + 2 * w
    first = 4 * (9 * w * w + 2 * w)
    rest = sum(9 * v * v // 2 + 3 * 9 * v * v + 4 * 2 * v + v * v // 2 + 2 * v for v in (2 * w, 4 * w, 8 * w))
    return stem + first + rest + 8 * w * k + k


@pytest.mark.parametrize(
    ("width", "channels", "expected"), [(64, 1, 12_901_322), (64, 3, 12_902_474), (16, 1, 809_210)]
)
def test_vgg8_has_the_parameters_counted_by_hand(width: int, channels: int, expected: int) -> None:
    assert vgg8_size(width, channels, 10) == expected
    assert parameters(VGG8(width=width).build((channels, 32, 32), 10)) == expected


@pytest.mark.parametrize(
    # 11 173 962 is the count everyone quotes for ResNet-18 on CIFAR-10.
    ("width", "channels", "expected"),
    [(64, 3, 11_173_962), (16, 1, 701_178)],
)
def test_resnet18_has_the_parameters_counted_by_hand(width: int, channels: int, expected: int) -> None:
    assert resnet18_size(width, channels, 10) == expected
    assert parameters(ResNet18(width=width).build((channels, 32, 32), 10)) == expected


def norm(x: Tensor, state: dict[str, Tensor], name: str) -> Tensor:
    mean, var, gain, shift = (
        state[f"{name}.{key}"] for key in ("running_mean", "running_var", "weight", "bias")
    )
    shape = (1, -1, 1, 1)
    scaled = (x - mean.reshape(shape)) / (var.reshape(shape) + 1e-5).sqrt()
    return scaled * gain.reshape(shape) + shift.reshape(shape)


def with_lively_norms(net: nn.Module) -> nn.Module:
    """Statistics and gains other than 0 and 1, so that a forgotten norm would show."""
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean, std=0.3)
            nn.init.uniform_(module.running_var, 0.5, 2.0)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.3)
    return net.eval()


def test_vgg8_computes_what_the_paper_says() -> None:
    net = with_lively_norms(VGG8(width=4).build((3, 32, 32), 7, seed=1))
    state, x = net.state_dict(), torch.randn(2, 3, 32, 32)
    h = x
    for number in range(1, 7):
        h = F.conv2d(h, state[f"block{number}.conv.weight"], padding=1)
        h = norm(h, state, f"block{number}.norm").clamp(min=0)
        if number in (2, 4, 6):
            h = F.max_pool2d(h, 2)
    h = (h.reshape(2, -1) @ state["hidden.weight"].T + state["hidden.bias"]).clamp(min=0)
    torch.testing.assert_close(net(x), h @ state["output.weight"].T + state["output.bias"])


def test_resnet18_computes_what_the_paper_says() -> None:
    net = with_lively_norms(ResNet18(width=4).build((3, 32, 32), 7, seed=1))
    state, x = net.state_dict(), torch.randn(2, 3, 32, 32)
    h = norm(F.conv2d(x, state["stem.conv.weight"], padding=1), state, "stem.norm").clamp(min=0)
    for stage in (1, 2, 3, 4):
        for block in (0, 1):
            name, stride = f"layer{stage}.{block}", 2 if stage > 1 and block == 0 else 1
            out = F.conv2d(h, state[f"{name}.conv1.weight"], stride=stride, padding=1)
            out = norm(out, state, f"{name}.norm1").clamp(min=0)
            out = norm(F.conv2d(out, state[f"{name}.conv2.weight"], padding=1), state, f"{name}.norm2")
            if stride == 2:
                h = F.conv2d(h, state[f"{name}.shortcut.conv.weight"], stride=2)
                h = norm(h, state, f"{name}.shortcut.norm")
            h = (h + out).clamp(min=0)
    h = h.mean(dim=(2, 3)) @ state["output.weight"].T + state["output.bias"]
    torch.testing.assert_close(net(x), h)


@pytest.mark.parametrize(
    ("config", "flattened"),
    [
        (VGG8(), {"block1": 2304, "block2": 2048, "block4": 2304}),
        (ResNet18(), {"stem": 2304, "layer1": 2304, "layer2": 2048, "layer3": 2304}),
    ],
    ids=["vgg8", "resnet18"],
)
def test_exits_get_as_many_features_as_in_the_authors_code(config: Model, flattened: dict[str, int]) -> None:
    net = config.build((3, 32, 32), 10).eval()
    seen: dict[str, int] = {}
    positions: dict[str, int] = net.exit_positions  # type: ignore[assignment]
    for name, pool in positions.items():

        def keep(_m: nn.Module, _i: object, out: Tensor, name: str = name, pool: int = pool) -> None:
            seen[name] = F.adaptive_avg_pool2d(out, pool).flatten(1).shape[1]

        net.get_submodule(name).register_forward_hook(keep)
    with torch.no_grad():
        net(torch.zeros(1, 3, 32, 32))
    assert list(seen.items()) == list(flattened.items())  # in the order of the forward pass, too


def test_vgg8_pools_the_published_feature_maps() -> None:
    net = VGG8(width=2).build((1, 32, 32), 10)
    x = net.get_submodule("block1")(torch.zeros(2, 1, 32, 32))
    assert x.shape == (2, 2, 32, 32)
    assert net.get_submodule("block2")(x).shape == (2, 4, 16, 16)


@pytest.mark.parametrize("config", [VGG8(width=32), ResNet18(width=32)], ids=["vgg8", "resnet18"])
def test_initial_weights_are_kaiming_fan_out(config: Model) -> None:
    for name, module in config.build((3, 32, 32), 10).named_modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            weight = module.weight.detach()
            fan_out = weight.shape[0] * weight[0, 0].numel()
            std, count = (2 / fan_out) ** 0.5, weight.numel()
            assert float(weight.std()) == pytest.approx(std, rel=5 / (2 * count) ** 0.5), name
            assert abs(float(weight.mean())) < 5 * std / count**0.5, name
            assert module.bias is None or not module.bias.any(), name
        if isinstance(module, nn.BatchNorm2d):
            assert (module.weight == 1).all(), name
            assert not module.bias.any(), name


@pytest.mark.parametrize("config", [VGG8(width=4), ResNet18(width=4)], ids=["vgg8", "resnet18"])
@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 28, 28), (1, 9, 17), (3, 64, 64)])
def test_other_images_fit_and_both_memory_formats_agree(config: Model, shape: tuple[int, ...]) -> None:
    net = config.build(shape, 5, seed=2).eval()
    x = torch.randn(3, *shape)
    logits = net(x)
    assert logits.shape == (3, 5)
    last = net.to(memory_format=torch.channels_last)(x.contiguous(memory_format=torch.channels_last))
    torch.testing.assert_close(last, logits, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("config", "shape", "words"),
    [
        (VGG8(), (1, 7, 32), "images of 7×32 pixels; expected at least 8×8"),
        (VGG8(), (64,), r"inputs of shape \[64\]; expected images"),
        (ResNet18(), (3, 32), r"inputs of shape \[3, 32\]; expected images"),
    ],
)
def test_inputs_that_do_not_fit_are_refused(config: Model, shape: tuple[int, ...], words: str) -> None:
    with pytest.raises(ModelError, match=words):
        config.build(shape, 10)
