"""Scale, sign and on-off ratio: round trips, closed forms against samples, and laws written out."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import hardware as reference
from reference.statistics import assert_moments
from torch import nn

import everychip as ec
from everychip import devices, rng_for
from everychip.config.toml import content_hash
from everychip.errors import ConfigError
from everychip.mapping import BitSliced, CellMapping, Columns, Differential, Direct, Offset, SignMagnitude
from everychip.mapping.columns import columns_of

SIGNS = [SignMagnitude(), Differential(), Offset(), Offset(noisy_reference=False)]
DEVICES = [devices.Gaussian(sigma=0.1), devices.Mismatch(sigma=0.2), devices.LogNormal(sigma=0.3)]
CELLS = [Direct, BitSliced, lambda **fields: BitSliced(weight_bits=4, cell_bits=2, quantize=True, **fields)]
OUTPUTS_SECOND = Columns(axis=1)


def label(value):
    return getattr(value, "__name__", None) or str(getattr(value, "kind", value))


def matrices():
    numbers = st.floats(-8, 8, width=32)
    rows = st.lists(numbers, min_size=3, max_size=3)
    return st.lists(rows, min_size=2, max_size=5).map(lambda w: torch.tensor(w, dtype=torch.float64))


def steps_of_a_sign(sign, bits):
    """An offset spends one bit on the sign; the others hold it beside the magnitude."""
    return 2 ** (bits - 1) - 1 if isinstance(sign, Offset) else 2**bits - 1


@given(
    weight=matrices(),
    bits=st.sampled_from([(8, 2), (8, 1), (6, 2), (4, 4), (3, 1), (2, 1)]),
    sign=st.sampled_from(SIGNS),
    scale=st.sampled_from(["layer", "column"]),
    axis=st.sampled_from([0, 1]),
    on_off=st.sampled_from([None, 3.0]),
)
@settings(max_examples=200, deadline=None)
def test_reading_the_cells_back_gives_the_target_within_half_a_step(weight, bits, sign, scale, axis, on_off):
    mapping = BitSliced(
        weight_bits=bits[0], cell_bits=bits[1], quantize=True, sign=sign, scale=scale, on_off=on_off
    )
    columns = Columns(axis=axis)
    largest = weight.abs().amax(1 - axis, keepdim=True) if scale == "column" else weight.abs().max()
    target = mapping.target(weight, columns=columns)
    step = largest / steps_of_a_sign(sign, bits[0])
    assert bool(((target - weight).abs() <= step / 2 * (1 + 1e-6)).all())
    cells = mapping.conductances(weight, columns=columns)
    lowest = 0.0 if on_off is None else 1 / on_off
    assert all(lowest - 1e-9 <= float(g.min()) and float(g.max()) <= 1 + 1e-9 for g in cells)
    torch.testing.assert_close(
        read_back(cells, weight, sign, bits, lowest) * step, target, rtol=1e-6, atol=1e-6
    )


def read_back(cells, weight, sign, bits, lowest):
    """What a circuit reads, in steps: digits counted together, then the sign."""
    top, count = 2 ** bits[1] - 1, bits[0] // bits[1]
    digits = [((g - lowest) / (1 - lowest) * top).round() for g in cells]
    whole = [
        sum(digit * 2 ** (n * bits[1]) for n, digit in enumerate(digits[start : start + count]))
        for start in range(0, len(digits), count)
    ]
    if isinstance(sign, SignMagnitude):
        return whole[0] * torch.where(weight < 0, -1, 1)
    return whole[0] - whole[1]


@pytest.mark.parametrize("sign", SIGNS, ids=str)
def test_analog_cells_read_back_exactly(sign):
    weight = torch.randn(5, 4, generator=rng_for(0), dtype=torch.float64)
    mapping = Direct(sign=sign, on_off=5.0)
    u = [(g - 0.2) / 0.8 for g in mapping.conductances(weight)]
    found = {1: lambda: u[0] * weight.sign(), 2: lambda: u[0] - u[1]}[len(u)]()
    gain = 2.0 if isinstance(sign, Offset) else 1.0
    torch.testing.assert_close(found * gain * weight.abs().max(), weight)


@pytest.mark.parametrize("on_off", [None, 4.0])
@pytest.mark.parametrize("scale", ["layer", "column"])
@pytest.mark.parametrize("cells", CELLS, ids=["direct", "whole", "digits"])
@pytest.mark.parametrize("sign", SIGNS, ids=str)
@pytest.mark.parametrize("device", DEVICES, ids=label)
def test_sampled_weights_have_the_sigma_of_the_closed_form(device, sign, cells, scale, on_off):
    mapping = cells(sign=sign, scale=scale, on_off=on_off)
    # Rows are independent even of a shared reference: many rows, and one weight of each kind per row.
    weight = torch.tensor([0.0, -0.4, 0.9])[:, None].repeat(1, 8000)
    weight[:, 0] = torch.tensor([2.0, -2.0, 1.0])
    sample = mapping.deviation(weight, device, rng_for(2, str(mapping)))
    closed = mapping.std(weight, device)
    assert closed.shape == sample.shape == weight.shape
    for column in range(3):
        values = sample[column, 1:].double()
        # Only the log-normal law has a mean deviation. Of 648 samples, one may well be four errors away.
        mean = float(values.mean()) if isinstance(device, devices.LogNormal) else 0.0
        assert_moments(values, mean=mean, std=float(closed[column, 1]), errors=5)


@pytest.mark.parametrize("w", [0.0, 0.3, -1.0])
def test_the_sigma_of_a_pair_is_that_of_both_cells(w):
    device = devices.Sequence(devices=(devices.Gaussian(sigma=0.03), devices.Mismatch(sigma=0.2)))
    weight, full = torch.tensor([[w, 2.0]]), 2.0

    def sigma(g):
        # (g + 0.03·N)·(1 + 0.2·N): what was added is scaled, too.
        return math.sqrt(0.03**2 * (1 + 0.2**2) + (0.2 * g) ** 2)

    expected = full * math.hypot(sigma(abs(w) / full), sigma(0))
    assert float(Direct(sign="differential").std(weight, device)[0, 0]) == pytest.approx(expected, rel=1e-5)
    expected = 2 * full * math.hypot(sigma(0.5 + w / full / 2), sigma(0.5))
    assert float(Direct(sign="offset").std(weight, device)[0, 0]) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("cells", CELLS, ids=["direct", "whole", "digits"])
def test_idle_cells_are_noisy_exactly_where_sigma_at_g_min_is_not_zero(cells):
    weight = torch.zeros(1, 20_001)
    weight[0, 0] = 1.0
    share = float(cells().std(weight, devices.Gaussian(sigma=1.0))[0, 1])

    def idle(device, **fields):
        return cells(sign="differential", **fields).deviation(weight, device, rng_for(4))[0, 1:]

    assert_moments(idle(devices.Gaussian(sigma=0.1)), mean=0.0, std=math.sqrt(2) * 0.1 * share)
    assert torch.equal(idle(devices.Mismatch(sigma=0.2)), torch.zeros(20_000))
    # At an on-off ratio of 4 both cells idle at a quarter of G_max, three quarters of which are the range.
    # The factor of slices is one of added noise: what multiplies, multiplies the whole weight.
    digits = cells().has_digits
    expected = math.sqrt(2) * 0.2 * 0.25 / 0.75 * (share if digits else 1.0)
    assert_moments(idle(devices.Mismatch(sigma=0.2), on_off=4.0), mean=0.0, std=expected)


@pytest.mark.parametrize("sign", SIGNS, ids=str)
@pytest.mark.parametrize("ratio", [1.5, 10.0, 1000.0])
def test_a_finite_on_off_ratio_raises_additive_noise_by_what_it_takes_of_the_range(sign, ratio):
    weight, device = torch.randn(6, 5, generator=rng_for(1)), devices.Gaussian(sigma=0.1)
    for cells in CELLS:
        wide, narrow = cells(sign=sign), cells(sign=sign, on_off=ratio)
        torch.testing.assert_close(narrow.std(weight, device), wide.std(weight, device) / (1 - 1 / ratio))
        draws = [mapping.deviation(weight, device, rng_for(5)) for mapping in (narrow, wide)]
        torch.testing.assert_close(draws[0], draws[1] / (1 - 1 / ratio))
        assert torch.equal(narrow.target(weight), wide.target(weight))


def test_all_outputs_meet_the_same_error_of_the_reference_and_inputs_different_ones():
    weight, device = torch.zeros(500, 40), devices.Gaussian(sigma=0.1)
    weight[0, 0] = 1.0
    draws = [
        Direct(sign=Offset(noisy_reference=noisy)).deviation(weight, device, rng_for(6))
        for noisy in (True, False)
    ]
    reference_error = draws[0] - draws[1]
    assert float(reference_error.std(0).max()) < 1e-6
    assert_moments(reference_error[0], mean=0.0, std=2 * 0.1)
    assert len(set(reference_error[0].tolist())) == 40


LAYERS = {
    "linear": nn.Linear(6, 4),
    "convolution": nn.Conv2d(6, 4, 3),
    "grouped": nn.Conv2d(6, 4, 3, groups=2),
    "depthwise": nn.Conv2d(4, 4, 3, groups=4),
    "transposed": nn.ConvTranspose2d(6, 4, 3),
    "transposed grouped": nn.ConvTranspose1d(6, 4, 3, groups=2),
    "embedding": nn.Embedding(6, 4),
}


def columns_written_out(layer):
    """The places of every output's weights, and for every weight the name of the row that it stands in."""
    weight = layer.weight
    groups, outputs = getattr(layer, "groups", 1), {}
    for place in torch.cartesian_prod(*[torch.arange(n) for n in weight.shape]).tolist():
        if isinstance(layer, nn.Embedding):
            group, output, row = 0, place[1], place[0]
        elif isinstance(layer, nn.modules.conv._ConvTransposeNd):
            group = place[0] // (weight.shape[0] // groups)
            output, row = group * weight.shape[1] + place[1], (place[0], *place[2:])
        else:
            group = place[0] // (weight.shape[0] // groups)
            output, row = place[0], tuple(place[1:])
        outputs.setdefault((group, output), []).append((tuple(place), row))
    return outputs


