"""With ideal converters an array computes what the programmed weights compute, on every model."""

from __future__ import annotations

import pytest
import torch
from reference.zoo import ARCHITECTURES, architecture
from torch import nn

import everychip as ec
from everychip.array import Array
from everychip.hardware.calibration import calibrate

FUSED = ("rnn", "lstm", "gru", "cells")
CAUGHT = [name for name in ARCHITECTURES if name not in FUSED]


class Conv1D(nn.Module):
    """A linear layer as Hugging Face's GPT-2 holds it: [in, out], multiplied by addmm."""

    def __init__(self, nx: int, nf: int) -> None:
        super().__init__()
        self.nf = nf
        self.weight, self.bias = nn.Parameter(torch.randn(nx, nf)), nn.Parameter(torch.randn(nf))

    def forward(self, x):
        return torch.addmm(self.bias, x.view(-1, x.size(-1)), self.weight).view(*x.shape[:-1], self.nf)


class Experts(nn.Module):
    """Matrices in a stack, multiplied one by one by bmm."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(3, 8, 4))

    def forward(self, x):
        return torch.bmm(x, self.weight)


class FromTheLeft(nn.Module):
    """A matrix that stands on the left of its inputs."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(6, 8))

    def forward(self, x):
        return self.weight @ x.mT


OWN = {"transformers' Conv1D": Conv1D(8, 6), "experts": Experts(), "matrix on the left": FromTheLeft()}


def model_and_inputs(name):
    torch.manual_seed(0)
    return (OWN[name], torch.randn(3, 5, 8)) if name in OWN else architecture(name)


@pytest.mark.parametrize("name", [*CAUGHT, *OWN])
@pytest.mark.parametrize(
    "array", [Array(rows=7, columns=3), Array(rows=64, columns=64)], ids=["small", "large"]
)
def test_ideal_converters_give_what_the_programmed_weights_give(name, array, outputs):
    model, x = model_and_inputs(name)
    model.eval()
    plain = outputs(model, x)
    assert torch.allclose(outputs(model, x, array), plain, rtol=1e-5, atol=1e-5 * float(plain.abs().max()))


@pytest.mark.parametrize("name", [*CAUGHT, *OWN])
def test_every_weight_of_the_crossbar_is_read_through_the_array(name, hardware):
    model, x = model_and_inputs(name)
    hw = hardware(Array(rows=7, columns=3, adc_bits=4))
    labels = torch.zeros(len(x), dtype=torch.long)
    seen = calibrate(model, hw, (x, labels)).array.ranges
    assert {key.partition("@")[0] for key in seen} == set(hw.crossbar(model))
    assert all(one.dac > 0 and one.adc for one in seen.values())


@pytest.mark.parametrize("name", [*CAUGHT, *OWN])
def test_two_bits_are_felt_everywhere(name, outputs):
    """A layer that slipped past its converters would give the same as without them."""
    model, x = model_and_inputs(name)
    model.eval()
    assert not torch.allclose(outputs(model, x, Array(dac_bits=2, adc_bits=2)), outputs(model, x), rtol=1e-3)


def test_the_fast_path_of_an_encoder_does_not_slip_past(outputs):
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True).eval()
    x = torch.randn(2, 5, 8)
    slow = outputs(layer, x, Array(adc_bits=3))
    layer.train().requires_grad_(True)
    for module in layer.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    layer.self_attn.dropout = 0.0
    assert torch.allclose(slow, outputs(layer, x, Array(adc_bits=3)), atol=1e-6)


def test_same_padding_and_a_single_image(outputs):
    for layer in (nn.Conv2d(3, 5, 4, padding="same", dilation=2), nn.Conv2d(3, 5, (1, 4), padding="valid")):
        for x in (torch.randn(2, 3, 9, 9), torch.randn(3, 9, 9)):
            assert torch.allclose(outputs(layer, x, Array(rows=17, columns=2)), outputs(layer, x), atol=1e-5)


def test_an_empty_batch_stays_empty(outputs):
    assert outputs(nn.Linear(4, 2), torch.zeros(0, 4), Array(dac_bits=4, adc_bits=4)).shape == (0, 2)


def test_inputs_of_nothing_but_zeros_give_the_bias(outputs):
    layer = nn.Linear(4, 2)
    y = outputs(layer, torch.zeros(3, 4), Array(dac_bits=4, adc_bits=4))
    assert torch.equal(y, layer.bias.detach().expand(3, 2))


@pytest.mark.parametrize("sign", ["sign_magnitude", "differential", "offset"])
def test_slices_add_up_to_the_programmed_weight(sign, outputs):
    model, x = nn.Linear(20, 6), torch.randn(9, 20)
    mapping = ec.mapping.BitSliced(weight_bits=8, cell_bits=2, quantize=True, sign=sign, on_off=20)
    plain = outputs(model, x, mapping=mapping)
    sliced = ec.program(model, ec.Hardware(
        device=ec.devices.Gaussian(sigma=0.1), mapping=mapping, array=Array()), seed=0, chip=0
    )["weight"].cells.slices  # fmt: skip
    assert len(sliced) == 4
    assert torch.allclose(outputs(model, x, Array(rows=7, columns=4), mapping=mapping), plain, atol=1e-5)
    together = Array(rows=7, columns=4, shift_add="analog")
    assert torch.allclose(outputs(model, x, together, mapping=mapping), plain, atol=1e-5)


@pytest.mark.slow
def test_gpt2_and_a_vision_transformer_run_through_an_array_as_they_are(hardware, outputs):
    """From a config, without downloads; GPT-2 holds its weights the other way round (Conv1D)."""
    hf = pytest.importorskip("transformers")
    small = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "num_labels": 3}
    gpt2 = {"vocab_size": 20, "n_positions": 8, "n_embd": 16, "n_layer": 1, "n_head": 2, "num_labels": 3}
    models = (
        (
            hf.GPT2ForSequenceClassification(
                hf.GPT2Config(**gpt2, pad_token_id=0, bos_token_id=1, eos_token_id=1)
            ),
            torch.arange(1, 15).reshape(2, 7),
        ),
        (
            hf.ViTForImageClassification(
                hf.ViTConfig(**small, intermediate_size=32, image_size=8, patch_size=4)
            ),
            torch.randn(2, 3, 8, 8),
        ),
    )
    for model, x in models:
        model.eval()
        hw = hardware(Array(rows=20, columns=12, dac_bits=8, adc_bits=8))
        assert set(calibrate(model, hw, (x, torch.tensor([0, 1]))).array.ranges) == set(hw.crossbar(model))
        plain = outputs(model, x).logits
        assert torch.allclose(outputs(model, x, Array(rows=20, columns=12)).logits, plain, atol=1e-5)
        assert not torch.allclose(outputs(model, x, hw.array.replace(adc_bits=2)).logits, plain, atol=1e-5)
