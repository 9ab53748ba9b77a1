"""Binding: the length of training it takes, and which matrix it holds for the last."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from everychip import Hardware, devices, methods, models
from everychip.errors import ConfigError
from everychip.methods.compensators import compensate
from everychip.network.order import order_of_use

HARDWARE = Hardware(device=devices.Gaussian(sigma=0.2))
MODELS = {
    kind: model
    for kind, model in models.Model.kinds().items()
    if model.__module__.startswith("everychip.") and kind != "factory"
}


class HeadFirst(nn.Module):
    """Defines its head before its body."""

    def __init__(self) -> None:
        super().__init__()
        self.head, self.middle, self.body = nn.Linear(6, 3), nn.Linear(6, 6), nn.Linear(4, 6)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.relu(self.middle(torch.relu(self.body(x)))))


def scaled(model: nn.Module, *, sample: Tensor | None, hardware: Hardware = HARDWARE) -> list[str]:
    """The parameters that a gain of one half halves."""
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    methods.NoiseInjection(last_layer_gain=0.5).bind(model, hardware, sample=sample)
    found = [name for name, p in model.named_parameters() if not torch.equal(p.detach(), before[name])]
    for name in found:
        torch.testing.assert_close(model.get_parameter(name).detach(), 0.5 * before[name])
    return found


@pytest.mark.parametrize("steps", [0, -3, 2.5, float("nan"), "9"])
@pytest.mark.parametrize(
    "method", [methods.Resilient(), methods.NoiseInjection(), methods.Distillation()], ids=lambda m: m.kind
)
def test_a_length_that_is_no_number_of_steps_is_refused_in_one_line(method, steps):
    with pytest.raises(ConfigError, match=r"bind.steps: found .*a whole number, at least 1") as error:
        method.bind(HeadFirst(), HARDWARE, steps=steps)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("steps", [None, 1, np.int64(7)])
def test_whole_numbers_and_none_are_lengths(steps):
    assert methods.NoiseInjection().bind(HeadFirst(), HARDWARE, steps=steps).steps == steps


def test_the_gain_is_on_the_last_matrix_of_the_forward_or_without_a_sample_of_the_definition():
    assert scaled(HeadFirst(), sample=torch.ones(2, 4)) == ["head.weight"]
    assert scaled(HeadFirst(), sample=None) == ["body.weight"]


def test_the_gain_spares_frozen_matrices():
    model = HeadFirst()
    model.head.requires_grad_(False)
    assert scaled(model, sample=torch.ones(2, 4)) == ["middle.weight"]


def test_the_gain_never_reaches_the_frozen_model_beside_compensators():
    corrected = compensate(HeadFirst(), torch.ones(2, 4), where=["body"])
    digital = corrected.digital(HARDWARE)
    with pytest.raises(
        ConfigError, match=r"last_layer_gain.*no matrix of the crossbar that is trained"
    ) as error:
        scaled(corrected, sample=torch.ones(2, 4), hardware=digital)
    assert "\n" not in str(error.value)


def test_ovf_raises_the_noise_of_both_ends_of_the_forward(chips_run):
    method = methods.OVF(increments=(0.3,), reach="ends")
    model, x = HeadFirst(), torch.randn(8, 4)
    objective = method.bind(model, HARDWARE, sample=x[:2])
    objective(x, torch.arange(8) % 3)
    _backbone, feedback = chips_run
    raised, own = HARDWARE.with_sigma(0.5), objective.chip(part=1)
    noisier = objective.chip(hardware=raised, part=1)
    for name in ("body.weight", "head.weight"):
        assert torch.equal(feedback[name], noisier[name])
    assert torch.equal(feedback["middle.weight"], own["middle.weight"])


@pytest.mark.parametrize("name", MODELS)
def test_the_packages_models_are_defined_in_the_order_of_their_forward(name):
    needed = {"width": 2, "of": {"kind": "vgg8", "width": 2}}
    model = MODELS[name](**{key: needed[key] for key in MODELS[name].model_fields if key in needed})
    tokens = name in ("causal_conv", "gpt2")
    x = torch.ones(2, 16, dtype=torch.long) if tokens else torch.randn(2, 1, 32, 32)
    model = model.build(tuple(x.shape[1:]), 4, seed=0)
    state = copy.deepcopy(model.state_dict())
    names = list(HARDWARE.crossbar(model))
    assert order_of_use(model, names, x) == names
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())


def test_a_model_with_a_table_keeps_the_order_of_its_definition():
    model = nn.Sequential(nn.Embedding(5, 4), nn.Flatten(), nn.Linear(12, 3))
    names = ["0.weight", "2.weight"]
    assert order_of_use(model, names, torch.zeros(2, 3, dtype=torch.long)) == names