@pytest.mark.parametrize("name", LAYERS)
def test_the_scale_of_a_column_is_the_largest_weight_of_one_output(name):
    layer = LAYERS[name]
    weight, columns = layer.weight.detach(), columns_of([layer])
    largest = columns.largest(weight).expand_as(weight)
    written = columns_written_out(layer)
    assert len(written) == 4
    for places in written.values():
        expected = max(abs(float(weight[place])) for place, _ in places)
        assert {float(largest[place]) for place, _ in places} == {expected}


@pytest.mark.parametrize("name", LAYERS)
def test_a_reference_cell_is_shared_by_the_outputs_of_its_row_and_group_only(name):
    layer = LAYERS[name]
    weight, columns = layer.weight.detach(), columns_of([layer])
    rows = columns.one_per_row(weight)
    cells = torch.arange(rows.numel(), dtype=weight.dtype).reshape(rows.shape)
    met = columns.over_columns(cells, weight).expand_as(weight)
    seen = {}
    for (group, _), places in columns_written_out(layer).items():
        for place, row in places:
            seen.setdefault((group, row), set()).add(float(met[place]))
    assert all(len(found) == 1 for found in seen.values())
    assert len({next(iter(found)) for found in seen.values()}) == len(seen) == rows.numel()


@pytest.mark.parametrize("cells", CELLS, ids=["direct", "whole", "digits"])
@pytest.mark.parametrize("sign", [*SIGNS[:2], SIGNS[3]], ids=str)
@pytest.mark.parametrize("name", LAYERS)
def test_scaling_per_column_is_scaling_per_layer_on_each_column_alone(name, sign, cells):
    layer, device = LAYERS[name], devices.Mismatch(sigma=0.2)
    weight, columns = layer.weight.detach(), columns_of([layer])
    together, alone = cells(sign=sign, scale="column"), cells(sign=sign)
    target, std = together.target(weight, columns=columns), together.std(weight, device, columns=columns)
    for places in columns_written_out(layer).values():
        index = tuple(torch.tensor([place for place, _ in places]).T)
        one = weight[index][None]
        torch.testing.assert_close(target[index][None], alone.target(one))
        torch.testing.assert_close(std[index][None], alone.std(one, device))


