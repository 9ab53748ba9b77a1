"""The AUROC of a screening is that of a population in which it is known, and its score needs no label."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from scipy.stats import norm
from torch import nn

import everychip as ec
from everychip import models
from everychip.array import Array
from everychip.errors import ConfigError, DataError, SampleSizeError
from everychip.evaluation.screening import Screening, disagreement_of, screen
from everychip.exits.outputs import all_outputs

HARDWARE = ec.Hardware(device=ec.devices.Gaussian(sigma=0.3))


def population(n: int, *, shift: float, rng: np.random.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Chips of which 5 % are bad, with scores from N(shift, 1) where the others have N(0, 1)."""
    bad = np.arange(n) < round(0.05 * n)
    score = rng.normal(size=n) + shift * bad
    accuracy = np.where(bad, 0.3, 0.9) + 0.01 * rng.random(n)
    return torch.tensor(score), torch.tensor(accuracy)


@pytest.mark.parametrize("shift", [0.0, 0.7, 1.5])
def test_the_auroc_of_a_binormal_population_is_the_known_one(shift):
    found = Screening.of(*population(8_000, shift=shift, rng=np.random.default_rng(1)))
    assert int(found.worst.sum()) == 400
    assert found.auroc.estimate == pytest.approx(norm.cdf(shift / np.sqrt(2)), abs=0.04)
    assert found.auroc.low < norm.cdf(shift / np.sqrt(2)) < found.auroc.high


def test_the_interval_covers_the_known_auroc():
    rng, truth = np.random.default_rng(2), norm.cdf(1 / np.sqrt(2))
    covered = 0
    for trial in range(60):
        auroc = Screening.of(*population(200, shift=1.0, rng=rng), seed=trial).auroc
        covered += auroc.low <= truth <= auroc.high
    assert covered >= 51  # 95 % of 60 are 57; fewer than 51 have a probability of 0.3 %


def test_a_perfect_and_an_inverted_score_are_one_and_zero():
    accuracy = torch.linspace(0.5, 0.9, 40)
    assert Screening.of(1 - accuracy, accuracy).auroc.estimate == 1
    assert Screening.of(accuracy, accuracy).auroc.estimate == 0


def network() -> ec.MultiExit:
    x = torch.zeros(2, 1, 16, 16)
    return ec.MultiExit(models.VGG8(width=2).build((1, 16, 16), 3), x).eval()


def test_scores_and_accuracies_are_those_of_the_chips_that_evaluate_programs():
    net = network()
    x, y = torch.randn(60, 1, 16, 16, generator=ec.rng_for(1)), torch.arange(60) % 3
    found = screen(net, HARDWARE, (x, y), chips=6, share=0.3, seed=4)
    draws = ec.evaluate(net, HARDWARE, (x, y), chips=6, seed=4)
    torch.testing.assert_close(found.accuracy, draws.accuracy)
    for chip in range(6):
        with torch.no_grad():
            answers = all_outputs(net, ec.program(net, HARDWARE, seed=4, chip=chip), x).argmax(-1)
        pairs = [float((a != b).double().mean()) for a, b in itertools.combinations(answers, 2)]
        assert float(found.disagreement[chip]) == pytest.approx(sum(pairs) / 6, abs=0.02)


def test_labels_do_not_enter_the_score():
    net, x = network(), torch.randn(40, 1, 16, 16, generator=ec.rng_for(1))
    y = torch.arange(40) % 3
    asked = {"chips": 5, "share": 0.3}
    one = screen(net, HARDWARE, (x, y), **asked)
    two = screen(net, HARDWARE, (x, y), inputs=(x, y.flip(0)), **asked)
    torch.testing.assert_close(one.disagreement, two.disagreement)


class Drawing(nn.Module):
    """A network whose convolution draws in evaluation, too, as Monte Carlo dropout does."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.head = nn.Conv2d(1, 4, 3), nn.Linear(144, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(nn.functional.dropout(self.conv(x).relu(), 0.5, training=True).flatten(1))


def test_a_network_that_draws_in_evaluation_is_scored_alike_and_leaves_the_global_generator_alone():
    x = torch.randn(60, 1, 8, 8, generator=ec.rng_for(1))
    net = ec.MultiExit(Drawing(), x[:2]).eval()
    y = net.backbone(x).argmax(-1)
    before = torch.random.get_rng_state()
    one = screen(net, HARDWARE, (x, y), chips=6, share=0.3)
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.rand(7)  # where the global generator is must not matter
    two = screen(net, HARDWARE, (x, y), chips=6, share=0.3)
    assert torch.equal(one.disagreement, two.disagreement)
    assert torch.equal(one.accuracy, two.accuracy)


def test_progress_names_every_chip_and_its_accuracy():
    net, events = network(), []
    x, y = torch.randn(30, 1, 16, 16, generator=ec.rng_for(1)), torch.arange(30) % 3
    found = screen(net, HARDWARE, (x, y), chips=5, share=0.3, progress=events.append)
    assert [event.done for event in events] == [1, 2, 3, 4, 5]
    assert [event.values["accuracy"] for event in events] == pytest.approx(found.accuracy.tolist())


def test_the_converters_of_an_array_take_their_ranges_from_the_calibration_data():
    net = network()
    x, y = torch.randn(60, 1, 16, 16, generator=ec.rng_for(1)), torch.arange(60) % 3
    hardware = HARDWARE.replace(array=Array(rows=64, columns=64, dac_bits=4, adc_bits=4))
    of_data, of_small = (
        screen(net, hardware, (x, y), chips=6, share=0.3, calibration=(scale * x, y)) for scale in (1, 0.05)
    )
    assert not torch.equal(of_data.disagreement, of_small.disagreement)
    draws = ec.evaluate(net, hardware, (x, y), chips=6, calibration=(x, y))
    torch.testing.assert_close(of_data.accuracy, draws.accuracy)


def test_outputs_that_agree_have_no_disagreement():
    z = torch.randn(1, 10, 3, generator=ec.rng_for(0)).expand(4, -1, -1)
    assert disagreement_of(z) == 0


def test_what_cannot_be_judged_is_one_line():
    with pytest.raises(DataError, match="chips of different accuracy"):
        Screening.of(torch.rand(5, generator=ec.rng_for(0)), torch.ones(5))
    with pytest.raises(SampleSizeError, match="screening.share"):
        Screening.of(torch.zeros(5), torch.arange(5.0), share=1.0)
    with pytest.raises(ConfigError, match="without exits"):
        screen(network().backbone, HARDWARE, (torch.zeros(4, 1, 16, 16), torch.zeros(4).long()))
    assert Screening.of(torch.arange(5.0), torch.arange(5.0)).auroc.low is None  # one worst chip
