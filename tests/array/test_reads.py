"""Per-read noise, reproducibility, and what a weight on an array refuses to do."""

from __future__ import annotations

import pytest
import torch
from reference.zoo import TiedLanguageModel, architecture
from torch import nn
from torch.func import functional_call

import everychip as ec
from everychip.array import Array, TiledWeight
from everychip.errors import ArrayError
from everychip.hardware.calibration import calibrate

CONVERTERS = Array(rows=8, columns=4, dac_bits=6, adc_bits=5)


def reads(array, *, times, chip=0, sigma=0.1):
    """The same inputs read over and over again."""
    torch.manual_seed(0)
    layer, x = nn.Linear(16, 3, bias=False), torch.randn(500, 16)
    hw = ec.Hardware(device=ec.devices.Gaussian(sigma=sigma), array=array)
    made = ec.program(layer, hw, seed=0, chip=chip)
    with torch.no_grad():
        return layer, x, torch.stack([functional_call(layer, made, (x,)) for _ in range(times)])


@pytest.mark.parametrize("converters", [{}, {"adc_bits": 16}, {"dac_bits": 16, "adc_bits": 16}], ids=str)
def test_read_noise_has_the_stated_size_on_every_tile(converters):
    layer, x, y = reads(Array(rows=8, read_noise=0.05, **converters), times=40)
    # Two tiles, each with 0.05 of what a cell at G_max adds at full input.
    wanted = 2**0.5 * 0.05 * float(layer.weight.detach().abs().max()) * float(x.abs().max())
    n = y.numel()
    spread = (y - y.mean(0)).square().sum().div(n * 39 / 40).sqrt()
    assert float(spread) == pytest.approx(wanted, rel=4 / (2 * n) ** 0.5)


def test_read_noise_is_fresh_in_every_read_and_has_no_mean():
    layer, x, y = reads(Array(rows=8, read_noise=0.05), times=40, sigma=0.0)
    assert not torch.equal(y[0], y[1])
    error = (y - x @ layer.weight.T).detach().double()
    assert abs(float(error.mean())) < 4 * float(error.std()) / error.numel() ** 0.5
    pair = torch.corrcoef(torch.stack([error[0].flatten(), error[1].flatten()]))[0, 1]
    assert abs(float(pair)) < 4 / error[0].numel() ** 0.5


@pytest.mark.parametrize("array", [CONVERTERS, CONVERTERS.replace(read_noise=0.05)], ids=["quiet", "noisy"])
def test_a_chip_programmed_again_reads_the_same_to_the_bit(array):
    assert torch.equal(reads(array, times=3)[2], reads(array, times=3)[2])
    assert not torch.equal(reads(array, times=1, chip=0)[2], reads(array, times=1, chip=1)[2])


def test_evaluation_through_an_array_repeats_to_the_bit_and_moves_no_generator():
    data = ec.data.Digits()
    model = ec.models.MLP(hidden=(16,)).build((1, 8, 8), 10)
    hw = ec.Hardware(device=ec.devices.Gaussian(sigma=0.1), array=CONVERTERS.replace(read_noise=0.02))
    before = torch.random.get_rng_state()
    first, second = (ec.evaluate(model, hw, data, chips=3, calibration=data) for _ in range(2))
    assert torch.equal(first.nll, second.nll)
    assert len(set(first.nll.tolist())) == 3
    assert torch.equal(before, torch.random.get_rng_state())


def test_the_same_chip_alone_and_after_others():
    data = ec.data.Digits()
    model = ec.models.MLP(hidden=(16,)).build((1, 8, 8), 10)
    hw = ec.Hardware(device=ec.devices.Gaussian(sigma=0.1), array=CONVERTERS.replace(read_noise=0.02))
    few, many = (ec.evaluate(model, hw, data, chips=n, calibration=data) for n in (2, 4))
    assert torch.equal(few.nll, many.nll[:2])


@pytest.mark.parametrize("name", ["rnn", "lstm", "gru", "cells"])
def test_fused_layers_are_refused_by_check_program_and_evaluate_in_one_line(name, hardware):
    model, x = architecture(name)
    hw = hardware(CONVERTERS)
    task, y = ("classification" if name == "cells" else "tokens"), x[..., 0].long()
    asked = (
        lambda: ec.check(model, hw),
        lambda: ec.program(model, hw, seed=0, chip=0),
        lambda: ec.evaluate(model, hw, (x, 0 * y), task=task, chips=1),
        lambda: ec.methods.NoiseInjection().bind(model, hw),
    )
    for ask in asked:
        with pytest.raises(ArrayError, match=r"whose fused kernel hides .* hardware.digital = \[") as failure:
            ask()
        assert "\n" not in str(failure.value)