@pytest.mark.parametrize("sign", SIGNS, ids=str)
def test_a_wider_output_does_not_disturb_a_narrow_one_under_a_scale_per_column(sign):
    model = nn.Linear(50, 2, bias=False)
    model.weight.data = torch.randn(2, 50, generator=rng_for(0)) * torch.tensor([[1.0], [100.0]])
    for scale, narrow in (("layer", False), ("column", True)):
        mapping = BitSliced(sign=sign, scale=scale)
        hardware = ec.Hardware(device=devices.Gaussian(sigma=0.01), mapping=mapping)
        error = ec.program(model, hardware, seed=0, chip=0)["weight"] - model.weight.detach()
        assert (float(error[0].abs().max()) < 1.0) is narrow


@pytest.mark.parametrize("name", LAYERS)
def test_programming_and_effective_sigma_know_the_columns_of_every_layer(name):
    mapping = Direct(scale="column", sign="offset")
    hardware = ec.Hardware(device=devices.Gaussian(sigma=0.1), mapping=mapping, embeddings=True)
    model = nn.Sequential(LAYERS[name])
    columns, weight = columns_of([LAYERS[name]]), LAYERS[name].weight.detach()
    assert hardware.columns(model) == {"0.weight": columns}
    std = mapping.std(weight, hardware.device, columns=columns)
    expected = float(std.square().mean().sqrt() / weight.abs().max())
    assert ec.effective_sigma(model, hardware).of_max == pytest.approx(expected, rel=1e-5)
    drawn = (
        torch.stack([ec.program(model, hardware, seed=0, chip=n)["0.weight"] for n in range(400)]) - weight
    )
    assert torch.allclose(drawn.std(0), std, rtol=0.25)


