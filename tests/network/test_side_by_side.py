"""Chips side by side answer as each does alone, and what is not known is left to vmap."""

from __future__ import annotations

import warnings

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.func import functional_call

import everychip as ec
from everychip.network import vectorised as module
from everychip.network.chips_tensor import Chips, UnknownFunctionError
from everychip.network.side_by_side import answered_side_by_side
from everychip.network.vectorised import vectorised

CHIPS = 3


def stacked(model: nn.Module, least: int = 2) -> dict[str, torch.Tensor]:
    """Chips of every tensor of at least so many axes."""
    rng = ec.rng_for(5)
    return {
        name: torch.stack(
            [one.detach() + 0.1 * torch.randn(one.shape, generator=rng) for _ in range(CHIPS)]
        ).abs()
        for name, one in (*model.named_parameters(), *model.named_buffers())
        if one.ndim >= least and one.is_floating_point()
    }


class Written(nn.Module):
    """Layers as functions, in the forms that people write them in."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.grouped = nn.Conv2d(2, 4, 3, padding="same"), nn.Conv2d(4, 8, 3, groups=2, stride=2)
        self.norm, self.out = nn.BatchNorm2d(8), nn.Linear(8, 3, bias=False)
        self.drop, self.scale = nn.Dropout(0.5), nn.Parameter(torch.tensor(0.5))

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        h = F.relu(self.conv(x), inplace=True)
        h = 2.0 * F.avg_pool2d(h, 2) + F.max_pool2d(h, 2) * self.scale
        h = self.drop(torch.tanh(self.norm(self.grouped(h))))
        h = F.adaptive_avg_pool2d(h, 1).view(x.size(0), -1)
        return {"logits": self.out(h), "shared": x.mean(dim=(1, 2, 3))}


NETWORKS = {
    "lenet": lambda: ec.models.LeNet().build((2, 8, 8), 3, seed=0),
    "vgg8": lambda: ec.models.VGG8(width=4).build((2, 32, 32), 3, seed=0),
    "resnet18": lambda: ec.models.ResNet18(width=4).build((2, 16, 16), 3, seed=0),
    "written as functions": Written,
    "perceptron": lambda: nn.Sequential(nn.Flatten(), nn.Linear(128, 6), nn.GELU(), nn.Linear(6, 3)),
    "a digital first layer": lambda: nn.Sequential(nn.Hardtanh(), nn.Conv2d(2, 3, 8), nn.Flatten()),
}


class Recurrent(nn.Module):
    """Recurrent layers that read rows of an image, in PyTorch's forms; what they say last is the answer."""

    def __init__(self, **how: object) -> None:
        super().__init__()
        self.first = not how or bool(how.get("batch_first", True))
        self.recurrent = nn.GRU(16, 5, **{"batch_first": True, **how})
        self.out = nn.Linear(10 if how.get("bidirectional") else 5, 3)

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        rows = x.transpose(1, 2).flatten(2)
        states, last = self.recurrent(rows if self.first else rows.transpose(0, 1))
        return {"logits": self.out(states[:, -1] if self.first else states[-1]), "last": last, "all": states}


NETWORKS |= {
    "gru": Recurrent,
    "two gru layers, both ways": lambda: Recurrent(num_layers=2, bidirectional=True),
    "gru, steps first, no biases": lambda: Recurrent(
        batch_first=False, bias=False, dropout=0.1, num_layers=2
    ),
    "gru of the models": lambda: ec.models.GRU(hidden=6, layers=2).build((2, 8, 8), 3, seed=0),
}


def images(n: int = 5, size: int = 8) -> torch.Tensor:
    return torch.randn(n, 2, size, size, generator=ec.rng_for(6))


@pytest.mark.parametrize("least", [1, 2], ids=["all tensors", "matrices"])
@pytest.mark.parametrize("network", NETWORKS)
def test_chips_side_by_side_answer_as_each_does_alone(network, least) -> None:
    model = NETWORKS[network]().double().eval()
    x = images(size={"vgg8": 32, "resnet18": 16}.get(network, 8)).double()
    chips = stacked(model, least)

    def one(chip, x):
        return functional_call(model, dict(chip), (x,))

    with torch.no_grad():
        every = answered_side_by_side(one, chips, x)
        alone = [one({name: held[k] for name, held in chips.items()}, x) for k in range(CHIPS)]
    if isinstance(every, torch.Tensor):
        every, alone = {"": every}, [{"": z} for z in alone]
    for name, found in every.items():
        assert type(found) is torch.Tensor
        torch.testing.assert_close(found, torch.stack([z[name] for z in alone]))


def test_bfloat16_products_are_those_of_a_chip_alone() -> None:
    model = ec.models.LeNet().build((2, 8, 8), 3, seed=0).eval()
    chips, x = stacked(model), images()
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        every = vectorised(model)(chips, x)
        alone = [
            functional_call(model, {n: held[k] for n, held in chips.items()}, (x,)) for k in range(CHIPS)
        ]
    assert every.dtype == torch.bfloat16
    torch.testing.assert_close(every, torch.stack(alone), rtol=0.05, atol=0.05)


