"""Sensitivity by layer: chips put together by hand, costs paired, and advice by the rule that is stated."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from everychip import Hardware, devices, evaluate, mapping, program, rng_for, sensitivity
from everychip.array import Array
from everychip.data import Arrays
from everychip.errors import ConfigError, ModelError, SampleSizeError
from everychip.evaluation.measuring import measure
from everychip.evaluation.sensitivity import LayerCost
from everychip.hardware.calibration import calibrate
from everychip.statistics.intervals import Interval

HARDWARE = Hardware(device=devices.Gaussian(sigma=0.3))


def task(images: int = 120) -> tuple[nn.Module, Arrays]:
    model = nn.Sequential(nn.Linear(6, 12), nn.ReLU(), nn.Linear(12, 3))
    x = torch.randn(images, 6, generator=rng_for(0, "x"))
    return model, Arrays(x, model(x).argmax(1))


@pytest.mark.parametrize("mode", ["only", "all_but"])
def test_every_accuracy_is_that_of_a_chip_put_together_by_hand(mode: str) -> None:
    model, data = task()
    rounded = Hardware(
        device=devices.Gaussian(sigma=0.3),
        mapping=mapping.BitSliced(weight_bits=4, cell_bits=2, quantize=True),
    )
    ideal = program(model, rounded.with_sigma(0.0), seed=2, chip=0)
    found = sensitivity(model, rounded, data, chips=3, seed=2, mode=mode)
    assert found.clean == measure(model, ideal, data)["accuracy"]
    for chip in range(3):
        noisy = program(model, rounded, seed=2, chip=chip)
        for row in found.layers:
            others, one = (ideal, noisy) if mode == "only" else (noisy, ideal)
            by_hand = measure(model, {**others, row.layer: one[row.layer]}, data)["accuracy"]
            assert float(row.accuracy[chip]) == by_hand


def test_on_an_array_every_layer_is_read_through_its_converters() -> None:
    model, data = task()
    coarse = HARDWARE.replace(array=Array(rows=4, columns=4, dac_bits=3, adc_bits=3))
    found = sensitivity(model, coarse, data, chips=3, calibration=data)
    ranged = calibrate(model, coarse, data)
    ideal = program(model, ranged.with_sigma(0.0), seed=0, chip=0)
    assert found.clean == pytest.approx(measure(model, ideal, data)["accuracy"], rel=1e-12)
    assert found.clean < 1
    assert found.noisy == evaluate(model, coarse, data, chips=3, calibration=data).verdict().mean
    for row in found.layers:
        by_hand = {**ideal, row.layer: program(model, ranged, seed=0, chip=2)[row.layer]}
        assert float(row.accuracy[2]) == measure(model, by_hand, data)["accuracy"]


def test_a_read_that_differs_is_made_for_every_chip() -> None:
    model, data = task()
    loud = HARDWARE.with_sigma(0.0).replace(array=Array(rows=4, columns=4, read_noise=0.5))
    assert 0 < sensitivity(model, loud, data, chips=5).clean < 1
    lost = sensitivity(model, loud, data, chips=5).layers[0].lost
    assert lost.half is not None
    assert lost.half > 0


def test_with_noise_everywhere_the_chips_are_those_of_an_evaluation() -> None:
    model, data = task()
    found = sensitivity(model, HARDWARE, data, chips=6, seed=1)
    draws = evaluate(model, HARDWARE, data, chips=6, seed=1)
    assert found.noisy == draws.verdict().mean
    single = nn.Linear(6, 3)
    alone = sensitivity(single, HARDWARE, data, chips=4)
    assert torch.equal(alone.layers[0].accuracy, evaluate(single, HARDWARE, data, chips=4).accuracy)


def test_costs_are_paired_per_chip_also_where_chips_meet_images_of_their_own() -> None:
    model, data = task()
    found = sensitivity(model, HARDWARE, data, chips=5, images=40)
    clean = evaluate(model, HARDWARE.with_sigma(0.0), data, chips=5, images=40).accuracy
    assert not found.whole_test
    for row in found.layers:
        assert row.lost.estimate == pytest.approx(float((clean - row.accuracy).mean()), abs=1e-12)


def test_a_layer_that_is_cut_off_costs_nothing_and_the_costliest_stands_first() -> None:
    class Cut(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.used, self.idle = nn.Linear(6, 3), nn.Linear(6, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.used(x) + 0 * self.idle(x)

    model = Cut()
    x = torch.randn(200, 6, generator=rng_for(0, "x"))
    found = sensitivity(model, HARDWARE, (x, model(x).argmax(1)), chips=5)
    assert [row.layer for row in found.layers] == ["used.weight", "idle.weight"]
    assert (found.layers[1].lost.estimate, found.layers[1].lost.half) == (0.0, 0.0)
    assert [row.macs for row in found.layers] == [0.5, 0.5]
    assert found.layers[0].lost.level == pytest.approx(1 - 0.05 / 2)


@pytest.mark.parametrize(
    ("low", "macs", "advice"),
    [
        (0.006, 0.5, "write-verify"),
        (0.006, 0.02, "digital"),
        (0.005, 0.01, ""),
        (0.006, None, "write-verify"),
    ],
)
def test_the_advice_follows_the_rule(low: float, macs: float | None, advice: str) -> None:
    row = LayerCost("w", 0.5, macs, 0.1, 0.3, torch.zeros(2), Interval(0.01, low, 0.02, over="chips"))
    assert row.advice == advice


def test_the_table_fits_80_columns_and_states_its_rule() -> None:
    model, data = task()
    found = sensitivity(nn.Sequential(nn.Sequential(model)), HARDWARE, data, chips=3)
    lines = str(found).splitlines()
    assert max(map(len, lines)) <= 80
    words = " ".join(" ".join(lines).split())
    assert "surely costs more than 0.5 points deserves write-verify, or digital execution" in words
    assert found.table()["layers"][0]["layer"] == found.layers[0].layer


def test_progress_reaches_its_total_and_the_model_is_left_alone() -> None:
    model, data = task()
    before, events = {k: v.clone() for k, v in model.state_dict().items()}, []
    sensitivity(model, HARDWARE, data, chips=2, progress=events.append)
    assert (events[-1].done, events[-1].total) == (8, 8)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_nonsense_is_refused() -> None:
    model, data = task()
    with pytest.raises(SampleSizeError, match="at least 2"):
        sensitivity(model, HARDWARE, data, chips=1)
    with pytest.raises(ConfigError, match="all_but"):
        sensitivity(model, HARDWARE, data, mode="some")  # type: ignore[arg-type]
    with pytest.raises(ModelError, match="no matrix"):
        sensitivity(nn.ReLU(), HARDWARE, data)


def test_a_function_that_runs_the_chip_is_not_said_to_have_seen_no_images() -> None:
    model, data = task()

    def right(run, pair):
        return (run(pair[0]).argmax(1) == pair[1]).double().mean()

    pair = (data.x, data.y)
    found = sensitivity(model, HARDWARE, pair, chips=3, score=right)
    assert "3 chips on the data of the score's own function, 95 %" in found.words
    counted = sensitivity(
        model, HARDWARE, pair, chips=3, score=lambda z, y: (z.argmax(1) == y).double().mean()
    )
    assert "3 chips of 120 inputs, 95 %" in counted.words
    assert "3 chips of 120 images, 95 %" in sensitivity(model, HARDWARE, pair, chips=3).words
    draws = evaluate(model, HARDWARE, pair, chips=3, score=right)
    assert "image" not in repr(draws) + str(draws)


@pytest.mark.parametrize(("estimate", "half"), [(-0.015625, 0.0), (123456.75, 0.25), (1e-7, 1e-8)])
def test_a_cost_is_printed_whole_or_with_fewer_decimals(estimate: float, half: float) -> None:
    from everychip.evaluation.sensitivity import _texts
    from everychip.scores import Score

    score = Score("error", higher_is_better=False)
    lost = Interval(estimate, estimate - half, estimate + half, over="chips", score=score)
    text = _texts(LayerCost("w", 0.5, None, 0.1, 0.3, torch.zeros(2), lost))[4]
    assert len(text) <= 15
    number, spread = (float(part.replace("−", "-")) for part in text.split(" ± "))
    decimals = len(text.split(" ± ")[1].partition(".")[2])
    assert abs(number - estimate) <= 0.51 * 10**-decimals
    assert abs(spread - half) <= 0.51 * 10**-decimals
