from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from everychip import exits
from everychip.errors import ConfigError, DataError, ModelError
from everychip.exits.heads import AveragePool, Head
from everychip.exits.survey import Site
from everychip.rng import seeded_global_generator


class Net(nn.Module):
    """Two convolutions with norm, dropout and a classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 4, 3, padding=1)
        self.bn1 = nn.BatchNorm2d(4)
        self.body = nn.Sequential(nn.Conv2d(4, 6, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2))
        self.drop = nn.Dropout(0.5)
        self.out = nn.Linear(6 * 16, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.body(torch.relu(self.bn1(self.conv1(x))))
        return self.out(self.drop(x.flatten(1)))


def images(n: int = 4) -> Tensor:
    return torch.randn(n, 1, 8, 8, generator=torch.Generator().manual_seed(3))


def hooks(model: nn.Module) -> int:
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules())


def test_logits_equal_a_literal_computation_from_the_inner_features() -> None:
    model = Net().eval()
    made = exits.attach(model, images(), where=["conv1", "body"], pool=[3, 2], hidden=7)
    with made.tap(model) as taps:
        model(images())
    first, second = made.logits(taps)
    inner = model.conv1(images())
    head = made.heads["exit1_conv1"]
    hidden = F.relu(F.adaptive_avg_pool2d(inner, 3).flatten(1) @ head.hidden.weight.T + head.hidden.bias)
    torch.testing.assert_close(first, hidden @ head.classes.weight.T + head.classes.bias)
    inner = model.body(torch.relu(model.bn1(inner)))
    head = made.heads["exit2_body"]
    hidden = F.relu(F.adaptive_avg_pool2d(inner, 2).flatten(1) @ head.hidden.weight.T + head.hidden.bias)
    torch.testing.assert_close(second, hidden @ head.classes.weight.T + head.classes.bias)


def test_attach_and_tap_leave_the_model_as_it_was() -> None:
    model = Net()
    model.bn1.eval()
    flags = {name: module.training for name, module in model.named_modules()}
    state = {name: value.clone() for name, value in model.state_dict().items()}
    generator = torch.random.get_rng_state()
    made = exits.attach(model, images())
    assert {name: module.training for name, module in model.named_modules()} == flags
    assert torch.equal(torch.random.get_rng_state(), generator)
    assert state.keys() == model.state_dict().keys()
    assert all(torch.equal(value, model.state_dict()[name]) for name, value in state.items())
    with made.tap(model):
        assert hooks(model) == len(made.positions)
        functional_call(model, {}, (images(),))
    assert hooks(model) == 0
    assert not any(parameter is p for parameter in made.parameters() for p in model.parameters())


def test_a_failed_forward_leaves_no_hook() -> None:
    model = Net()
    with pytest.raises(ModelError, match="sample of shape"):
        exits.attach(model, torch.randn(2, 5, 8, 8))
    assert hooks(model) == 0
    made = exits.attach(model, images())
    with pytest.raises(RuntimeError), made.tap(model):
        model(torch.randn(2, 5, 8, 8))
    assert hooks(model) == 0


def test_gradients_flow_from_the_exits_into_the_backbone() -> None:
    model = Net()
    made = exits.attach(model, images(), where=["conv1", "body"])
    with made.tap(model) as taps:
        model(images())
    sum(z.square().mean() for z in made.logits(taps)).backward()
    assert model.conv1.weight.grad is not None
    assert model.conv1.weight.grad.abs().sum() > 0
    assert model.out.weight.grad is None


@pytest.mark.parametrize("inference", [False, True])
def test_a_layer_that_writes_over_features_does_not_change_what_an_exit_reads(inference: bool) -> None:
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(72, 3))
    made = exits.attach(model, images(), where=["0", "1"])
    with torch.inference_mode(inference):
        with made.tap(model) as taps:
            model(images())
        features = model[0](images())
        torch.testing.assert_close(taps["0"], features)
        torch.testing.assert_close(taps["1"], features.clamp(min=0))
        assert (features < 0).any()


def test_gradients_of_an_exit_are_those_without_a_layer_that_writes_over_its_features() -> None:
    found = []
    for inplace in (False, True):
        with seeded_global_generator(0):
            model = nn.Sequential(
                nn.Conv2d(1, 2, 3), nn.ReLU(inplace=inplace), nn.Flatten(), nn.Linear(72, 3)
            )
        made = exits.attach(model, images(), where=["0"])
        with made.tap(model) as taps:
            z = model(images())
        (z.square().sum() + made.logits(taps)[0].square().sum()).backward()
        found.append(model[0].weight.grad)
    torch.testing.assert_close(*found)


def test_a_programmed_chip_replaces_the_heads_and_the_backbone() -> None:
    model = Net().eval()
    made = exits.attach(model, images(), where=["conv1"])
    doubled = {"conv1.weight": model.conv1.weight * 2, "conv1.bias": model.conv1.bias * 2}
    with made.tap(model) as taps:
        functional_call(model, doubled, (images(),))
    torch.testing.assert_close(taps["conv1"], 2 * model.conv1(images()))
    zeros = {name: torch.zeros_like(p) for name, p in made.named_parameters()}
    assert made.logits(taps, chip=zeros)[0].abs().sum() == 0
    assert made.logits(taps)[0].abs().sum() > 0


def test_heads_depend_on_the_seed_only() -> None:
    with seeded_global_generator(1):
        first = exits.attach(Net(), images(), seed=5).state_dict()
    with seeded_global_generator(2):
        second = exits.attach(Net(), images(), seed=5).state_dict()
    other = exits.attach(Net(), images(), seed=6).state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not all(torch.equal(first[name], other[name]) for name in first)


@pytest.mark.parametrize(("size", "k"), [((32, 32), 6), ((16, 16), 4), ((8, 8), 3), ((7, 5), 2), ((3, 3), 3)])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_pooling_equals_torchs_and_so_does_its_gradient(
    size: tuple[int, int], k: int, layout: torch.memory_format
) -> None:
    x = torch.randn(3, 4, *size, dtype=torch.float64).to(memory_format=layout).requires_grad_()
    pool, reference = AveragePool((k, k), size), nn.AdaptiveAvgPool2d(k)
    weights = torch.randn(3, 4 * k * k, dtype=torch.float64)
    ours, theirs = pool.double()(x), reference(x).flatten(1)
    torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-6)
    gradients = [torch.autograd.grad((y * weights).sum(), x)[0] for y in (ours, theirs)]
    torch.testing.assert_close(*gradients, rtol=1e-6, atol=1e-6)


def test_an_exit_lies_where_the_features_of_its_place_lie() -> None:
    # The meta device stands for a GPU, which CI has not; `bind` moves nothing that the user has placed.
    site = Site("body", 0, False, 4, (8, 8), torch.float32, torch.device("meta"), pool=(3, 3))
    head = Head(site, hidden=5, classes=3)
    assert {tensor.device.type for tensor in (*head.parameters(), *head.buffers())} == {"meta"}
    features = torch.empty(2, 4, 8, 8, device="meta").to(memory_format=torch.channels_last)
    assert head(features).shape == (2, 3)


def test_pooling_adapts_to_an_image_of_another_size() -> None:
    pool = AveragePool((3, 3), (8, 8))
    x = torch.randn(2, 4, 11, 9).to(memory_format=torch.channels_last)
    torch.testing.assert_close(pool(x), F.adaptive_avg_pool2d(x, 3).flatten(1))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"where": ["con1"]}, "did you mean conv1"),
        ({"where": "paper"}, "VGG8 and models.ResNet18"),
        ({"where": ["conv1", "conv1"]}, "each once"),
        ({"where": []}, "one or more names"),
        ({"where": ["conv1"], "pool": [1, 2]}, "1 sizes"),
        ({"count": 0}, "at least 1"),
    ],
)
def test_mistakes_are_answered_in_words(options: dict[str, object], words: str) -> None:
    with pytest.raises((ModelError, ConfigError), match=words):
        exits.attach(Net(), images(), **options)


def test_an_empty_sample_is_refused() -> None:
    with pytest.raises(DataError, match="no input"):
        exits.attach(Net(), images()[:0])


def test_a_tap_that_saw_no_forward_is_refused() -> None:
    model = Net()
    made = exits.attach(model, images(), where=["conv1"])
    with made.tap(model) as taps, pytest.raises(ModelError, match="was not called"):
        made.logits(taps)
