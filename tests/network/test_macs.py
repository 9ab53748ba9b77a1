from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import spectral_norm, weight_norm

from everychip.errors import ModelError
from everychip.network.macs import first_tensor, trace

B, T = 2, 7  # inputs, steps of a sequence


@pytest.mark.parametrize(
    ("layer", "shape", "closed_form"),
    [
        (nn.Linear(8, 5), (B, 8), B * 8 * 5),
        (nn.Linear(8, 5), (B, 3, 4, 8), B * 3 * 4 * 8 * 5),
        (nn.Linear(8, 5, bias=False), (8,), 8 * 5),
        (nn.Bilinear(3, 3, 5), (B, 3), B * 5 * 3 * 3),
        (nn.Conv1d(4, 6, 3), (B, 4, 10), B * 6 * 8 * 4 * 3),
        (nn.Conv2d(4, 6, 3, stride=2, padding=1), (B, 4, 8, 8), B * 6 * 4 * 4 * 4 * 9),
        (nn.Conv2d(4, 6, 3, groups=2), (B, 4, 8, 8), B * 6 * 6 * 6 * 2 * 9),
        (nn.Conv2d(4, 4, 3, groups=4), (B, 4, 8, 8), B * 4 * 6 * 6 * 1 * 9),
        (nn.Conv2d(4, 6, 3, dilation=2), (B, 4, 8, 8), B * 6 * 4 * 4 * 4 * 9),
        (nn.Conv3d(2, 3, 2), (B, 2, 4, 4, 4), B * 3 * 27 * 2 * 8),
        # Each input pixel meets the kernels of its group once.
        (nn.ConvTranspose1d(4, 6, 3), (B, 4, 10), B * 10 * 4 * 6 * 3),
        (nn.ConvTranspose2d(4, 6, 3, stride=2, groups=2), (B, 4, 8, 8), B * 64 * 4 * 3 * 9),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, nn.Module) else None,
)
def test_a_layer_costs_its_closed_form(layer: nn.Module, shape: tuple[int, ...], closed_form: int) -> None:
    model = Twice(layer) if isinstance(layer, nn.Bilinear) else layer
    traced = trace(model, torch.ones(shape))
    assert {name.removeprefix("layer."): macs for name, macs in traced.by_parameter.items()} == {
        "weight": closed_form
    }
    assert traced.total == closed_form


class Twice(nn.Module):
    """Gives a layer of two inputs the same one twice."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x, x)


@pytest.mark.parametrize(("cell", "gates"), [(nn.RNN, 1), (nn.GRU, 3), (nn.LSTM, 4)])
@pytest.mark.parametrize("batch_first", [True, False])
def test_recurrent_layers_multiply_each_matrix_at_each_step(
    cell: type[nn.RNNBase], gates: int, batch_first: bool
) -> None:
    layer = cell(5, 6, num_layers=2, bidirectional=True, batch_first=batch_first)
    counted = trace(layer, torch.ones(B, T, 5) if batch_first else torch.ones(T, B, 5))
    expected = {}
    for depth, inputs in ((0, 5), (1, 2 * 6)):
        for direction in ("", "_reverse"):
            expected[f"weight_ih_l{depth}{direction}"] = B * T * gates * 6 * inputs
            expected[f"weight_hh_l{depth}{direction}"] = B * T * gates * 6 * 6
    assert counted.by_parameter == expected
    assert counted.between_activations == 0


class SelfAttention(nn.Module):
    """One attention layer on its own input; keys and values may be narrower."""

    def __init__(self, **options: object) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True, **options)

    def forward(self, x: Tensor) -> Tensor:
        keys = x[..., : self.attention.kdim]
        return self.attention(x, keys, keys)[0]


@pytest.mark.parametrize("train", [True, False])
def test_attention_multiplies_its_matrices_and_its_activations(train: bool) -> None:
    traced = trace(SelfAttention().train(train), torch.ones(B, T, 8))
    assert traced.by_parameter == {
        "attention.in_proj_weight": B * T * 8 * 24,
        "attention.out_proj.weight": B * T * 8 * 8,
    }
    assert traced.between_activations == 2 * B * T * T * 8  # scores, and their product with the values


def test_attention_with_narrow_keys_names_each_matrix() -> None:
    traced = trace(SelfAttention(kdim=6, vdim=6), torch.ones(B, T, 8))
    assert traced.by_parameter == {
        "attention.q_proj_weight": B * T * 8 * 8,
        "attention.k_proj_weight": B * T * 6 * 8,
        "attention.v_proj_weight": B * T * 6 * 8,
        "attention.out_proj.weight": B * T * 8 * 8,
    }


def test_the_fused_encoder_layer_hides_no_product() -> None:
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True).eval()
    traced = trace(layer, torch.ones(B, T, 8))
    assert traced.by_parameter["linear1.weight"] == traced.by_parameter["linear2.weight"] == B * T * 8 * 16
    assert traced.total == B * T * 8 * (24 + 8 + 16 + 16) + 2 * B * T * T * 8


class Functional(nn.Module):
    """Weights that reach their product by detours."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Parameter(torch.ones(4, 6)), nn.Parameter(torch.ones(6, 4))
        self.c = nn.Parameter(torch.ones(3, 4))
        self.register_buffer("mask", torch.ones(4, 6))
        self.register_buffer("basis", torch.ones(4, 4))

    def forward(self, x: Tensor) -> Tensor:
        h = F.linear(x, (self.a * self.mask).to(torch.float64).float())  # masked and cast
        h = torch.einsum("nd,dk->nk", h, self.b.t().contiguous().t()[:4])  # transposed, copied, cut
        h = h @ self.basis  # no parameter: a fixed transform
        return h @ torch.cat([self.c, self.c]).T


