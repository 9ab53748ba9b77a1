"""`check` says where one weight sets the full scale of many, and what the noise is under each scale."""

from __future__ import annotations

import warnings

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


X = torch.randn(40, 64, generator=ec.rng_for(7))
Y = torch.arange(40) % 16
VERBS = {
    "evaluate": lambda model, hardware: ec.evaluate(model, hardware, (X, Y), chips=2),
    "sensitivity": lambda model, hardware: ec.sensitivity(model, hardware, (X, Y), chips=2),
    "chips": lambda model, hardware: ec.chips(model, hardware, count=2),
    "program": lambda model, hardware: ec.program(model, hardware, seed=0, chip=0),
}


def trap() -> nn.Sequential:
    model = network()
    model[0].weight.data[3, 5] = 40.0
    return model


def told(act) -> list[str]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        act()
    assert all(one.filename == __file__ for one in caught), "the line is that of the caller"
    return [str(one.message) for one in caught]


@pytest.mark.parametrize("verb", VERBS)
def test_a_scale_that_nobody_chose_is_warned_of_where_outliers_make_it_a_trap(verb):
    (line,) = told(lambda: VERBS[verb](trap(), CELLS))
    assert line.startswith("0.weight: max|W| is ")
    assert 'hardware.with_scale("column")' in line and "\n" not in line


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize(
    ("model", "hardware"),
    [
        (trap(), CELLS.with_scale("layer")),
        (trap(), CELLS.with_scale("column")),
        (trap(), CELLS.replace(mapping=BitSliced(scale="layer"))),
        (trap(), CELLS.with_sigma(0.0005)),
        (trap(), CELLS.replace(digital=("0",))),
        (network(), CELLS),
    ],
    ids=["layer is meant", "by column", "written", "hardly any noise", "digital", "no outliers"],
)
def test_nothing_is_said_where_there_is_no_trap_or_it_was_chosen(verb, model, hardware):
    assert told(lambda: VERBS[verb](model, hardware)) == []


def test_the_scale_that_is_named_does_what_the_warning_says():
    model = trap()
    (line,) = told(lambda: ec.program(model, CELLS, seed=0, chip=0))
    by_column = CELLS.with_scale("column")
    noise = ec.effective_sigma(model, by_column).layers[0].of_rms
    assert f'{noise:.2f} with "column"' in line
    assert by_column == CELLS.replace(mapping=Direct(scale="column"))


def test_layers_with_their_own_mapping_have_the_scale_too_and_are_warned_of_by_themselves():
    own = CELLS.replace(layers=(ec.Layer(match=("0",), mapping=BitSliced()),))
    assert told(lambda: ec.program(trap(), own.with_scale("column"), seed=0, chip=0)) == []
    written = CELLS.with_scale("layer").replace(layers=own.layers)
    assert len(told(lambda: ec.program(trap(), written, seed=0, chip=0))) == 1


def test_neither_a_recipe_nor_its_draws_change_by_the_scale_being_written():
    model = trap()
    silent = CELLS.with_scale("layer")
    assert silent == CELLS and silent.table() == CELLS.table()
    a, b = (ec.program(model, hardware, seed=3, chip=1) for hardware in (CELLS, silent))
    assert all(torch.equal(a[name], b[name]) for name in a)


def test_of_the_networks_that_were_trained_here_one_has_outliers_and_none_that_met_noise():
    from everychip import zoo
    from everychip.hardware.outliers import outliers
    from everychip.hardware.placement import Placed

    found = {}
    for name in zoo.shipped():
        entry = ec.load(name)
        found[name] = outliers(Placed.of(entry.model, entry.hardware.with_scale("layer")))
    assert [name for name, layers in found.items() if layers] == ["vgg8w16-cifar10-vanilla"]
    assert [one.layer for one in found["vgg8w16-cifar10-vanilla"]] == ["hidden.weight"]
