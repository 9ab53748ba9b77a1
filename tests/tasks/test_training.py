"""Every method that takes any task does, by the task's loss; the others refuse in one line."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import everychip as ec
from everychip.data import Examples
from everychip.errors import ConfigError, DataError
from everychip.evaluation.measuring import measure
from everychip.methods import Method
from everychip.methods.losses import negative_feedback
from everychip.rng import rng_for, seeded_global_generator
from everychip.tasks import Task
from everychip.training.loop import Training, train

HW = ec.Hardware(device=ec.devices.Gaussian(sigma=0.1))
X = torch.randn(64, 8, generator=rng_for(0, "x"))
IMAGES = torch.randn(32, 1, 8, 8, generator=rng_for(0, "images"))
IDS = torch.randint(12, (32, 10), generator=rng_for(0, "ids"))


def mlp(outputs: int) -> nn.Module:
    with seeded_global_generator(0, "mlp"):
        return nn.Sequential(
            nn.Linear(8, 24), nn.ReLU(), nn.Linear(24, 24), nn.ReLU(), nn.Linear(24, outputs)
        )


def pixels() -> nn.Module:
    with seeded_global_generator(0, "pixels"):
        return nn.Sequential(
            nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(),
            nn.Conv2d(8, 8, 3, stride=2, padding=1), nn.ReLU(),
            nn.Upsample(scale_factor=2), nn.Conv2d(8, 3, 1),
        )  # fmt: skip


def tagger() -> nn.Module:
    with seeded_global_generator(0, "tagger"):
        layers = [nn.Embedding(12, 16), nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 16), nn.ReLU()]
        return nn.Sequential(*layers, nn.Linear(16, 12))


COARSE = nn.functional.avg_pool2d(IMAGES, 2)[:, 0]
PLACES = (COARSE > 0).long() + (COARSE > 0.4).long()
PLACES = PLACES.repeat_interleave(2, 1).repeat_interleave(2, 2)


CASES = {
    "classification": (lambda: mlp(3), X, X[:, :3].argmax(1)),
    "multilabel": (lambda: mlp(3), X, (X[:, :3] > 0).float()),
    "regression": (lambda: mlp(2), X, X[:, :2].tanh()),
    "segmentation": (pixels, IMAGES, PLACES),
    "tokens": (tagger, IDS, (IDS * 5) % 12),
}
OF_ANY_TASK = sorted(kind for kind, method in Method.kinds().items() if method.any_task)
OF_LOGITS = sorted(kind for kind, method in Method.kinds().items() if method.needs_logits)


def score_of(kind, model, x, y):
    """The judged score of the digital network, higher being better."""
    task = Task.parse(kind)
    row = measure(model, {}, Examples(x, y), task=task)
    return task.headline.sign * row[task.headline.name]


@pytest.mark.parametrize(
    ("kind", "task"),
    [(k, t) for k in OF_ANY_TASK for t in CASES if not (k in OF_LOGITS and t == "regression")],
)
def test_every_method_of_any_task_trains_for_the_tasks_score(kind, task):
    build, x, y = CASES[task]
    model, method = build(), Method.parse(kind)
    objective = method.bind(model, HW, sample=x[:2], task=task, steps=40, seed=1)
    optimizer = torch.optim.Adam(objective.parameters(), lr=0.01)
    before = score_of(task, model, x, y)
    for step in range(40):
        part = slice(8 * (step % 4), 8 * (step % 4) + 8)
        loss = objective(x[part], y[part])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        objective.after_step()
    assert loss.isfinite()
    assert score_of(task, objective.detach(), x, y) > before


def test_every_method_of_the_package_is_of_any_task():
    ours = {k: m for k, m in Method.kinds().items() if m.__module__.startswith("everychip.")}
    assert all(method.any_task for method in ours.values())
    assert [k for k, method in ours.items() if method.needs_logits] == [
        "temperature",
        "temperature_statistics",
    ]


@pytest.mark.parametrize("kind", OF_LOGITS)
def test_methods_that_divide_logits_refuse_answers_with_a_scale_in_one_line(kind):
    with pytest.raises(ConfigError, match="whose answers have a scale of their own") as caught:
        Method.parse(kind).bind(mlp(2), HW, sample=X[:2], steps=5, task="regression")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("task", ["regression", "segmentation", "tokens", "multilabel"])
def test_irs_is_the_tasks_loss_of_its_own_equation(task):
    build, x, y = CASES[task]
    model = build().eval()
    method = ec.methods.IRS(beta=0.3, count=2, hidden=8)
    objective = method.bind(model, HW.with_sigma(0.0), sample=x[:2], task=task)
    objective.eval()
    z, exits = objective.logits_with_exits(x)
    assert all(z_n.shape == z.shape for z_n in exits) and exits
    share = 1.0 if task == "regression" else None
    seen = negative_feedback(z, exits, beta=0.3, backbone_share=share)
    assert torch.allclose(objective(x, y), Task.parse(task).loss(seen, y))


def test_a_regression_keeps_the_scale_of_its_predictions():
    build, x, y = CASES["regression"]
    for kind in ("irs", "ovf"):
        model = ec.fit(
            build(),
            kind,
            (x, y),
            hardware=HW.with_sigma(0.02),
            task="regression",
            epochs=40,
            batch_size=16,
            lr=0.01,
        )
        with torch.no_grad():
            z = model(x)
        assert 0.8 < float((z * y).sum() / (y * y).sum()) < 1.2, kind


def test_dense_exits_answer_where_the_network_does():
    model = pixels().eval()
    exits = ec.exits.attach(model, IMAGES[:2], where=["4"], hidden=8, axis=1)
    with exits.tap(model) as taps:
        z = model(IMAGES)
    (logits,) = exits.logits(taps)
    head, features = exits.heads["exit1_4"], taps["4"]
    by_hand = torch.relu(features.movedim(1, -1) @ head.hidden.weight.T + head.hidden.bias)
    by_hand = by_hand @ head.classes.weight.T + head.classes.bias
    assert torch.allclose(logits, by_hand.movedim(-1, 1), atol=1e-6)
    assert z.shape[2:] == (8, 8) and logits.shape[2:] == (4, 4)


@pytest.mark.parametrize("task", ["multilabel", "regression", "segmentation", "tokens"])
def test_networks_whose_exits_stay_are_trained_for_any_task(task):
    build, x, y = CASES[task]
    axis = Task.parse(task).class_axis
    net = ec.MultiExit(build(), x[:2], count=2, hidden=8, axis=axis)
    assert net.all_logits(x).shape == (3, *net(x).shape)
    method = {"kind": "noise_injection", "exit_loss": 0.3}
    before = ec.evaluate(net, HW, (x, y), task=task, chips=3)
    ec.fit(net, method, (x, y), hardware=HW, task=task, epochs=8, batch_size=8, lr=0.01)
    after = ec.evaluate(net, HW, (x, y), task=task, chips=3)
    assert after.score.sign * float(after.values.mean() - before.values.mean()) > 0
    with pytest.raises(ConfigError, match=r"evaluate.policy: found the task"):
        ec.evaluate(net, HW, (x, y), task=task, chips=1, policy="backbone")


def test_training_keeps_the_epoch_of_the_best_score_and_says_chance(tmp_path):
    build, x, y = CASES["regression"]
    how = {"hardware": HW, "task": Task.parse("regression")}
    options = Training(epochs=6, batch_size=16, lr=0.01)
    fitted = train(build(), ec.methods.Vanilla(), Examples(x, y), training=options, **how)
    errors = [row["RMSE"] for row in fitted.history]
    assert fitted.best_epoch == errors.index(min(errors))
    assert fitted.status == "above_chance" and "validation RMSE" in fitted.words
    noise = torch.randn(64, 2, generator=rng_for(9))
    lost = train(build(), ec.methods.Vanilla(), Examples(x, noise), training=options, **how)
    assert lost.status == "at_chance" and "no better than chance" in lost.words


def test_a_training_of_any_task_is_resumed_to_the_bit(tmp_path):
    build, x, y = CASES["segmentation"]
    how = {"hardware": HW, "task": Task.parse("segmentation")}

    def trained(epochs, checkpoint):
        options = Training(epochs=4, batch_size=8)
        calls = []

        def stop(event):
            calls.append(event)
            if epochs and event.values.get("epoch", 0) > epochs:
                raise KeyboardInterrupt

        data = Examples(x, y)
        return train(
            build(), ec.methods.OVF(), data, training=options, checkpoint=checkpoint, progress=stop, **how
        )

    whole = trained(None, None)
    with pytest.raises(KeyboardInterrupt):
        trained(2, tmp_path / "c")
    rest = trained(None, tmp_path / "c")
    for one, other in zip(whole.model.parameters(), rest.model.parameters(), strict=True):
        assert torch.equal(one, other)


def test_augmentation_that_would_leave_labels_behind_is_refused():
    build, x, y = CASES["segmentation"]
    augment = ec.data.CropFlip(padding=1)
    with pytest.raises(ConfigError, match="would have to move with the images"):
        ec.fit(build(), "vanilla", (x, y), hardware=HW, task="segmentation", epochs=1, augment=augment)


def test_targets_are_refused_before_any_training():
    with pytest.raises(DataError, match="label 7"):
        ec.fit(pixels(), "vanilla", (IMAGES, torch.full((32, 8, 8), 7)), hardware=HW, task="segmentation")
    with pytest.raises(ConfigError, match="label_smoothing"):
        ec.methods.Vanilla(label_smoothing=0.1).bind(mlp(2), HW, task="regression")
    with pytest.raises(ConfigError, match="unknown task 'regresion'.*regression"):
        ec.fit(mlp(2), "vanilla", (X, X[:, :2]), hardware=HW, task="regresion")
