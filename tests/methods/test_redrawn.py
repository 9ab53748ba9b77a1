"""Chips that the backward draws again: gradients to the bit, and nothing of a chip in between."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import everychip as ec
from everychip.array import Array
from everychip.errors import ConfigError, ModelError
from everychip.methods import Method, Objective
from everychip.methods import redrawn as redrawn_module
from everychip.methods.redrawn import Redrawn
from everychip.rng import rng_for, seeded_global_generator
from everychip.training.config import Training
from everychip.training.step import backward

HW = ec.Hardware(device=ec.devices.Gaussian(sigma=0.2))
OWN = [name for name, kind in Method.kinds().items() if kind.__module__.startswith("everychip.")]
CHEAPER: dict[str, dict[str, Any]] = {
    "irs": {"hidden": 8},
    "deep_supervision": {"hidden": 8},
    "adversarial_weight": {"attack_steps": 1},
    "correctnet": {"scale": 0.7},
}


def convolutional() -> tuple[nn.Module, Tensor, Tensor]:
    with seeded_global_generator(0, "net"):
        part = [nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2)]
        model = nn.Sequential(*part, nn.Conv2d(8, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(32, 4))
    model = model.to(memory_format=torch.channels_last)
    x = torch.randn(8, 3, 8, 8, generator=rng_for(0, "x")).to(memory_format=torch.channels_last)
    return model, x, torch.arange(8) % 4


def transformer() -> tuple[nn.Module, Tensor, Tensor]:
    x = torch.randn(8, 1, 8, 8, generator=rng_for(0, "x"))
    return ec.models.Transformer(patch=4).build((1, 8, 8), 4, seed=0), x, torch.arange(8) % 4


def objective_of(method: Any, model: nn.Module, x: Tensor, hardware: ec.Hardware = HW) -> Objective:
    objective = Method.parse(method).bind(model, hardware, seed=3, sample=x[:2], steps=4)
    objective.step = 2  # past the ramps
    objective.train()
    return objective


def gradients(method: Any, build: Any, *, hardware: ec.Hardware = HW, **asked: Any) -> list[Tensor]:
    model, x, y = build()
    objective = objective_of(method, model, x, hardware)
    optimizer = torch.optim.SGD(objective.parameters(), lr=0.1)
    with seeded_global_generator(0, "dropout"):
        backward(objective, optimizer, x, y, Training(**asked))
    return [p.grad for p in objective.parameters() if p.grad is not None]


@pytest.mark.parametrize("name", OWN)
def test_gradients_of_every_method_are_those_of_chips_that_are_kept(name: str) -> None:
    method = {"kind": name, **CHEAPER.get(name, {})}
    kept, redrawn = (gradients(method, convolutional, redraw=redraw) for redraw in (False, True))
    assert kept
    assert all(map(torch.equal, kept, redrawn))


@pytest.mark.parametrize(
    "asked",
    [{"precision": "bfloat16"}, {"parts": 2}, {"recompute": ("0", "4")}],
    ids=["bfloat16", "parts", "recompute"],
)
def test_gradients_beside_what_else_saves_memory(asked: dict[str, Any]) -> None:
    kept, redrawn = (
        gradients("noise_injection", convolutional, redraw=again, **asked) for again in (False, True)
    )
    assert all(map(torch.equal, kept, redrawn))


@pytest.mark.parametrize("gradient", ["pathwise", "clean"])
def test_gradients_through_the_noise_and_of_clean_weights(gradient: str) -> None:
    method = {"kind": "noise_injection", "noise_gradient": gradient}
    kept, redrawn = (gradients(method, convolutional, redraw=redraw) for redraw in (False, True))
    assert all(map(torch.equal, kept, redrawn))


@pytest.mark.parametrize(
    ("method", "hardware"),
    [
        ("noise_injection", HW),
        ({"kind": "noise_injection", "scales": {}}, HW),
        ("noise_injection", HW.replace(array=Array(rows=16, columns=16, dac_bits=6, adc_bits=8))),
        ("noise_injection", HW.replace(device=ec.devices.preset("FeFET6", sigma=0.2))),
    ],
    ids=["parts of a weight", "learned scales", "array", "levels"],
)
def test_gradients_of_a_transformer(method: Any, hardware: ec.Hardware) -> None:
    how = {"hardware": hardware}
    kept, redrawn = (gradients(method, transformer, redraw=redraw, **how) for redraw in (False, True))
    assert all(map(torch.equal, kept, redrawn))


def test_no_weight_of_a_chip_waits_for_the_backward(monkeypatch: pytest.MonkeyPatch) -> None:
    model, x, y = convolutional()
    objective = objective_of("ovf", model, x)
    kept: list[Any] = []
    drawn: list[str] = []
    pack, again = Redrawn._pack, redrawn_module._Drawn.again
    monkeypatch.setattr(Redrawn, "_pack", lambda self, t: kept.append(pack(self, t)) or kept[-1])
    monkeypatch.setattr(redrawn_module._Drawn, "again", lambda self: drawn.append(self.name) or again(self))
    with objective.redrawing():
        loss = objective(x, y)
    weights = [p.numel() for p in model.parameters() if p.ndim > 1]
    whole = [one for one in kept if isinstance(one, Tensor) and one.numel() in weights]
    assert kept
    assert not whole
    assert not drawn
    loss.backward()
    # Four forwards of three weights; the first is read again only for the gradient of the images, if any.
    assert sorted(drawn).count("7.weight") == sorted(drawn).count("4.weight") == 4


def test_a_chip_whose_weight_has_changed_is_refused() -> None:
    model, x, y = convolutional()
    objective = objective_of("noise_injection", model, x)
    with objective.redrawing():
        loss = objective(x, y)
    with torch.no_grad():
        model.get_parameter("7.weight").mul_(2)
    with pytest.raises(ModelError, match=r"7\.weight: found a weight that changed between .*redraw = false"):
        loss.backward()


def test_what_a_layer_overwrites_is_noticed_as_ever() -> None:
    """PyTorch's own check of tensors that were changed in place stays."""

    class Overwrites(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(6, 4)

        def forward(self, x: Tensor) -> Tensor:
            y = self.layer(x).exp()
            z = y.square().sum(1, keepdim=True)
            y.mul_(0.5)
            return y + z

    model, x = Overwrites(), torch.randn(8, 6, generator=rng_for(0, "x"))
    objective = objective_of("noise_injection", model, x)
    with objective.redrawing():
        loss = objective(x, torch.arange(8) % 4)
    with pytest.raises(RuntimeError, match=r"shape \[8, 4\] that the backward needs was changed in place"):
        loss.backward()


def test_a_training_is_the_same_to_the_bit() -> None:
    x = torch.randn(256, 6, generator=rng_for(0, "x"))
    y = x[:, :3].argmax(1)
    found = []
    for redraw in (False, True):
        with seeded_global_generator(0, "net"):
            model = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))
        how: dict[str, Any] = {"hardware": HW, "epochs": 3, "batch_size": 16, "progress": False, "lr": 0.05}
        found.append(ec.fit(model, "resilient", (x, y), redraw=redraw, **how).state_dict())
    assert all(torch.equal(found[0][name], found[1][name]) for name in found[0])


def test_what_is_not_asked_for_has_no_key_in_a_recipe() -> None:
    assert "redraw" not in Training(redraw=False).table()
    assert Training(redraw=True).table()["redraw"] is True


def test_a_compiled_network_is_refused() -> None:
    def compiled() -> tuple[nn.Module, Tensor, Tensor]:
        model, x, y = convolutional()
        model.compile(backend="eager")
        return model, x, y

    with pytest.raises(ConfigError, match=r"training\.redraw: found a compiled network, .*redraw = false"):
        gradients("noise_injection", compiled, redraw=True)
