"""`check` says where one weight sets the full scale of many, and what the noise is under each scale."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import everychip as ec
from everychip.hardware.hardware import Hardware
from everychip.mapping import BitSliced, Direct

CELLS = Hardware(device=ec.devices.Gaussian(sigma=0.05), mapping=Direct())


def network(*, seed: int = 0) -> nn.Sequential:
    """Normal weights of rms 1, without an outlier."""
    model = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 16))
    for n, layer in enumerate((model[0], model[2])):
        drawn = torch.randn(layer.weight.shape, generator=ec.rng_for(seed, n))
        layer.weight.data = drawn / drawn.square().mean().sqrt()
    return model


@pytest.mark.parametrize("seed", range(5))
def test_normal_weights_are_not_warned_of(seed):
    found = ec.check(network(seed=seed), CELLS)
    assert (found.outliers, found.advice) == ((), "")


@pytest.mark.parametrize("layer", [nn.Linear(64, 32), nn.Conv2d(3, 8, 3), nn.Embedding(50, 16)])
def test_neither_are_freshly_initialised_layers(layer):
    assert not ec.check(nn.Sequential(layer), CELLS.replace(embeddings=True)).outliers


def test_one_outlier_is_named_with_the_noise_of_either_scale():
    """σ_W = σ·max|W|: σ_W/rms(W) is σ·max|W|/rms(W) in a layer, the root mean square of that in columns."""
    model = network()
    model[0].weight.data[3, 5] = 40.0
    (found,) = ec.check(model, CELLS).outliers
    weight = model[0].weight.detach()
    rms = float(weight.square().mean().sqrt())
    assert found.layer == "0.weight"
    assert found.of_rms == pytest.approx(40 / rms)
    assert found.columns == 1 / 32  # 7.8 times its column's rms
    assert found.layer_noise == pytest.approx(0.05 * 40 / rms)
    of_column = float(weight.abs().amax(1).square().mean().sqrt())
    assert found.column_noise == pytest.approx(0.05 * of_column / rms)


def test_the_remedy_is_the_scale_of_columns_and_takes_what_it_says():
    model = network()
    model[0].weight.data[3, 5] = 40.0
    before = ec.check(model, CELLS)
    assert 'mapping.scale = "column"' in before.advice
    assert "0.weight: max|W| is" in str(before)
    by_column = CELLS.replace(mapping=Direct(scale="column"))
    after = ec.effective_sigma(model, by_column).layers[0]
    assert after.of_rms == pytest.approx(before.outliers[0].column_noise)
    assert "mapping.scale" not in ec.check(model, by_column).advice


def test_where_columns_themselves_are_unlike_the_scale_is_no_remedy():
    """One input with weights of 60 in every column: each column's full scale is as large as the layer's."""
    model = nn.Sequential(nn.Linear(1000, 8))
    model[0].weight.data = torch.randn(8, 1000, generator=ec.rng_for(1))
    model[0].weight.data[:, 7] = 60.0
    found = ec.check(model, CELLS)
    assert found.outliers[0].columns == 1
    assert "hardware.digital" in found.advice


@pytest.mark.parametrize(
    "mapping", [Direct(), BitSliced(), BitSliced(quantize=True), Direct(sign="differential")]
)
def test_a_column_never_has_more_noise_than_its_layer(mapping):
    """Why "column" is the scale for a network that is not trained here: its full scales are no larger."""
    model = network()
    for n in range(8):
        model[0].weight.data[n] *= 3.0**n
    noise = [
        ec.effective_sigma(model, CELLS.replace(mapping=mapping.replace(scale=scale))).layers[0].of_rms
        for scale in ("column", "layer")
    ]
    assert noise[0] < noise[1]


def test_layers_of_their_own_hardware_are_judged_by_it():
    model = network()
    model[2].weight.data[3, 5] = 40.0
    own = CELLS.replace(layers=({"match": "2", "device": ec.devices.Gaussian(sigma=0.01)},))
    plain, other = (ec.check(model, hardware).outliers[0] for hardware in (CELLS, own))
    assert other.layer_noise == pytest.approx(plain.layer_noise / 5)