def test_masked_cast_cut_and_joined_weights_are_still_their_parameters() -> None:
    traced = trace(Functional(), torch.ones(B, 6))
    assert traced.by_parameter == {"a": B * 4 * 6, "b": B * 4 * 4, "c": B * 4 * 6}
    assert traced.by_buffer == {"basis": B * 4 * 4}
    assert traced.between_activations == 0


@pytest.mark.parametrize(("norm", "name"), [(weight_norm, "original1"), (spectral_norm, "original")])
def test_the_making_of_a_parametrised_weight_is_not_counted(norm: Any, name: str) -> None:
    traced = trace(norm(nn.Linear(8, 5)), torch.ones(B, 8))
    assert traced.by_parameter == {f"parametrizations.weight.{name}": B * 8 * 5}
    assert traced.between_activations == 0


def test_tied_weights_are_counted_under_the_first_name() -> None:
    tied = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4))
    tied[2].weight = tied[0].weight
    assert trace(tied, torch.ones(B, 4)).by_parameter == {"0.weight": 2 * B * 16}


def test_calls_tell_when_each_submodule_began_and_ended() -> None:
    model = nn.Sequential(nn.Linear(4, 8), nn.Sequential(nn.ReLU(), nn.Linear(8, 2)))
    calls = {call.name: (call.before, call.after) for call in trace(model, torch.ones(1, 4)).calls}
    assert calls == {"0": (0, 32), "1.0": (32, 32), "1.1": (32, 48), "1": (32, 48)}


class Unquiet(nn.Module):
    """Draws random numbers, writes a buffer and has dropout and batch norm."""

    def __init__(self) -> None:
        super().__init__()
        self.linear, self.drop, self.norm = nn.Linear(4, 4), nn.Dropout(), nn.BatchNorm1d(4)
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return self.norm(self.drop(self.linear(x + torch.randn_like(x))))


def test_a_trace_leaves_the_model_and_pytorch_as_they_were() -> None:
    model = Unquiet()
    model.norm.eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    generator, fast = torch.random.get_rng_state(), torch.backends.mha.get_fastpath_enabled()
    mkldnn = torch.backends.mkldnn.enabled
    trace(model, torch.ones(B, 4))
    with pytest.raises(ModelError, match=r"fails on the sample of shape \[2, 9\]"):
        trace(model, torch.ones(B, 9))
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert [m.training for m in model.modules()] == [True, True, True, False]
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
    assert torch.equal(generator, torch.random.get_rng_state())
    assert torch.backends.mha.get_fastpath_enabled() == fast
    assert torch.backends.mkldnn.enabled == mkldnn


def test_an_output_is_read_as_its_logits_or_its_first_tensor() -> None:
    @dataclass
    class Output:
        loss: None
        logits: Tensor

    x = torch.ones(2)
    assert first_tensor(Output(None, x)) is x
    assert first_tensor((None, (x, torch.zeros(1)))) is x
    assert first_tensor({"loss": None, "last_hidden_state": x}) is x
    assert first_tensor("text") is None


def test_a_batch_norm_that_is_held_twice_keeps_its_own_buffers() -> None:
    norm = nn.BatchNorm1d(4)
    model = nn.ModuleDict({"first": norm, "second": norm, "head": nn.Linear(4, 2)})

    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.parts = model

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.parts["head"](self.parts["second"](self.parts["first"](x)))

    buffers = {id(buffer) for buffer in norm.buffers()}
    trace(Twice(), torch.ones(2, 4))
    assert {id(buffer) for buffer in norm.buffers()} == buffers