UNKNOWN = {
    "sort": (lambda h: h.sort(dim=1).values, "sort"),
    "mean of channels": (lambda h: F.softmax(h, dim=1), "softmax"),
    "statistics of the batch": (lambda h: F.batch_norm(h, None, None, training=True), "batch_norm"),
    "dropout that draws": (lambda h: F.dropout(h, 0.5), "dropout"),
    "indices": (lambda h: F.max_pool2d(h, 2, return_indices=True)[0], "max_pool2d_with_indices"),
    "indices by place": (lambda h: F.max_pool2d(h, 2, None, 0, 1, False, True)[0], "max_pool2d"),
    "one channel beside several": (
        lambda h: h * Chips.of(torch.ones(4, CHIPS, 8, 8), number=CHIPS, among_channels=True),
        "mul",
    ),
    "an image added": (lambda h: h + torch.ones(h.shape), "add"),
    "another shape": (lambda h: h.reshape(-1, 2), "reshape"),
    "a branch": (lambda h: h if h.relu() is None else h.sum(), "sum"),
}


@pytest.mark.parametrize("case", UNKNOWN.values(), ids=UNKNOWN)
def test_a_function_that_is_not_known_is_refused(case) -> None:
    function, name = case
    h = Chips.of(torch.randn(4, 6, 8, 8), number=CHIPS, among_channels=True)
    with pytest.raises(UnknownFunctionError, match=name):
        function(h)


def test_rows_are_taken_by_numbers_and_slices_alone() -> None:
    rows = Chips.of(torch.arange(24.0).reshape(CHIPS, 2, 4), number=CHIPS)
    assert torch.equal(rows[:, -1].held, rows.held[:, :, -1])
    assert torch.equal(rows[..., 1:3].held, rows.held[..., 1:3])
    for index in ([0, 1], torch.tensor([0]), (slice(None), [0, 2]), True):
        with pytest.raises(UnknownFunctionError, match="getitem"):
            _ = rows[index]


def swish(x: torch.Tensor) -> torch.Tensor:
    return torch.sigmoid(x) * x


with warnings.catch_warnings(action="ignore"):  # newer versions of PyTorch advise against it
    scripted = torch.jit.trace(swish, torch.ones(1))


class Uncommon(nn.Module):
    """Parts that no function of Python is asked for, attention over space, and images one by one."""

    def __init__(self, part: str) -> None:
        super().__init__()
        self.part = part
        self.conv, self.gate, self.out = nn.Conv2d(2, 3, 3), nn.Conv2d(3, 1, 1), nn.Linear(108, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        apart = self.part == "images one by one"
        h = torch.stack([self.conv(one) for one in x]) if apart else self.conv(x)
        if self.part == "scripted":
            h = scripted(h)
        if self.part == "attention over space":
            h = h * torch.sigmoid(self.gate(h))
        if self.part == "rows by a list":
            return self.out(h.flatten(1))[:, [2, 0, 1]]
        return self.out(h.flatten(1))


@pytest.mark.parametrize("part", ["scripted", "attention over space", "images one by one", "rows by a list"])
def test_what_is_uncommon_is_right_or_refused(part) -> None:
    model, x = Uncommon(part).double().eval(), images().double()
    chips = stacked(model)
    with torch.no_grad():
        alone = [
            functional_call(model, {n: held[k] for n, held in chips.items()}, (x,)) for k in range(CHIPS)
        ]
        try:
            every = vectorised(model)(chips, x)
        except RuntimeError:  # vmap cannot run it either, and `each_together` says so
            assert part == "scripted"
        else:
            torch.testing.assert_close(every, torch.stack(alone))


class Sorted(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 3, 8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv(x).flatten(1).sort(dim=1).values


def test_what_is_not_known_is_run_by_vmap_from_then_on(monkeypatch) -> None:
    model, x, asked = Sorted().eval(), images(), []
    real = module.answered_side_by_side
    monkeypatch.setattr(module, "answered_side_by_side", lambda *how: asked.append(1) or real(*how))
    chips = stacked(model)
    run = vectorised(model)
    with torch.no_grad():
        first, second = run(chips, x), run(chips, x)
        alone = [
            functional_call(model, {n: held[k] for n, held in chips.items()}, (x,)) for k in range(CHIPS)
        ]
    torch.testing.assert_close(first, torch.stack(alone))
    assert torch.equal(first, second)
    assert len(asked) == 1


def test_sums_of_the_wrong_axes_are_refused() -> None:
    rows = Chips.of(torch.ones(CHIPS, 4, 5), number=CHIPS)
    vector = Chips.of(torch.ones(CHIPS, 5), number=CHIPS)
    assert torch.equal((rows + torch.ones(5)).held, torch.full((CHIPS, 4, 5), 2.0))
    for other in (vector, torch.ones(CHIPS, 1, 1, 1)):
        with pytest.raises(UnknownFunctionError):
            _ = rows + other
