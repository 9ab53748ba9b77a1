"""What training says when it fails, before it begins or while it goes on."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from reference.small_trainings import HARDWARE, arrays, mlp, run
from reference.zoo import ViewNet
from torch import nn

from everychip import constraints, fit, methods, rng_for
from everychip.data import Arrays
from everychip.errors import ConfigError, DataError, ModelError
from everychip.scores import Score
from everychip.statistics.outcome import judge_score
from everychip.training.loop import classify_outcome


@pytest.mark.parametrize("lr", [1e9, 1e30])
@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_divergence_is_told_in_words(lr, optimizer):
    model, data = mlp(), arrays()
    with pytest.warns(UserWarning, match=r"training diverged: the loss was .* try a smaller learning rate"):
        fit(
            model,
            methods.NoiseInjection(),
            data,
            hardware=HARDWARE,
            epochs=3,
            lr=lr,
            optimizer=optimizer,
            batch_size=16,
        )


def test_a_loss_that_is_not_finite_ends_training_and_keeps_the_best_epoch():
    model, data = mlp(), arrays()

    class _Breaks(methods.NoiseInjection):
        def loss(self, objective, x, y):
            loss = super().loss(objective, x, y)
            return loss * (float("nan") if objective.step >= 9 else 1.0)

    try:
        fitted = run(model, data, _Breaks(), epochs=5)
    finally:
        methods.Method.registry.pop(_Breaks.kind)
    assert fitted.status == "diverged"
    assert "nan in epoch 2" in fitted.words
    assert (len(fitted.history), fitted.best_epoch) == (2, 0)
    assert all(bool(p.isfinite().all()) for p in model.parameters())


def test_collapse_is_told_in_words():
    data = arrays(n=300, classes=10)
    shuffled = Arrays(data.x, data.y[torch.randperm(300, generator=rng_for(9))])
    with pytest.warns(
        UserWarning, match=r"training at chance: validation accuracy .* chance \(10\.0%\).*ramp"
    ):
        fit(mlp(classes=10), methods.NoiseInjection(), shuffled, hardware=HARDWARE, epochs=2, lr=1e-3)


@pytest.mark.parametrize(
    ("accuracy", "classes", "status"),
    [
        (0.20, 10, "at_chance"), (0.21, 10, "above_chance"), (0.02, 100, "at_chance"),
        (0.021, 100, "above_chance"),
        (0.60, 2, "at_chance"), (0.61, 2, "above_chance"), (1.0, 2, "above_chance"), (0.9, 1, "at_chance"),
    ],
)  # fmt: skip
def test_collapse_is_twice_chance_or_ten_points_above_it(accuracy, classes, status):
    assert classify_outcome("above_chance", accuracy, classes, [{"epoch": 0, "loss": 0.5}])[0] == status


def test_labels_beyond_the_models_outputs_are_told_before_training():
    with pytest.raises(DataError, match="label 2; expected labels below the model's 2") as error:
        run(mlp(classes=2), arrays(classes=3))
    assert "\n" not in str(error.value)


def test_inputs_the_model_cannot_take_are_told_before_training():
    model = mlp(inputs=7)
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(
        ModelError, match=r"Sequential: found that it fails on inputs of shape \[2, 6\]"
    ) as error:
        run(model, arrays(), methods.NoiseInjection(constraint=constraints.clip(1.0)))
    assert "\n" not in str(error.value)
    assert all(torch.equal(value, model.state_dict()[key]) for key, value in before.items())


def test_a_frozen_model_is_refused_with_the_remedy():
    with pytest.raises(ModelError, match=r"requires_grad_\(True\)") as error:
        run(mlp().requires_grad_(False), arrays())
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("option", "word"),
    [
        ({"epoch": 3}, "did you mean epochs"), ({"epochs": 0}, "epochs"), ({"lr": -1.0}, "lr"),
        ({"lr": float("nan")}, "lr"), ({"validation": 1.0}, "validation"), ({"batch_size": 1}, "batch_size"),
        ({"optimizer": "lion"}, "optimizer"), ({"augment": "crop"}, "crop_flip"),
    ],
    ids=str,
)  # fmt: skip
def test_options_that_mean_nothing_are_refused_in_one_line(option, word):
    with pytest.raises(ConfigError, match=word) as error:
        fit(mlp(), methods.Vanilla(), arrays(), hardware=HARDWARE, **option)
    assert "\n" not in str(error.value)


def test_progress_tells_every_stage_to_its_end():
    events = []
    run(mlp(), arrays(n=200), epochs=2, progress=events.append)
    assert [e.done for e in events] == [10, 11, 21, 22]
    assert {e.total for e in events} == {22}
    assert all(e.stage == "training" and math.isfinite(e.values["loss"]) for e in events)
    assert "validation" in events[-1].values
    assert "validation" not in events[0].values


def test_an_interrupted_training_leaves_a_model_that_works():
    model, data = ViewNet(), arrays(shape=(3, 8, 8))
    model = nn.Sequential(nn.Conv2d(3, 3, 1), model)

    def interrupt(event):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(model, data, progress=interrupt)
    assert all(p.is_contiguous() for p in model.parameters())
    assert model(data.x[:2]).shape == (2, 3)
    assert not any(m._forward_hooks for m in model.modules())


@pytest.mark.parametrize(
    ("losses", "falling"),
    [((2.3, 2.2), True), ((2.3, 2.2, 2.25), False), ((2.3,), False), ((2.3, 2.3), False), ((), False)],
)
def test_a_smoke_test_that_never_learnt_is_advised_to_train_longer_before_less_noise(losses, falling):
    history = [{"epoch": epoch, "loss": loss} for epoch, loss in enumerate(losses)]
    score = Score("RMSE", higher_is_better=False)
    for status, words in (
        classify_outcome("above_chance", 0.1, 10, history),
        judge_score("above_chance", 2.0, score, chance=1.0, history=history),
    ):
        assert status == "at_chance"
        assert words.index("more epochs") < words.index("another learning rate") < words.index("less noise")
        assert (f"still falling in epoch {len(losses)}" in words) is falling
