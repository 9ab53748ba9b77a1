"""An evaluation in two stages: a pilot's plan, the chips of any other evaluation, or a refusal."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from everychip import Draws, Hardware, devices, evaluate, rng_for
from everychip.errors import ConfigError, DataError
from everychip.statistics.intervals import mean_interval
from everychip.statistics.two_stage import PILOT_CHIPS, PILOT_IMAGES, Components, TwoStage
from everychip.study.experiment import Evaluation, Experiment
from everychip.study.running import run_experiment

HARDWARE = Hardware(device=devices.Gaussian(sigma=0.1))
RULE = "±1 two-stage failures 15 %"


def task(images: int = 400) -> tuple[nn.Module, tuple[torch.Tensor, torch.Tensor]]:
    model = nn.Linear(6, 3)
    model.weight.data = torch.randn(3, 6, generator=rng_for(0, "w"))
    x = torch.randn(images, 6, generator=rng_for(0, "x"))
    return model, (x, model(x).argmax(1))


def test_chips_and_images_are_those_of_an_evaluation_on_so_many_images() -> None:
    model, data = task()
    draws = evaluate(model, HARDWARE, data, chips=3000, until=RULE, seed=4)
    assert isinstance(draws.until, TwoStage)
    assert 20 <= len(draws) < 3000
    same = evaluate(model, HARDWARE, data, chips=len(draws), images=draws.images, seed=4)
    assert torch.equal(draws.accuracy, same.accuracy)


def test_the_plan_is_that_of_the_pilots_own_accuracies() -> None:
    model, data = task()
    draws = evaluate(model, HARDWARE, data, chips=3000, until=RULE, seed=4)
    pilot = evaluate(model, HARDWARE, data, chips=PILOT_CHIPS, images=PILOT_IMAGES, seed=4)
    parts = Components.of(pilot.accuracy, images=PILOT_IMAGES, total=400)
    plan = TwoStage.planned(parts, half_width=0.01, least=20, most=3000, total=400)
    assert draws.until == plan
    assert draws.images == plan.images


def test_the_verdict_says_what_was_chosen_and_its_interval_is_narrow_enough() -> None:
    model, data = task()
    draws = evaluate(model, HARDWARE, data, chips=3000, until=RULE)
    verdict = draws.verdict()
    assert verdict.mean.half is not None
    assert verdict.mean.half <= 0.01
    assert f"two-stage: {draws.images} of 400 images a chip" in str(verdict)
    assert "was not reached" not in str(verdict)
    few = evaluate(model, HARDWARE, data, chips=25, until=RULE)
    assert len(few) == 25
    assert "±1 was not reached in 25 chips" in str(few.verdict())


def test_it_stops_at_the_first_chip_at_which_the_interval_of_the_mean_is_narrow_enough() -> None:
    model, data = task()
    draws = evaluate(model, HARDWARE, data, chips=3000, until=RULE, seed=4)
    least, values = 20, draws.accuracy
    assert len(draws) > least
    halves = [mean_interval(values[:n]).half for n in range(least, len(draws) + 1)]
    assert [half is not None and half <= 0.01 for half in halves] == [False] * (len(halves) - 1) + [True]


def other_network() -> nn.Module:
    model, _ = task()
    model.weight.data = model.weight.data + 0.1 * torch.randn(3, 6, generator=rng_for(0, "other"))
    return model


def test_another_network_meets_the_same_chips_and_images_so_that_their_difference_is_known_better() -> None:
    (model, data), other = task(), other_network()
    draws = evaluate(model, HARDWARE, data, chips=3000, until=RULE, seed=4)
    how = {"chips": len(draws), "images": draws.images}
    common = draws.compare(evaluate(other, HARDWARE, data, seed=4, **how))
    apart = evaluate(other, HARDWARE, data, seed=5, **how)
    variance = (draws.accuracy.var() + apart.accuracy.var()) / len(draws)
    assert common.difference.half is not None
    assert common.difference.half < 0.8 * 1.96 * variance.sqrt()


def test_draws_that_two_rules_ended_say_how_to_make_them_comparable() -> None:
    """Each evaluation chose its own numbers: "in the same way" is what was done."""
    (model, data), other = task(), other_network()
    draws = evaluate(model, HARDWARE, data, chips=3000, until=RULE)
    for rule in ("±2 two-stage failures 15 %", "±2 failures 15 %"):
        theirs = evaluate(other, HARDWARE, data, chips=3000, until=rule)
        with pytest.raises(DataError, match=r"evaluate the other with chips=") as error:
            draws.compare(theirs)
        remedy = str(error.value).rpartition("; ")[2]
        numbers = f"chips={len(draws)}, images={draws.images}, seed=0"
        assert remedy == f"evaluate the other with {numbers} and without until"
    draws.compare(evaluate(other, HARDWARE, data, chips=len(draws), images=draws.images, seed=0))


def test_it_costs_less_than_all_images_of_the_same_precision() -> None:
    model, data = task(4000)
    staged = evaluate(model, HARDWARE, data, chips=3000, until=RULE)
    whole = evaluate(model, HARDWARE, data, chips=3000, until="±1 failures 15 %")
    assert len(staged) * (20 + staged.images) < len(whole) * (20 + whole.images) / 5


def test_a_file_keeps_the_plan(tmp_path: Path) -> None:
    model, data = task()
    draws = evaluate(model, HARDWARE, data, chips=3000, until=RULE)
    draws.save(tmp_path / "draws.parquet")
    again = Draws.load(tmp_path / "draws.parquet")
    assert again.until == draws.until
    assert str(again) == str(draws)


def test_what_is_no_share_of_images_is_refused_in_one_line() -> None:
    model, data = task()
    with pytest.raises(ConfigError, match=r"evaluate\.images: found 10 beside a two-stage"):
        evaluate(model, HARDWARE, data, chips=3000, until=RULE, images=10)
    regression = (data[0], model(data[0]).detach())
    with pytest.raises(ConfigError, match="share of images"):
        evaluate(model, HARDWARE, regression, task="regression", chips=3000, until=RULE)
    with pytest.raises(ConfigError, match="found 1 test image"):
        evaluate(model, HARDWARE, (data[0][:1], data[1][:1]), chips=3000, until=RULE)


def test_an_accuracy_of_tokens_or_of_labels_is_no_share_of_images_either() -> None:
    """It bears the same name, and an image's own is between 0 and 1: the plan's variance is another."""
    model, (x, _) = task(40)
    labels = (model(x) > 0).long()
    multilabel = {"kind": "multilabel", "score": "accuracy"}
    with pytest.raises(ConfigError, match="share of images"):
        evaluate(model, HARDWARE, (x, labels), task=multilabel, chips=3000, until=RULE)
    places = x.reshape(40, 2, 3)
    tagger = nn.Linear(3, 4)
    with pytest.raises(ConfigError, match="share of images"):
        evaluate(tagger, HARDWARE, (places, tagger(places).argmax(-1)), task="tokens", chips=3000, until=RULE)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"until": "±0.5"}, "in two stages"),
        ({"until": RULE, "images": 10, "chips": 1000}, "without images"),
        ({"until": "±0.5 two-stage", "chips": 100}, "at least 300 chips"),
        ({"until": "half a point"}, "a half-width"),
    ],
)
def test_a_recipe_takes_two_stages_only(fields: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        Evaluation(**fields)


def test_a_recipe_of_another_task_is_refused_before_its_training() -> None:
    settings = ["evaluation.chips=1000", f'evaluation.until="{RULE}"', "task=regression", "data=diabetes"]
    with pytest.raises(ConfigError, match=r"evaluation\.until"):
        Experiment.from_toml("digits", settings)


def test_a_run_has_a_row_for_each_chip_drawn_and_says_what_was_chosen(tmp_path: Path) -> None:
    quick = ["training.epochs=1", "model=mlp", "evaluation.sigma=[0.0, 0.3]", "evaluation.chips=2000"]
    plain = Experiment.from_toml("digits", quick)
    assert "until" not in plain.table()["evaluation"]
    experiment = Experiment.from_toml("digits", [*quick, 'evaluation.until="±3 two-stage failures 15 %"'])
    done = run_experiment(experiment, tmp_path / "run")
    columns = done.draws()
    noisy = [n for sigma, n in zip(columns["sigma"], columns["images"], strict=True) if sigma == 0.3]
    assert 20 <= len(noisy) < 2000
    assert len(columns["sigma"]) - len(noisy) == 2000, "without noise all chips are the same one"
    said = done.record["treatment"]
    assert [one["images"] for one in said] == [noisy[0]]
