"""The teacher is the model as it was after its share of clean training, and every checkpoint carries it."""

from __future__ import annotations

import copy

import pytest
import torch
from reference import losses, rivals
from torch import nn

from everychip import Hardware, devices, methods, rng_for
from everychip.data import Arrays
from everychip.errors import ConfigError
from everychip.training.loop import Training, train


def bound(setting, **fields):
    method = methods.Distillation(**fields)
    return method.bind(setting.model, setting.hardware, seed=3, steps=10)


def step(objective, setting):
    optimizer = torch.optim.SGD([p for p in objective.parameters() if p.requires_grad], lr=0.05)
    optimizer.zero_grad()
    loss = objective(setting.x, setting.y)
    loss.backward()
    optimizer.step()
    objective.after_step()
    return float(loss.detach())


def numbers(tensor):
    return tensor.detach().double().numpy()


def test_the_loss_is_clean_cross_entropy_first_and_distillation_from_then_on(setting):
    objective = bound(setting, teacher_share=0.3, hard_share=0.2, temperature=3.0)
    for _ in range(3):
        expected = losses.cross_entropy(numbers(setting.logits({})), setting.labels)
        assert step(objective, setting) == pytest.approx(expected, rel=1e-5)
    teacher = copy.deepcopy(setting.model).eval()
    for _ in range(3):
        t, z = numbers(teacher(setting.x)), numbers(setting.logits(objective.chip()))
        soft = 9.0 * rivals.divergence(t / 3.0, z / 3.0)
        hard = losses.cross_entropy(z, setting.labels)
        assert step(objective, setting) == pytest.approx(0.2 * hard + 0.8 * soft, rel=1e-4)
    for mine, kept in zip(objective.teacher.parameters(), teacher.parameters(), strict=True):
        assert torch.equal(mine, kept)
        assert mine.grad is None
    assert not torch.equal(objective.teacher.out.weight, setting.model.out.weight)


def test_the_model_comes_back_without_its_teacher(setting):
    objective = bound(setting)
    assert objective.detach() is setting.model
    assert not any("teacher" in name for name, _ in objective.detach().named_parameters())
    trained = [p for p in objective.parameters() if p.requires_grad]
    assert len(trained) == len(list(setting.model.parameters()))


def test_a_share_of_a_short_training_is_at_least_one_step(setting):
    objective = methods.Distillation(teacher_share=0.01).bind(setting.model, setting.hardware, steps=2)
    first, second = step(objective, setting), step(objective, setting)
    assert first != second


@pytest.mark.parametrize("stop", [1, 2, 3])
def test_an_interrupted_training_resumes_to_the_bit(tmp_path, stop):
    """Stopped while the teacher learns, at the very step at which it is ready, and after it."""
    x = torch.randn(80, 6, generator=rng_for(0))
    data = Arrays(x, (x[:, 0] > 0).long())
    hardware = Hardware(device=devices.Gaussian(sigma=0.2))
    training = Training(epochs=4, batch_size=16, lr=0.01)

    def trained(checkpoint, stop=None):
        def listen(event):
            # The first word of an epoch comes after the checkpoint of the one before.
            if stop is not None and event.done > stop * (event.total // 4):
                raise KeyboardInterrupt

        model = nn.Sequential(nn.Linear(6, 12), nn.BatchNorm1d(12), nn.ReLU(), nn.Linear(12, 2))
        with torch.no_grad():
            for p in model.parameters():
                p.copy_(torch.linspace(-0.5, 0.7, p.numel()).sin().view_as(p))
        return train(
            model,
            methods.Distillation(teacher_share=0.5),
            data,
            hardware=hardware,
            training=training,
            checkpoint=checkpoint,
            progress=listen,
        )

    through = trained(None)
    with pytest.raises(KeyboardInterrupt):
        trained(tmp_path / "checkpoint", stop)
    resumed = trained(tmp_path / "checkpoint")
    assert resumed.history == through.history
    for one, other in zip(resumed.model.parameters(), through.model.parameters(), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("way", ["two chips", "two batches"])
def test_no_noisy_forward_reaches_the_teachers_batch_norm(setting, way):
    """Of the step at which the teacher is ready, only the first forward finds the model as it was taught."""
    objective = bound(setting, teacher_share=0.3, chips=2 if way == "two chips" else None).train()
    for _ in range(3):
        step(objective, setting)
    taught = copy.deepcopy(setting.model.state_dict())
    for _ in range(1 if way == "two chips" else 2):
        objective(setting.x, setting.y)
    assert not torch.equal(setting.model.norm1.running_mean, taught["norm1.running_mean"])
    for name, value in objective.teacher.state_dict().items():
        assert torch.equal(value, taught[name]), name


def test_a_ramp_counts_from_the_teachers_first_step(setting):
    objective = bound(setting, teacher_share=0.3, ramp=0.5)
    shown = []
    for _ in range(10):
        shown.append(setting.sigma("hidden.weight", objective.chip()))
        objective.after_step()
    assert shown == pytest.approx([0.2 * min(1.0, n / 5) for n in range(10)], rel=0.08, abs=1e-9)


@pytest.mark.parametrize("steps", [2, 4, 10])
def test_however_long_the_teacher_learns_the_last_step_distils(setting, steps):
    method = methods.Distillation(teacher_share=0.99)
    objective = method.bind(setting.model, setting.hardware, steps=steps)
    noisy = []
    for _ in range(steps):
        before = setting.model.norm1.running_mean.clone()
        plain = losses.cross_entropy(numbers(setting.logits({})), setting.labels)
        noisy.append(step(objective, setting) != pytest.approx(plain, rel=1e-5))
        assert not torch.equal(before, setting.model.norm1.running_mean)
    assert noisy == [False] * (steps - 1) + [True]


def test_one_step_is_too_short_for_a_teacher_and_a_student(setting):
    with pytest.raises(ConfigError, match=r"method\.teacher_share.*at least 2") as error:
        methods.Distillation().bind(setting.model, setting.hardware, steps=1)
    assert "\n" not in str(error.value)


def test_it_needs_the_length_of_training(setting):
    with pytest.raises(ConfigError, match=r"method\.teacher_share.*steps=epochs") as error:
        methods.Distillation().bind(setting.model, setting.hardware)
    assert "\n" not in str(error.value)
