"""A search trains every setting alike and scores it on data and chips that nothing else has seen."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from everychip import Hardware, constraints, devices, methods, rng_for
from everychip.errors import ConfigError
from everychip.rng import seed_for
from everychip.training import search as tuning

HARDWARE = Hardware(device=devices.Gaussian(sigma=0.2))


def data(n=120):
    x = torch.randn(n, 6, generator=rng_for(0))
    return x, (x[:, 0] > 0).long()


def network():
    return nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 2))


def run(model, method, grid, **options):
    options = {"chips": 6, "epochs": 1, "batch_size": 16, "lr": 0.01, "hardware": HARDWARE, **options}
    return tuning.search(model, method, grid, data(), **options)


def test_a_trial_is_what_training_and_scoring_by_hand_give():
    model = network()
    found = run(model, methods.Censored(), {"ratio": (0.5, 2.0), "threshold": (0.7, 1.5)}, k=20.0)
    assert [t.settings for t in found.trials] == [
        {"ratio": r, "threshold": th} for r in (0.5, 2.0) for th in (0.7, 1.5)
    ]
    trial = found.trials[2]
    assert trial.method == methods.Censored(ratio=2.0, threshold=0.7)
    from everychip import data as sets
    from everychip import evaluate
    from everychip.training.loop import Training, split_holdout, train

    kept, held = split_holdout(sets.as_arrays(data()), 0.1, seed=seed_for(0, "search"))
    training = Training(epochs=1, batch_size=16, lr=0.01)
    twin = train(copy.deepcopy(model), trial.method, kept, hardware=HARDWARE, training=training)
    draws = (
        evaluate(twin.model, HARDWARE, held, chips=6, seed=seed_for(0, "search"), purpose="validate")
        .accuracy.sort()
        .values
    )
    assert trial.mean == pytest.approx(float(draws.mean()))
    assert trial.score == trial.kpp == pytest.approx(float(draws[1]))  # the ⌈6 · 20 %⌉-th smallest


@pytest.mark.parametrize("by", ["kpp", "mean"])
def test_the_best_has_the_highest_score_by_its_measure(by):
    found = run(
        network(), methods.NoiseInjection(), {"ramp": (0.2, 0.9), "label_smoothing": (0.0, 0.3)}, by=by
    )
    scores = [getattr(t, by) for t in found.trials]
    assert found.best.score == max(scores)
    assert found.best is found.trials[scores.index(max(scores))]
    assert str(found).count("\n") == 3
    assert str(found).count("the best by") == 1


def test_the_given_model_stays_and_every_trial_starts_from_it():
    model = network()
    before = copy.deepcopy(model.state_dict())
    twice = run(model, methods.NoiseInjection(), {"label_smoothing": (0.1, 0.1)})
    assert all(torch.equal(v, before[n]) for n, v in model.state_dict().items())
    assert model.training
    one, other = twice.trials
    assert one.score == other.score
    for a, b in zip(one.fitted.model.parameters(), other.fitted.model.parameters(), strict=True):
        assert torch.equal(a, b)


def test_a_budget_takes_a_random_part_of_the_grid_the_same_for_the_same_seed():
    grid = {"a": tuple(range(10)), "b": tuple(range(10))}
    five = tuning.settings(grid, limit=5)
    assert len(five) == 5
    assert five == tuning.settings(grid, limit=5)
    assert five != tuning.settings(grid, limit=5, seed=1)
    order = [setting["a"] * 10 + setting["b"] for setting in five]
    assert order == sorted(set(order))
    assert tuning.settings(grid, limit=500) == tuning.settings(grid)


def test_dotted_fields_reach_the_parts_of_a_method():
    method = methods.NoiseInjection(constraint=constraints.clip(1.5), ramp=0.5)
    assert tuning.varied(method, {"constraint.alpha": 2.0}) == method.replace(
        constraint=constraints.clip(2.0)
    )


def test_the_scores_chips_and_images_are_its_own(monkeypatch):
    """Neither those that choose an epoch, nor those of any evaluation, nor rows that were trained on."""
    from everychip.training.loop import train

    seen = []

    def spy(model, hardware, held, **options):
        seen.append((held, options["seed"], options["purpose"]))
        return evaluate(model, hardware, held, **options)

    rows = []

    def trainer(model, method, kept, **options):
        rows.append(kept)
        return train(model, method, kept, **options)

    evaluate = tuning.evaluate
    monkeypatch.setattr(tuning, "evaluate", spy)
    monkeypatch.setattr(tuning, "train", trainer)
    run(network(), methods.NoiseInjection(), {"label_smoothing": (0.1,)}, seed=4)
    ((held, seed, purpose),) = seen
    assert purpose == "validate"
    assert seed != 4
    kept = {tuple(x.tolist()) for x in rows[0].x}
    assert not kept & {tuple(x.tolist()) for x in held.x}
    assert len(kept) + len(held) == 120


def test_converters_take_their_ranges_from_the_data_that_was_trained_on_as_everywhere_else():
    """An ADC of 3 bits without calibrated ranges would have one per batch, and score differently."""
    from everychip import data as sets
    from everychip import evaluate
    from everychip.array import Array

    hardware = HARDWARE.replace(array=Array(rows=4, dac_bits=4, adc_bits=3))
    (trial,) = run(network(), methods.NoiseInjection(), {"ramp": (0.5,)}, hardware=hardware).trials
    kept, held = sets.split_holdout(sets.as_arrays(data()), 0.1, seed=seed_for(0, "search"))
    options = {"chips": 6, "seed": seed_for(0, "search"), "purpose": "validate"}
    ranged = evaluate(trial.fitted.model, hardware, held, calibration=kept, **options)
    alone = evaluate(trial.fitted.model, hardware, held, **options)
    assert not torch.equal(ranged.accuracy, alone.accuracy)
    assert trial.mean == pytest.approx(float(ranged.accuracy.mean()))


@pytest.mark.parametrize(
    ("grid", "options", "words"),
    [
        ({"betta": (1.0,)}, {}, "betta.*unknown key"),
        ({"ramp": (2.0,)}, {}, "ramp"),
        ({"ramp": (0.5,)}, {"epoch": 3}, "epoch"),
        ({"ramp": ()}, {}, r"search\.grid\.ramp: found \(\)"),
        ({"ramp": 0.5}, {}, r"search\.grid\.ramp: found 0\.5"),
        ({"ramp": {0.1, 0.5}}, {}, r"search\.grid\.ramp: found {.*in order"),
        ({"noise_gradient": "clean"}, {}, r"search\.grid\.noise_gradient: found 'clean'; expected a list"),
        ({"ramp": ("0.5",)}, {}, r"ramp: found '0\.5'; expected a number"),
        ({1: (0.5,)}, {}, r"search\.grid\.1: "),
        (("ramp",), {}, r"search\.grid: found \('ramp',\)"),
        *(
            ({"ramp": (0.5,)}, {"by": by}, r"search\.by: .*'kpp' or 'mean'")
            for by in ("median", None, ["kpp"])
        ),
        *(({"ramp": (0.5,)}, {"k": k}, r"search\.k: ") for k in (0, 100, 500, -5, float("nan"), "5", None)),
        *(({"ramp": (0.5,)}, {"chips": n}, r"search\.chips: ") for n in (0, -1, 2.5, "4", None, True)),
        *(
            ({"ramp": (0.5,)}, {"share": share}, r"search\.share: ")
            for share in (0, 1, 1.5, -1, float("nan"), "0.1", None)
        ),
        *(({}, {"trials": n}, r"search\.trials: ") for n in (0, -1, 1.5, float("nan"), "2", True)),
    ],
)
def test_a_mistake_is_said_in_one_line_before_anything_is_trained(monkeypatch, grid, options, words):
    monkeypatch.setattr(tuning, "train", lambda *_, **__: pytest.fail("it trained"))
    with pytest.raises(ConfigError, match=words) as error:
        run(network(), methods.NoiseInjection(), grid, **options)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("by", ["kpp", "mean"])
def test_the_best_of_an_error_is_the_lowest_and_as_scored_by_hand(by):
    from everychip import evaluate, tasks
    from everychip.training.loop import Training, split_holdout, train

    x = torch.randn(120, 6, generator=rng_for(0))
    pair, model = (x, 2 * x[:, :1] - x[:, 1:2]), nn.Linear(6, 1)
    task = tasks.Regression(unit="K")
    options = {"chips": 6, "epochs": 3, "batch_size": 16, "lr": 0.05, "hardware": HARDWARE, "by": by}
    grid = {"constraint": ({"kind": "clip", "alpha": 1.0}, {"kind": "clip", "alpha": 2.5})}
    found = tuning.search(model, methods.NoiseInjection(), grid, pair, task=task, **options)
    scores = [trial.score for trial in found.trials]
    assert found.best.score == min(scores) < max(scores)
    assert str(found).startswith("constraint = {'kind': 'clip', 'alpha': 1.0}: mean RMSE ")
    assert " K, KPP " in str(found)

    kept, held = split_holdout(task.examples(pair, split="train"), 0.1, seed=seed_for(0, "search"))
    trial, training = found.trials[1], Training(epochs=3, batch_size=16, lr=0.05)
    twin = train(copy.deepcopy(model), trial.method, kept, hardware=HARDWARE, training=training, task=task)
    draws = evaluate(
        twin.model, HARDWARE, held, task=task, chips=6, seed=seed_for(0, "search"), purpose="validate"
    )
    assert trial.mean == float(draws.RMSE.mean())
    assert trial.kpp == float(draws.RMSE.max()), "of six chips, the worst is the largest error"


def test_tokens_are_searched_by_their_own_score():
    ids = torch.arange(60)[:, None].add(torch.arange(8)).remainder(12)
    model = nn.Sequential(nn.Embedding(12, 8), nn.Linear(8, 12))
    options = {"chips": 4, "epochs": 4, "batch_size": 8, "hardware": HARDWARE, "by": "mean"}
    task = {"kind": "tokens", "causal": True}
    found = tuning.search(model, "noise_injection", {"chips": (1,)}, ids, task=task, lr=0.02, **options)
    assert found.judged.name == "perplexity"
    assert 1 < found.best.score < 12
