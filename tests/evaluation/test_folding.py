"""Folded networks answer for the same chips as they are, and what cannot be folded is refused."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import everychip as ec
from everychip.array import Array
from everychip.data.stream import Stream
from everychip.errors import ConfigError
from everychip.network.folding import Folded
from everychip.network.modes import evaluating
from everychip.network.running import Runner
from everychip.rng import rng_for, seeded_global_generator
from everychip.study.experiment import Evaluation, Experiment
from everychip.study.suitable import validate_for

HARDWARE = ec.Hardware(device=ec.devices.Gaussian(sigma=0.2))


def moved(model: nn.Module) -> nn.Module:
    """The network with statistics, factors and offsets of batch norm that are not those of the start."""
    rng = rng_for(0, "moved")
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            for tensor in (*module.parameters(), *module.buffers()):
                if tensor.is_floating_point():
                    tensor.data.copy_(torch.rand(tensor.shape, generator=rng) + 0.5)
    return model


class Residual(nn.Module):
    """What may not be written over: an input of the network, of a sum, and of two branches."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Conv2d(3, 3, 3, padding=1), nn.Conv2d(3, 3, 3, padding=1, bias=False)
        self.norm, self.other = nn.BatchNorm2d(3), nn.BatchNorm2d(3, affine=False)
        self.out = nn.Linear(3, 4)

    def forward(self, x: Tensor) -> Tensor:
        first = torch.relu(x)
        h = self.norm(self.one(first))
        h = nn.functional.relu(h) + h + first
        h = torch.relu(self.other(self.two(h)) + h)
        return self.out(h.mean((2, 3)))


class Reused(nn.Module):
    """A convolution that something else reads, too, one that is called twice, and one that is alone."""

    def __init__(self) -> None:
        super().__init__()
        self.seen, self.twice, self.alone = (nn.Conv2d(3, 3, 3, padding=1) for _ in range(3))
        self.norms = nn.ModuleList(nn.BatchNorm2d(3) for _ in range(4))
        self.out = nn.Linear(3, 4)

    def forward(self, x: Tensor) -> Tensor:
        h = self.seen(x)
        h = self.norms[0](h) + h
        h = self.norms[2](self.twice(self.norms[1](self.twice(h))))
        return self.out(self.norms[3](self.alone(h)).relu().mean((2, 3)))


class Unused(Residual):
    """A layer that no forward calls."""

    def __init__(self) -> None:
        super().__init__()
        self.spare = nn.Linear(3, 3)


def images(n: int = 40) -> tuple[Tensor, Tensor]:
    return torch.randn(n, 3, 8, 8, generator=rng_for(1)), torch.arange(n) % 4


def resnet() -> nn.Module:
    return ec.models.ResNet18(width=4).build((3, 8, 8), 4, seed=0)


def own(kind: type[nn.Module]) -> nn.Module:
    with seeded_global_generator(0, "net"):
        return kind()


NETWORKS: dict[str, tuple[Any, int]] = {
    "vgg": (lambda: ec.models.VGG8(width=4).build((3, 32, 32), 4, seed=0), 6),
    "resnet": (resnet, 20),
    "residual": (lambda: own(Residual), 2),
    "reused": (lambda: own(Reused), 1),
    "unused": (lambda: own(Unused), 2),
}


