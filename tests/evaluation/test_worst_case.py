"""The worst case within a bound: against a closed form, and beside a random direction."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from reference.zoo import architecture
from torch import nn

import everychip as ec
from everychip import Hardware, devices, rng_for
from everychip.errors import ConfigError, DataError
from everychip.evaluation.worst_case import worst_case_search
from everychip.rng import seeded_global_generator

HARDWARE = Hardware(device=devices.Gaussian(sigma=0.1))


def trained():
    """A small network that has learnt its task; validation and test data of the task."""
    model = ec.models.MLP(hidden=(24,)).build((10,), 4, seed=0)
    x = torch.randn(600, 10, generator=rng_for(0, "task"))
    y = (x @ torch.randn(10, 4, generator=rng_for(0, "teacher"))).argmax(1)
    parameters = list(model.parameters())
    for _ in range(150):
        loss = F.cross_entropy(model(x[:300]), y[:300])
        with torch.no_grad():
            for parameter, slope in zip(parameters, torch.autograd.grad(loss, parameters), strict=True):
                parameter.sub_(0.5 * slope)
    return model, (x[300:450], y[300:450]), (x[450:], y[450:])


@pytest.mark.parametrize("restarts", [1, 3])
def test_it_finds_the_worst_corner_of_a_linear_classifier(restarts):
    with seeded_global_generator(0, "init"):
        model = nn.Linear(6, 3).double()
    x = torch.rand(200, 6, generator=rng_for(0), dtype=torch.float64) + 0.1
    y = torch.zeros(200, dtype=torch.long)
    with torch.no_grad():
        z = model(x)
        model.bias[0] -= (z[:, 0] - z[:, 1:].amax(1)).quantile(0.1)
    found = worst_case_search(model, HARDWARE, (x, y), th=0.02, restarts=restarts)
    # With positive inputs of one class, every weight of its row has to fall and every other one to rise.
    w, b = model.weight.detach().numpy(), model.bias.detach().numpy()
    corner = np.full_like(w, 0.02 * np.abs(w).max())
    corner[0] *= -1
    np.testing.assert_allclose(found.perturbation["weight"].numpy(), corner)
    predicted = (x.numpy() @ (w + corner).T + b).argmax(axis=1)
    assert found.worst == pytest.approx((predicted == 0).mean())
    assert 0 < found.worst < found.clean == pytest.approx(0.9)


def test_the_perturbation_stays_within_its_bound_and_is_what_it_says():
    model, validation, _ = trained()
    found = worst_case_search(model, HARDWARE, validation, th=0.1, steps=7, restarts=2)
    twin = copy.deepcopy(model)
    for name, change in found.perturbation.items():
        weight = model.get_parameter(name).detach()
        assert float(change.abs().max()) <= 0.1 * float(weight.abs().max()) * (1 + 1e-6)
        twin.get_parameter(name).data.add_(change)
    x, y = validation
    assert found.worst == pytest.approx(float((twin(x).argmax(1) == y).double().mean()))
    assert found.clean == pytest.approx(float((model(x).argmax(1) == y).double().mean()))


def test_the_worst_direction_is_far_worse_than_a_random_one_of_the_same_size():
    model, validation, test = trained()
    found = worst_case_search(model, HARDWARE, validation, th=0.1, test=test)
    assert found.clean > 0.85 and found.random > found.clean - 0.1
    assert found.worst < found.random - 0.2
    accuracies = []
    for n in range(60):
        rng, twin = rng_for(9, n), copy.deepcopy(model)
        for name, change in found.perturbation.items():
            signs = torch.randint(2, change.shape, generator=rng) * 2 - 1
            twin.get_parameter(name).data.add_(change.abs() * signs)
        accuracies.append(float((twin(test[0]).argmax(1) == test[1]).double().mean()))
    assert abs(found.random - np.mean(accuracies)) < 4 * np.std(accuracies) / np.sqrt(3)


def test_more_restarts_and_a_wider_bound_never_find_less():
    model, validation, _ = trained()
    one, four = (worst_case_search(model, HARDWARE, validation, th=0.05, restarts=n) for n in (1, 4))
    assert four.worst <= one.worst
    wide = worst_case_search(model, HARDWARE, validation, th=0.15, restarts=1)
    assert wide.worst < one.worst


def test_it_searches_on_validation_data_and_measures_on_the_test_data():
    model, validation, test = trained()
    found = worst_case_search(model, HARDWARE, validation, th=0.1, restarts=2)
    elsewhere = worst_case_search(model, HARDWARE, validation, th=0.1, restarts=2, test=test)
    for name, change in found.perturbation.items():
        assert torch.equal(change, elsewhere.perturbation[name])
    x, y = test
    assert elsewhere.clean == pytest.approx(float((model(x).argmax(1) == y).double().mean()))


def test_of_a_data_set_it_searches_on_what_training_holds_out_and_on_no_test_image(monkeypatch):
    """The ΔW found is the one found on that part by hand, and the network was fitted to the others."""
    from everychip.training import loop as training

    model, digits = ec.models.MLP(hidden=(8,)).build((1, 8, 8), 10, seed=0), ec.data.Digits()
    held = []

    def spy(arrays, share, *, seed):
        parts = ec.data.split_holdout(arrays, share, seed=seed)
        held.append(parts[1])
        return parts

    monkeypatch.setattr(training, "split_holdout", spy)
    ec.fit(model, ec.methods.Vanilla(), digits, hardware=HARDWARE, seed=3, epochs=3, lr=0.01)
    options = {"th": 0.1, "steps": 3, "restarts": 1, "seed": 3}
    found = worst_case_search(model, HARDWARE, digits, **options)
    by_hand = worst_case_search(model, HARDWARE, held[0], **options)
    trained_on = worst_case_search(model, HARDWARE, digits.load().train, **options)
    assert (found.clean, found.worst) == (by_hand.clean, by_hand.worst)
    assert found.clean != trained_on.clean
    for name, change in found.perturbation.items():
        assert torch.equal(change, by_hand.perturbation[name])
    again = worst_case_search(model, HARDWARE, digits.load(), test=digits, **options)
    x, y = digits.load().test.x, digits.load().test.y
    assert again.clean == pytest.approx(float((model(x).argmax(1) == y).double().mean()))


def test_the_size_of_the_batches_is_no_part_of_the_result():
    model, validation, _ = trained()
    model, data = model.double(), (validation[0].double(), validation[1])
    whole = worst_case_search(model, HARDWARE, data, th=0.1, restarts=1)
    parts = worst_case_search(model, HARDWARE, data, th=0.1, restarts=1, batch_size=37)
    assert whole.worst == parts.worst
    for name, change in whole.perturbation.items():
        torch.testing.assert_close(change, parts.perturbation[name])


@pytest.mark.parametrize("name", ["attention", "gru", "depthwise", "transposed 2d"])
def test_it_takes_any_model_and_leaves_it_as_it_was(name):
    model, x = architecture(name)
    model = nn.Sequential(model, nn.Flatten(), nn.Dropout(0.5)).train()
    before, generator = copy.deepcopy(model.state_dict()), torch.random.get_rng_state()
    y = torch.arange(len(x)) % 2
    found = worst_case_search(model, HARDWARE, (x, y), th=0.1, steps=3, restarts=2)
    assert 0 <= found.worst <= found.clean <= 1
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters()) and model[2].training
    assert torch.equal(generator, torch.random.get_rng_state())


def test_layers_that_stay_digital_are_not_attacked():
    model, validation, _ = trained()
    found = worst_case_search(model, HARDWARE.replace(digital=("1",)), validation, th=0.1, steps=2)
    assert set(found.perturbation) == {"3.weight"}


def test_it_prints_the_three_accuracies_and_refuses_what_is_no_bound():
    model, validation, _ = trained()
    found = worst_case_search(model, HARDWARE, validation, th=0.1, steps=2, restarts=1)
    assert str(found).startswith("|ΔW| ≤ 0.1·max|W|: worst ")
    for name, expected, refused in (
        ("th", "a number, more than 0", (0.0, -0.1, float("nan"), float("inf"), "0.1", None, True)),
        ("steps", "a whole number, at least 1", (0, 2.5, "3", None)),
        ("restarts", "a whole number, at least 1", (-1, 0, 1.5, None)),
        ("batch_size", "a whole number, at least 1", (0, 2.5, "8", float("nan"))),
    ):
        for value in refused:
            with pytest.raises(ConfigError) as error:
                worst_case_search(model, HARDWARE, validation, **{"th": 0.1, name: value})
            assert str(error.value) == f"worst_case_search.{name}: found {value!r}; expected {expected}"


def test_of_a_linear_regression_it_finds_the_corner_of_the_closed_form():
    """The error w·x − y is largest at e + th·max|w|·Σ|xᵢ|, e > 0 the clean one."""
    x = torch.tensor([[1.0, -2.0, 0.5, 3.0]]).expand(6, 4)
    model = nn.Linear(4, 1, bias=False)
    y = (model(x) - 0.7).detach()
    task = ec.tasks.Regression(unit="K")
    found = worst_case_search(model, HARDWARE, (x, y), th=0.1, task=task)
    worst = 0.7 + 0.1 * float(model.weight.detach().abs().max()) * 6.5
    assert found.clean == pytest.approx(0.7, abs=1e-6)
    assert found.worst == pytest.approx(worst, abs=1e-6)
    assert found.random < found.worst, "higher is worse"
    assert str(found).startswith(f"|ΔW| ≤ 0.1·max|W|: worst RMSE {worst:.4f} K, random of equal size 0.")


def of_every_task():
    x = torch.randn(60, 6, generator=rng_for(0, "tasks"))
    images = torch.randn(20, 1, 6, 6, generator=rng_for(0, "images"))
    places = torch.randn(20, 5, 6, generator=rng_for(0, "places"))
    with seeded_global_generator(0, "tasks"):
        wide, pixels = nn.Linear(6, 4), nn.Conv2d(1, 3, 3, padding=1)
    # One bright pixel, at which the detector sees an object of 6 x 6 around it.
    bright = torch.zeros(20, 1, 7, 7)
    bright[:, :, 3, 3] = 1
    boxes = [{"boxes": torch.tensor([[0.5, 0.5, 6.5, 6.5]]), "labels": torch.tensor([0])}] * 20
    detector = nn.Conv2d(1, 5, 1)
    detector.weight.data = torch.tensor([8.0, 0.0, 0.0, 0.0, 0.0]).reshape(5, 1, 1, 1)
    detector.bias.data = torch.tensor([-4.0, 3.0, 3.0, 3.0, 3.0])
    return {
        "multilabel": (wide, (x, (wide(x) > 0).long()), "multilabel"),
        "segmentation": (pixels, (images, pixels(images).argmax(1)), "segmentation"),
        "tokens": (wide, (places, wide(places).argmax(-1)), "tokens"),
        "embedding": (wide, x, "embedding"),
        "recall": (wide, (x, x.argmax(1)), {"kind": "embedding", "score": "recall"}),
        "detection": (detector, (bright, boxes), {"kind": "detection", "classes": 1}),
    }


@pytest.mark.parametrize("name", of_every_task())
def test_of_every_task_the_worst_chip_is_no_better_than_a_random_one_and_as_measured(name):
    model, data, task = of_every_task()[name]
    before = {key: value.clone() for key, value in model.state_dict().items()}
    found = worst_case_search(model, HARDWARE, data, th=0.3, task=task, steps=5, restarts=2)
    assert found.score == ec.tasks.Task.parse(task).headline
    assert found.worst <= found.random
    assert found.worst < found.clean, found
    draws = ec.evaluate(model, ec.Hardware(device=ec.devices.Ideal()), data, task=task, chips=1)
    assert found.clean == pytest.approx(float(draws.values[0]), abs=1e-6)
    assert all(torch.equal(value, model.state_dict()[key]) for key, value in before.items())


def test_what_is_no_task_or_does_not_suit_it_is_refused_in_one_line():
    x = torch.zeros(8, 4)
    with pytest.raises(ConfigError, match="did you mean regression"):
        worst_case_search(nn.Linear(4, 2), HARDWARE, (x, x), th=0.1, task="regresion")
    with pytest.raises(DataError, match=r"targets \[2, 4\] for outputs \[2, 2\]"):
        worst_case_search(nn.Linear(4, 2), HARDWARE, (x, x), th=0.1, task="regression")
    with pytest.raises(ConfigError, match=r"task\.detection: found no score"):
        worst_case_search(nn.Linear(4, 2), HARDWARE, (x, x), th=0.1, task="detection")


def test_naming_the_task_that_is_searched_changes_nothing():
    x = torch.randn(40, 4, generator=rng_for(0, "x"))
    data, model = (x, (x[:, 0] > 0).long()), nn.Linear(4, 2)
    named, plain = (
        worst_case_search(model, HARDWARE, data, th=0.2, steps=3, restarts=1, **options)
        for options in ({"task": "classification"}, {})
    )
    assert named == plain
