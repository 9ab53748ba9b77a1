"""What every method promises, by itself and without a list: whatever is registered is in these tests.

A method is what `Method.kinds()` names; it is made without a field, so each must have a default for all.
"""

from __future__ import annotations

import copy
import re

import pytest
import torch
from torch import Tensor, nn

from everychip import Hardware, devices, methods
from everychip.errors import ConfigError
from everychip.methods.base import Role

METHODS = {
    kind: one for kind, one in methods.Method.kinds().items() if one.__module__.startswith("everychip.")
}
HARDWARE = Hardware(device=devices.Gaussian(sigma=0.2))
STEPS = 20
EVERY = pytest.mark.parametrize("kind", METHODS)


class Net(nn.Module):
    """A convolution and two linear layers, without statistics that a forward moves."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3, padding=1)
        self.hidden = nn.Linear(64, 10)
        self.out = nn.Linear(10, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(torch.relu(self.hidden(torch.relu(self.conv(x)).flatten(1))))


def batch(size: int = 8, *, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
    return torch.randn(size, 1, 4, 4, dtype=dtype), torch.arange(size) % 4


def bound(kind: str, model: nn.Module, x: Tensor, **fields: object) -> methods.Objective:
    return METHODS[kind](**fields).bind(model, HARDWARE, seed=3, sample=x[:2], steps=STEPS).train()


def gradients(objective: methods.Objective) -> dict[str, Tensor]:
    return {name: p.grad.clone() for name, p in objective.named_parameters() if p.grad is not None}


def train(objective: methods.Objective, batches: list[tuple[Tensor, Tensor]]) -> list[float]:
    losses = []
    for x, y in batches:
        loss = objective(x, y)
        objective.zero_grad()
        loss.backward()
        with torch.no_grad():
            for p in objective.parameters():
                if p.grad is not None:
                    p.sub_(0.05 * p.grad)
        objective.after_step()
        losses.append(float(loss.detach()))
    return losses


@EVERY
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_weights_and_gradients_keep_the_models_dtype(kind, dtype):
    x, y = batch(dtype=dtype)
    objective = bound(kind, Net().to(dtype), x)
    loss = objective(x, y)
    loss.backward()
    assert loss.isfinite()
    assert loss.ndim == 0
    objective.after_step()
    assert {p.dtype for p in objective.model.parameters()} == {dtype}
    assert {gradient.dtype for gradient in gradients(objective).values()} == {dtype}


@EVERY
def test_gradients_of_one_step_add_up_over_its_batches(kind):
    """Before `after_step` every batch meets the same chips, so gradients may be accumulated."""
    model, (x, y), (x2, y2) = Net(), batch(), batch()
    alone: dict[str, Tensor] = {}
    for inputs, labels in ((x, y), (x2, y2)):
        objective = bound(kind, copy.deepcopy(model), x)
        objective(inputs, labels).backward()
        for name, gradient in gradients(objective).items():
            alone[name] = alone.get(name, 0) + gradient
    objective = bound(kind, copy.deepcopy(model), x)
    objective(x, y).backward()
    objective(x2, y2).backward()
    together = gradients(objective)
    assert together.keys() == alone.keys()
    for name, gradient in together.items():
        torch.testing.assert_close(gradient, alone[name], rtol=1e-4, atol=1e-6)
    assert objective.step == 0


@EVERY
@pytest.mark.parametrize("after", [3, 12])
def test_a_loaded_state_goes_on_to_the_bit(kind, after):
    """Ramp, chips, a teacher: everything that a step depends on is in the state or a function of it."""
    model, batches = Net(), [batch() for _ in range(after + 3)]
    sample = batches[0][0]
    whole = bound(kind, copy.deepcopy(model), sample)
    train(whole, batches[:after])
    state = {key: value.clone() for key, value in whole.state_dict().items()}
    resumed = bound(kind, Net(), sample)
    resumed.load_state_dict(state)
    assert train(resumed, batches[after:]) == train(whole, batches[after:])
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), resumed.parameters(), strict=True))


@EVERY
def test_a_step_costs_the_forwards_that_are_declared(kind, monkeypatch):
    """Counted in examples through the network or a copy of it; a forward without a backward is a third."""
    model, (x, y) = Net(), batch()
    objective, spent = bound(kind, model, x), []
    run = Net.forward

    def counting(network: Net, inputs: Tensor) -> Tensor:
        logits = run(network, inputs)
        spent.append(len(inputs) / len(x) * (1 if logits.requires_grad else 1 / 3))
        return logits

    monkeypatch.setattr(Net, "forward", counting)
    train(objective, [(x, y)] * STEPS)
    assert sum(spent) / STEPS == pytest.approx(METHODS[kind]().forwards, rel=1e-6)


@EVERY
def test_its_table_makes_it_again(kind):
    one = METHODS[kind]()
    assert methods.Method.parse(one.table()) == one
    assert methods.Method.parse(kind) == one


@EVERY
def test_a_field_out_of_its_bounds_is_refused_by_its_name(kind):
    for name, field in METHODS[kind].model_fields.items():
        for wrong in (float("nan"), float("inf")):
            with pytest.raises(ConfigError) as refused:
                METHODS[kind](**{name: wrong})
            assert name in str(refused.value)
            assert len(str(refused.value).splitlines()) == 1
        for bound_ in field.metadata:
            for sign, step in (("ge", -1), ("gt", 0), ("le", 1), ("lt", 0)):
                limit = getattr(bound_, sign, None)
                if limit is not None:
                    with pytest.raises(ConfigError, match=rf"\.{name}\b"):
                        METHODS[kind](**{name: limit + step})


@EVERY
def test_what_it_declares_for_reports_exists(kind):
    one = METHODS[kind]
    assert one.role in Role.__args__
    assert set(one.controls) <= METHODS.keys() - {kind}
    assert not one.claim_control or one.claim_control in one.controls
    assert re.fullmatch("(#[0-9a-f]{6})?", one.colour)
    same = [other for other in METHODS.values() if other.colour and other.colour == one.colour]
    assert len(same) <= 1, "a colour of its own is that of no other"
    assert one.controls or one.role == "baseline"
