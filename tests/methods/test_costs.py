"""A method costs what it says: its forwards are counted, those without a backward as a third."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from everychip import methods

COSTS = {
    "vanilla": methods.Vanilla(),
    "noise_injection": methods.NoiseInjection(),
    "temperature": methods.Temperature(),
    "temperature_statistics": methods.TemperatureStatistics(),
    "over_noise": methods.OverNoise(ramp=0),
    "irs": methods.IRS(hidden=8),
    "deep_supervision": methods.DeepSupervision(hidden=8),
    "ovf": methods.OVF(increments=(0.1, 0.05)),
    "correctnet": methods.CorrectNet(),
    "censored": methods.Censored(),
    "vant": methods.VANT(),
    "consistency": methods.Consistency(),
    "distillation": methods.Distillation(teacher_share=0.25),
    "sam": methods.SAM(),
    "samson": methods.SAMSON(noise=True),
    "resilient": methods.Resilient(),
    "resilient with feedback": methods.Resilient(feedback=0.3, quiet=0.1),
    "adversarial_weight": methods.AdversarialWeight(attack_steps=3),
    "adversarial_weight without noise": methods.AdversarialWeight(attack_steps=2, noise=False),
}


@pytest.mark.parametrize("name", COSTS)
def test_a_step_costs_what_the_method_says(setting, name):
    steps, spent = 8, []
    objective = COSTS[name].bind(setting.model, setting.hardware, sample=setting.x[:2], steps=steps)

    def count(module: nn.Module, inputs: tuple[Tensor, ...], logits: Tensor) -> None:
        spent.append(len(logits) / len(setting.x) * (1 if torch.is_grad_enabled() else 1 / 3))

    setting.model.register_forward_hook(count)
    objective.train()
    if name == "distillation":
        objective.teacher.register_forward_hook(lambda *_: spent.append(1 / 3))
    for _ in range(steps):
        objective(setting.x, setting.y)
        objective.after_step()
    assert sum(spent) / steps == pytest.approx(COSTS[name].forwards)


def test_every_method_is_counted():
    own = {kind for kind, m in methods.Method.kinds().items() if m.__module__.startswith("everychip.")}
    assert {method.kind for method in COSTS.values()} == own
