"""Whatever only looks at a model leaves it, and the global generator, as they were."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import everychip as ec
from everychip.array import Array
from everychip.evaluation.disagreement import disagreement
from everychip.evaluation.worst_case import worst_case_search
from everychip.hardware.calibration import calibrate
from everychip.rng import rng_for, seeded_global_generator

HW = ec.Hardware(device=ec.devices.Gaussian(sigma=0.3), mapping=ec.mapping.Direct())
X, Y = torch.randn(40, 8, generator=rng_for(0, "x")), torch.arange(40) % 4


class Watching(nn.Module):
    """Writes into a buffer and replaces another one at every forward, and draws, in evaluation, too."""

    def __init__(self) -> None:
        super().__init__()
        with seeded_global_generator(0, "watching"):
            self.norm, self.layer = nn.BatchNorm1d(8), nn.Linear(8, 4)
        self.register_buffer("highest", torch.zeros(8))
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        self.highest.copy_(torch.maximum(self.highest, x.detach().abs().amax(0)))
        self.calls = self.calls + 1
        shifted = self.layer(F.dropout(self.norm(x), 0.2, training=True))
        return shifted * (1 + 0.1 * self.calls + self.highest.mean())


DATA = (X, Y)
LOOKS: dict[str, Callable[[nn.Module], Any]] = {
    "evaluate": lambda m: ec.evaluate(m, HW, DATA, chips=3).nll.tolist(),
    "part": lambda m: ec.evaluate(m, HW, DATA, chips=3, images=7).nll.tolist(),
    "recalibration": lambda m: ec.evaluate(
        m, HW, DATA, chips=2, mitigation={"kind": "bn_recalibration", "images": 40}, calibration=DATA
    ).nll.tolist(),
    "drift": lambda m: ec.evaluate(
        m, HW, DATA, chips=2, mitigation={"kind": "drift_compensation", "images": 40}, calibration=DATA
    ).nll.tolist(),
    "sensitivity": lambda m: ec.sensitivity(m, HW, DATA, chips=2).clean,
    "break_even": lambda m: ec.break_even(m, HW, DATA, target=0.1, chips=3, tolerance=0.2).low,
    "calibrate": lambda m: calibrate(m, HW.replace(array=Array(dac_bits=4)), DATA).array.ranges,
    "disagreement": lambda m: disagreement(m, HW, DATA, chips=2).pairwise_kl,
    "worst_case": lambda m: worst_case_search(m, HW, DATA, th=0.1, steps=2, restarts=1).worst,
    "check": lambda m: ec.check(m, HW, X).macs,
}


@pytest.mark.parametrize("look", LOOKS)
def test_a_look_at_a_model_changes_nothing_and_finds_the_same_again(look: str) -> None:
    model = Watching().train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    generator = torch.random.get_rng_state()
    first = LOOKS[look](model)
    assert torch.equal(generator, torch.random.get_rng_state())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(module.training for module in model.modules())
    assert LOOKS[look](model) == first


def test_a_chip_finds_the_same_alone_and_after_others_whatever_they_wrote_into_buffers() -> None:
    nll = ec.evaluate(Watching(), HW, DATA, chips=5).nll
    assert ec.evaluate(Watching(), HW, DATA, chips=2).nll.tolist() == nll[:2].tolist()


def test_buffers_that_two_modules_share_are_still_one_in_evaluation() -> None:
    from everychip.network.modes import evaluating

    first, second = nn.BatchNorm1d(4), nn.BatchNorm1d(4)
    second.running_mean = first.running_mean
    own = first.running_mean
    with evaluating(nn.Sequential(first, second)):
        assert first.running_mean is second.running_mean is not own
    assert first.running_mean is second.running_mean is own


def test_validation_during_training_leaves_no_trace_in_the_next_epoch() -> None:
    """Without validation's writes, the buffer holds what training batches alone have written."""
    model, options = Watching(), {"epochs": 2, "batch_size": 36, "keep": "last"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # two steps teach nothing
        ec.fit(model, ec.methods.NoiseInjection(), DATA, hardware=HW, seed=0, **options)
    assert float(model.calls) == 2
