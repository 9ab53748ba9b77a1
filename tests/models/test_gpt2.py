"""A GPT-2 of a recipe: the network of transformers, and what the crossbar holds of it."""

from __future__ import annotations

import pytest
import torch

import everychip as ec
from everychip.config.component import ConfigError
from everychip.errors import MissingExtraError, ModelError
from everychip.models import GPT2

IDS = torch.arange(24).reshape(2, 12) % 17


def test_a_token_depends_on_those_before_it_only():
    model = GPT2(width=16, heads=2).build((12,), 17).eval()
    changed = IDS.clone()
    changed[:, 8:] = 3
    with torch.no_grad():
        one, other = (ec.run(model, {}, x) for x in (IDS, changed))
    assert one.shape == (2, 12, 17)
    assert torch.allclose(one[:, :8], other[:, :8], atol=1e-6) and not torch.allclose(one, other)


@pytest.mark.parametrize("tied", [True, False])
def test_the_output_is_the_embedding_or_a_layer_of_its_own(tied):
    model = GPT2(width=16, tied=tied).build((12,), 17)
    hw = ec.Hardware(device=ec.devices.Ideal())
    held = set(hw.crossbar(model))
    assert len(held) == 2 * 4 + 1
    assert ("transformer.wte.weight" in held) == tied and ("lm_head.weight" in held) == (not tied)


@pytest.mark.parametrize("tied", [True, False])
def test_fine_converters_give_what_the_digital_network_gives(tied):
    model = GPT2(width=16, tied=tied).build((12,), 17).eval()
    fine = ec.Hardware(device=ec.devices.Ideal(), array=ec.Array(dac_bits=16, adc_bits=16))
    with torch.no_grad():
        assert torch.allclose(
            ec.run(model, ec.program(model, fine, seed=0, chip=0), IDS), ec.run(model, {}, IDS), atol=1e-2
        )


@pytest.mark.parametrize("tied", [True, False])
def test_its_input_ranges_are_learned_where_there_is_a_dac_to_read(tied):
    model = GPT2(width=16, depth=1, tied=tied).build((12,), 17)
    hw = ec.Hardware(device=ec.devices.Gaussian(sigma=0.03), array=ec.Array(dac_bits=8))
    method = ec.methods.Distillation(teacher_share=0.0, inputs=ec.methods.LearnedInputs())
    objective = method.bind(model, hw, task={"kind": "tokens", "causal": True})
    loss = objective(IDS, IDS)
    loss.backward()
    assert set(objective.deployed.array.dac_ranges) == set(hw.crossbar(model))
    assert all(p.grad is not None for p in objective.learned.ranges)


def test_what_it_cannot_be_is_refused_in_one_line(monkeypatch):
    with pytest.raises(ConfigError, match="3 do not share 16 features"):
        ec.models.Model.parse({"kind": "gpt2", "width": 16, "heads": 3})
    with pytest.raises(ModelError, match=r"token numbers \[t\]"):
        GPT2().build((1, 8, 8), 10)
    monkeypatch.setattr("everychip.models.gpt2.find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"everychip\[transformers\]"):
        GPT2().build((8,), 10)