def test_the_remedy_of_the_refusal_is_one(hardware):
    model = ec.models.GRU(hidden=6).build((1, 8, 8), 10)
    with pytest.raises(ArrayError) as failure:
        ec.check(model, hardware(CONVERTERS))
    assert 'hardware.digital = ["recurrent"]' in str(failure.value)
    held = ec.program(model, hardware(CONVERTERS, digital=("recurrent",)), seed=0, chip=0)
    assert list(held) == ["output.weight"]


def programmed(layer=None):
    hw = ec.Hardware(device=ec.devices.Gaussian(sigma=0.1), array=CONVERTERS)
    return ec.program(layer or nn.Linear(8, 8, bias=False), hw, seed=0, chip=0)["weight"]


@pytest.mark.parametrize(
    "use",
    [
        lambda w, x: torch.einsum("ni,oi->no", x, w),
        lambda w, x: x + w,
        lambda w, x: w * x,
        lambda w, x: (w / w.norm()) @ x,
        lambda w, x: w.abs(),
        lambda w, x: w @ w,
        lambda w, x: torch.nn.functional.normalize(w),
        lambda w, x: torch.cat([w, x]),
        lambda w, x: torch.nn.functional.bilinear(x, x, w.unsqueeze(0)),
        lambda w, x: w.sum(),
    ],
    ids=["einsum", "add", "times", "norm", "abs", "two weights", "normalize", "cat", "bilinear", "sum"],
)
def test_whatever_would_compute_past_the_converters_is_refused_in_one_line(use):
    with pytest.raises(ArrayError, match="which an array does not carry out") as failure:
        use(programmed(), torch.randn(8, 8))
    assert "\n" not in str(failure.value)
    assert "hardware.digital" in str(failure.value)


def test_check_tries_the_sample_and_finds_what_no_list_of_layers_knows(hardware):
    class Mixed(nn.Module):
        def __init__(self):
            super().__init__()
            self.mixing = nn.Parameter(torch.randn(8, 8))

        def forward(self, x):
            return torch.einsum("ni,oi->no", x, self.mixing)

    ec.check(Mixed(), hardware(None), torch.randn(2, 8))
    with pytest.raises(ArrayError, match=r"mixing: found einsum, which an array does not carry out"):
        ec.check(Mixed(), hardware(CONVERTERS), torch.randn(2, 8))


def test_shapes_types_and_printing_are_free():
    w = programmed()
    assert (tuple(w.shape), w.dtype, w.dim(), len(w), w.is_floating_point()) == (
        (8, 8),
        torch.float32,
        2,
        8,
        True,
    )
    assert isinstance(repr(w), str)
    assert torch.equal(w, w)


@pytest.mark.parametrize(
    "move",
    [
        lambda w: w.T.T,
        lambda w: w.reshape(4, 16).reshape(8, 8),
        lambda w: w.unsqueeze(0).squeeze(0),
        lambda w: w.detach().clone(),
        lambda w: w.to(torch.float32),
    ],
    ids=["transposed", "reshaped", "unsqueezed", "cloned", "cast"],
)
def test_moved_numbers_are_read_as_before(move):
    w, x = programmed(), torch.randn(5, 8)
    assert isinstance(move(w), TiledWeight)
    assert torch.equal(nn.functional.linear(x, move(w)), nn.functional.linear(x, w))


def test_parts_of_a_weight_are_weights():
    w, x = programmed(), torch.randn(5, 8)
    first, second = w.split(4)
    rows = torch.cat([nn.functional.linear(x, part) for part in (first, w[4:])], dim=1)
    assert isinstance(second, TiledWeight)
    # Columns of four: each half is a column of tiles of its own, as in the whole.
    assert torch.equal(rows, nn.functional.linear(x, w))


def test_a_looked_up_row_is_converted_too(hardware):
    model, tokens = TiedLanguageModel(), torch.arange(6).reshape(2, 3)
    table = ec.program(model, hardware(Array(adc_bits=3), sigma=0), seed=0, chip=0)["embedding.weight"]
    row = nn.functional.embedding(tokens, table).detach()
    step = model.embedding.weight.detach().abs().max() / 3
    assert torch.allclose(row, (model.embedding.weight.detach()[tokens] / step).round() * step, atol=1e-6)
    labels = torch.zeros(2, dtype=torch.long)
    assert "embedding.weight" in calibrate(model, hardware(Array(adc_bits=3)), (tokens, labels)).array.ranges
