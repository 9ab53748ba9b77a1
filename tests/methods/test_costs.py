"""A method costs what it says: its forwards are counted, those without a backward as a third."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from everychip import methods

VARIANTS = {
    "ovf": methods.OVF(increments=(0.1, 0.05)),
    "samson": methods.SAMSON(noise=True),
    "resilient": methods.Resilient(feedback=0.3, noise_penalty=0.1),
    "adversarial_weight": methods.AdversarialWeight(attack_steps=3),
    "adversarial_weight without noise": methods.AdversarialWeight(attack_steps=2, noise=False),
}
"""Fields that change the cost; every method as it is made without a field is in test_contract.py."""


@pytest.mark.parametrize("name", VARIANTS)
def test_a_step_costs_what_the_method_says(setting, name):
    steps, spent = 8, []
    objective = VARIANTS[name].bind(setting.model, setting.hardware, sample=setting.x[:2], steps=steps)

    def count(module: nn.Module, inputs: tuple[Tensor, ...], logits: Tensor) -> None:
        spent.append(len(logits) / len(setting.x) * (1 if torch.is_grad_enabled() else 1 / 3))

    setting.model.register_forward_hook(count)
    objective.train()
    for _ in range(steps):
        objective(setting.x, setting.y)
        objective.after_step()
    assert sum(spent) / steps == pytest.approx(VARIANTS[name].forwards)
