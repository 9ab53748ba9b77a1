"""How a model is run: decided once, for all chips and batches."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.func import functional_call

from everychip import MultiExit, rng_for
from everychip.data import Arrays
from everychip.exits.outputs import all_outputs
from everychip.network.running import Runner


class HeldTwice(nn.Module):
    """One module under two names, and a buffer that two modules share."""

    def __init__(self) -> None:
        super().__init__()
        self.one = nn.Linear(4, 4)
        self.two = self.one
        self.tied = nn.Linear(4, 4)
        self.tied.weight = self.one.weight
        self.left, self.right = nn.BatchNorm1d(4), nn.BatchNorm1d(4)
        self.right.running_mean = self.left.running_mean

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.right(self.tied(self.left(self.two(torch.relu(self.one(x))))))


def test_a_chip_replaces_a_shared_tensor_everywhere_and_leaves_nothing_behind():
    model = HeldTwice().eval()
    x, chip = torch.ones(3, 4), {"one.weight": torch.eye(4), "right.running_mean": torch.full((4,), 2.0)}
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    everywhere = {"one.weight": torch.eye(4), "tied.weight": torch.eye(4)}
    everywhere |= {f"{side}.running_mean": torch.full((4,), 2.0) for side in ("left", "right")}
    expected = functional_call(model, everywhere, (x,), tie_weights=False)
    for _ in range(2):
        assert torch.equal(Runner(model).logits(chip, x), expected)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_the_model_is_walked_for_its_names_once(monkeypatch):
    model, walked, walk = HeldTwice(), [], nn.Module.named_modules
    monkeypatch.setattr(
        nn.Module, "named_modules", lambda self, *a, **k: walked.append(self) or walk(self, *a, **k)
    )
    runner = Runner(model)
    for _ in range(5):
        runner.logits({"one.weight": torch.eye(4)}, torch.ones(3, 4))
    assert walked.count(model) <= 1 + 5  # five of `exclusive`, which names the modules in use


@pytest.mark.parametrize("batch_size", [1, 3, 100])
def test_predictions_are_those_of_one_forward_whatever_the_batches(batch_size):
    model = nn.Sequential(nn.Linear(4, 8), nn.Dropout(), nn.ReLU(), nn.Linear(8, 2)).double()
    x = torch.randn(7, 4, generator=rng_for(0), dtype=torch.float64)
    z = Runner(model, batch_size=batch_size).predict({}, Arrays(x, torch.zeros(7, dtype=torch.long)))
    assert z.dtype == torch.float64, "the model's own precision"
    assert not z.requires_grad
    assert model.training
    torch.testing.assert_close(z, model.eval()(x).detach())


def test_bfloat16_is_that_of_autocast():
    model, x = nn.Linear(4, 2), torch.randn(5, 4, generator=rng_for(0))
    data = Arrays(x, torch.zeros(5, dtype=torch.long))
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        expected = model(x)
    assert torch.equal(Runner(model, precision="bfloat16").predict({}, data), expected)


def test_all_outputs_of_a_chip_have_its_tied_weights_in_every_layer():
    """A table that is the backbone's readout, too, is one matrix of a chip."""
    backbone = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 4))
    backbone[2].weight = backbone[0].weight
    net = MultiExit(backbone, torch.ones(2, 8), where=["1"]).eval()
    x, chip = torch.randn(3, 8, generator=rng_for(0)), {"backbone.0.weight": 2 * torch.eye(8)}
    outputs = all_outputs(net, chip, x)
    with torch.no_grad():
        net.backbone[0].weight.copy_(2 * torch.eye(8))
        assert torch.equal(outputs, net.all_logits(x))


@pytest.mark.parametrize(("free", "stays"), [(4 * 48, False), (4 * 48 - 1, True)])
def test_inputs_travel_once_where_they_take_at_most_a_quarter_of_the_free_memory(monkeypatch, free, stays):
    x = {"pixels": torch.ones(3, 4), "ids": torch.ones(3, 0)}
    runner = Runner(nn.Linear(4, 2, device="meta"))
    monkeypatch.setattr("everychip.network.running.free_bytes", lambda device: free)
    kept = runner.kept(x)
    assert kept["pixels"].device.type == ("cpu" if stays else "meta")
    assert stays == (kept is x)


def test_inputs_of_a_model_on_the_processor_are_not_copied():
    x = torch.ones(3, 4)
    assert Runner(nn.Linear(4, 2)).kept(x) is x