def test_a_table_tied_to_a_layer_has_the_columns_of_the_layer():
    table = nn.Embedding(7, 3)
    assert columns_of([table]) == OUTPUTS_SECOND
    assert columns_of([table, nn.Linear(3, 7)]) == Columns()


def test_a_transposed_linear_of_transformers_has_outputs_second():
    conv1d = type("Conv1D", (nn.Module,), {"nf": 4})()
    assert columns_of([conv1d]) == OUTPUTS_SECOND


@pytest.mark.parametrize("sign", SIGNS, ids=str)
@pytest.mark.parametrize("scale", ["layer", "column"])
def test_gradients_pass_straight_through_rounding(sign, scale):
    weight = torch.randn(4, 6, requires_grad=True)
    slope = torch.randn(4, 6)
    mapping = BitSliced(weight_bits=4, cell_bits=2, quantize=True, sign=sign, scale=scale)
    (mapping.target(weight) * slope).sum().backward()
    assert torch.equal(weight.grad, slope)


@pytest.mark.parametrize("sign", SIGNS, ids=str)
@pytest.mark.parametrize("scale", ["layer", "column"])
@pytest.mark.parametrize("cells", CELLS, ids=["direct", "whole", "digits"])
def test_zero_weights_and_outputs_stay_finite_and_precise(cells, scale, sign):
    mapping = cells(sign=sign, scale=scale, on_off=8.0)
    for dtype in (torch.float32, torch.float64):
        weight = torch.zeros(3, 4, dtype=dtype)
        for device in DEVICES:
            assert torch.equal(mapping.target(weight), weight)
            assert float(mapping.deviation(weight, device, rng_for(0)).abs().max()) == 0
            assert float(mapping.std(weight, device).abs().max()) == 0
            weight[0] = 1.0
            for found in (mapping.deviation(weight, device, rng_for(0)), mapping.std(weight, device)):
                assert found.dtype == dtype and bool(found.isfinite().all())
                assert scale == "layer" or float(found[1:].abs().max()) == 0
            weight[0] = 0.0