@pytest.mark.parametrize(("build", "pairs"), NETWORKS.values(), ids=NETWORKS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_folded_chips_answer_as_they_are(build: Any, pairs: int, dtype: torch.dtype) -> None:
    model = moved(build()).to(dtype).train()
    x = torch.randn(8, 3, 32, 32, generator=rng_for(2)).to(dtype)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    kinds = [type(module) for module in model.modules()]
    folded = Folded.of(model)
    assert len(folded.pairs) == pairs
    given = x.clone()
    for chip in (ec.program(model, HARDWARE, seed=0, chip=3), {}):
        with torch.no_grad(), evaluating(model), evaluating(folded.model):
            expected, found = (
                Runner(model).outputs(chip, x),
                Runner(folded.model).outputs(folded.chip(chip), x),
            )
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    assert torch.equal(x, given)
    assert model.training
    assert kinds == [type(module) for module in model.modules()]
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize("how", [{}, {"precision": "bfloat16"}, {"at_once": 4}, {"images": 20}])
def test_the_chips_of_an_evaluation_are_the_same(how: dict[str, Any]) -> None:
    model = moved(resnet())
    plain, folded = (
        ec.evaluate(model, HARDWARE, images(), chips=6, seed=5, folded=again, **how)
        for again in (False, True)
    )
    loose = how.get("precision") == "bfloat16"
    torch.testing.assert_close(folded.nll, plain.nll, rtol=2e-2 if loose else 1e-4, atol=1e-5)
    assert folded.cells == plain.cells


def test_statistics_that_a_mitigation_gives_a_chip_are_folded() -> None:
    model, data = moved(resnet()), images()
    how: dict[str, Any] = {
        "chips": 4,
        "mitigation": {"kind": "bn_recalibration", "images": 40},
        "calibration": data,
    }
    plain = ec.evaluate(model, HARDWARE, data, **how)
    folded = ec.evaluate(model, HARDWARE, data, folded=True, **how)
    untreated = ec.evaluate(model, HARDWARE, data, chips=4)
    torch.testing.assert_close(folded.nll, plain.nll, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(untreated.nll, plain.nll, rtol=1e-2)


class Branches(nn.Module):
    """A forward that depends on its data."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)

    def forward(self, x: Tensor) -> Tensor:
        h = self.norm(self.layer(x)).mean((2, 3))
        return h if float(x.sum()) > 0 else 2 * h


class TakesTensors(nn.Module):
    """A forward of which a tracer sees another case."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.layer(x)).mean((2, 3)) * (2 if isinstance(x, Tensor) else 1)


@pytest.mark.parametrize(
    ("model", "hardware", "words"),
    [
        (lambda: own(Branches), HARDWARE, "torch.fx cannot trace"),
        (lambda: own(TakesTensors), HARDWARE, "answers otherwise when torch.fx traces it"),
        (lambda: ec.models.LeNet().build((3, 8, 8), 4, seed=0), HARDWARE, "no batch norm follows a conv"),
        (resnet, HARDWARE.replace(array=Array(rows=64)), "an array"),
    ],
    ids=["control flow", "traced otherwise", "nothing to fold", "array"],
)
def test_what_cannot_be_folded_is_one_line(model: Any, hardware: ec.Hardware, words: str) -> None:
    with pytest.raises(ConfigError, match=rf"evaluate\.folded: found .*{words}.*; expected False") as told:
        ec.evaluate(model(), hardware, images(), chips=2, folded=True, calibration=images())
    assert "\n" not in str(told.value)


def test_hooks_a_compiled_network_a_stream_and_another_word_are_refused() -> None:
    hooked = resnet()
    hooked.register_forward_hook(lambda *_: None)
    with pytest.raises(ConfigError, match="found a network with hooks"):
        Folded.of(hooked)
    compiled = resnet()
    compiled.compile(backend="eager")
    with pytest.raises(ConfigError, match="found a compiled network"):
        Folded.of(compiled)
    x, y = images()
    with pytest.raises(ConfigError, match=r"evaluate\.folded: found a stream"):
        ec.evaluate(resnet(), HARDWARE, Stream([(x[:20], y[:20]), (x[20:], y[20:])]), chips=2, folded=True)
    with pytest.raises(ConfigError, match=r"folded: found 'yes'; expected True or False"):
        ec.evaluate(resnet(), HARDWARE, (x, y), chips=2, folded="yes")


def test_a_recipe_asks_for_it_and_has_no_key_without() -> None:
    assert Evaluation(folded=True).table()["folded"] is True
    assert "folded" not in Evaluation(folded=False).table()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (["model=lenet"], "no batch norm follows a convolution"),
        (["model={ kind = 'resnet18', width = 4 }", "hardware.array.rows=64"], "an array"),
    ],
)
def test_a_recipe_is_refused_before_its_training(change: list[str], words: str) -> None:
    experiment = Experiment.from_toml("digits", ["evaluation.folded=true", *change])
    splits = experiment.data.load()
    model = experiment.model.build(splits.input_shape, splits.classes)
    with pytest.raises(ConfigError, match=words):
        validate_for(experiment, model, splits)