def test_an_offset_makes_zero_and_the_largest_weight_exact():
    weight = torch.tensor([[0.3, -1.7, 0.0, 1.7]])
    target = BitSliced(quantize=True, sign="offset").target(weight)
    assert target[0, 1:].tolist() == pytest.approx([-1.7, 0.0, 1.7], rel=1e-6)
    assert float(target[0, 2]) == 0.0


@pytest.mark.parametrize("mapping", [Direct(), BitSliced(), BitSliced(quantize=True)], ids=str)
def test_what_is_not_used_leaves_a_recipe_and_its_run_as_they_were(mapping):
    assert not {"scale", "sign", "on_off"} & mapping.table().keys()
    assert CellMapping.parse(mapping.table()) == mapping
    same = CellMapping.parse({**mapping.table(), "scale": "layer", "sign": "sign_magnitude"})
    assert content_hash(same.table()) == content_hash(mapping.table())
    other = mapping.replace(scale="column", sign=Offset(noisy_reference=False), on_off=20.0)
    assert other.table()["sign"] == {"kind": "offset", "noisy_reference": False}
    assert CellMapping.parse(other.table()) == other


def test_the_usual_draw_is_the_one_of_the_first_runs():
    weight = torch.randn(4, 5, generator=rng_for(1))
    for device in (devices.Gaussian(sigma=0.1), devices.preset("RRAM1", sigma=0.1)):
        factor = reference.full_scale_factor(8, 2)
        expected = torch.randn(4, 5, generator=rng_for(2)) * (weight.abs().max() * (factor * 0.1))
        assert torch.equal(BitSliced().deviation(weight, device, rng_for(2)), expected)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"on_off": 1.0}, "greater than 1"),
        ({"scale": "row"}, "'layer' or 'column'"),
        ({"sign": "ofset"}, "did you mean offset"),
        ({"sign": "offset", "weight_bits": 1, "cell_bits": 1, "quantize": True}, "at least 2"),
    ],
)
def test_impossible_mappings_are_refused_in_one_line(fields, words):
    with pytest.raises(ConfigError, match=words) as error:
        CellMapping.parse({"kind": "bit_sliced", **fields})
    assert "\n" not in str(error.value)


def test_levels_between_zero_and_g_max_refuse_an_on_off_ratio():
    mapping = BitSliced(on_off=10.0)
    assert ec.Hardware(device=devices.preset("RRAM1", sigma=0.1), mapping=mapping)
    fefet = devices.preset("FeFET6", sigma=0.1)
    for device in (fefet, devices.Sequence(devices=(devices.Ideal(), fefet))):
        with pytest.raises(ConfigError, match=r"mapping\.on_off"):
            ec.Hardware(device=device, mapping=mapping)


@pytest.mark.parametrize("sign", [Differential(), Offset()], ids=str)
@pytest.mark.parametrize(
    "device", [devices.Mismatch(sigma=0.0), devices.Mismatch(sigma=0.3), devices.Ideal()]
)
def test_the_gradient_of_sigma_is_finite_where_a_cell_has_no_noise(sign, device):
    weight = torch.tensor([[0.0, 0.5], [-1.0, 0.25]], requires_grad=True)
    sigma = BitSliced(sign=sign).std(weight, device).sum() + Direct(sign=sign).std(weight, device).sum()
    if sigma.requires_grad:
        (gradient,) = torch.autograd.grad(sigma, weight)
        assert bool(gradient.isfinite().all())
    else:
        assert float(sigma) == 0
