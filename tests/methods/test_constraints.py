"""What the weights are brought back to after each step."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from everychip import Hardware, constraints, devices
from everychip.errors import ConfigError
from everychip.mapping.columns import columns_of
from everychip.methods import Resilient
from everychip.methods.constraints import keeping_rms
from everychip.rng import rng_for


@pytest.mark.parametrize("alpha", [1.0, 1.5, 2.5])
def test_clip_clamps_each_layer_at_alpha_times_its_own_rms(alpha):
    layers = [torch.randn(40, 30), 100 * torch.randn(8, 4, 3, 3), torch.zeros(3, 3)]
    before = [layer.numpy().astype(np.float64) for layer in layers]
    constraints.Clip(alpha=alpha).apply(layers)
    for layer, old in zip(layers, before, strict=True):
        limit = alpha * np.sqrt((old**2).mean())
        np.testing.assert_allclose(layer.numpy(), np.clip(old, -limit, limit), rtol=1e-5)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize(
    ("layer", "channels"),
    [
        (nn.Conv2d(4, 8, 3), lambda w: [w[n] for n in range(8)]),
        (nn.Conv2d(4, 8, 3, groups=2), lambda w: [w[n] for n in range(8)]),
        (nn.ConvTranspose2d(4, 6, 3), lambda w: [w[:, n] for n in range(6)]),
        (
            nn.ConvTranspose2d(4, 6, 3, groups=2),
            lambda w: [w[2 * g : 2 * g + 2, n] for g in (0, 1) for n in range(3)],
        ),
    ],
)
def test_a_column_is_clamped_at_alpha_times_its_own_standard_deviation(layer, channels, layout):
    layer = layer.to(memory_format=layout)
    old = layer.weight.detach().numpy().astype(np.float64)
    constraints.ClipColumn(alpha=1.2).apply_on([layer.weight], [columns_of([layer])])
    found = layer.weight.detach().numpy()
    for now, before in zip(channels(found), channels(old), strict=True):
        limit = 1.2 * before.std()
        np.testing.assert_allclose(now, np.clip(before, -limit, limit), rtol=1e-5)


@pytest.mark.parametrize("alpha", [1.0, 1.1, 1.5])
def test_flatten_clamps_and_gives_each_layer_its_rms_back(alpha):
    layers = [torch.randn(40, 30), 100 * torch.randn(8, 4, 3, 3), torch.zeros(3, 3)]
    before = [layer.numpy().astype(np.float64) for layer in layers]
    constraints.Flatten(alpha=alpha).apply(iter(layers))
    for layer, old in zip(layers, before, strict=True):
        rms = np.sqrt((old**2).mean())
        clamped = np.clip(old, -alpha * rms, alpha * rms)
        expected = clamped * (rms / (np.sqrt((clamped**2).mean()) or 1.0))
        np.testing.assert_allclose(layer.numpy(), expected, rtol=1e-5)


def test_flattening_over_and_over_keeps_the_scale_that_clipping_loses():
    clipped, flat = torch.randn(50, 50), torch.randn(50, 50)
    for _ in range(100):
        for layer, constraint in ((clipped, constraints.clip(1.05)), (flat, constraints.Flatten(alpha=1.05))):
            layer.add_(0.1 * layer.square().mean().sqrt() * torch.randn(50, 50))
            constraint.apply([layer])
    assert float(flat.square().mean().sqrt()) > 20 * float(clipped.square().mean().sqrt())


@pytest.mark.parametrize("name", ["RRAM1", "FeFET6"])
def test_clip_to_noise_settles_at_its_target(name):
    from torch import nn

    from everychip import Hardware, devices, effective_sigma

    model, hardware = nn.Linear(200, 200), Hardware(device=devices.preset(name, sigma=0.2))
    with torch.no_grad():
        model.weight.normal_()
    law = constraints.ClipToNoise(device=hardware.device, target=0.25)
    for _ in range(40):
        law.apply([model.weight])
    assert effective_sigma(model, hardware).of_rms == pytest.approx(0.25, rel=0.03)


def test_clip_to_noise_is_clip_where_the_device_has_one_sigma():
    from everychip import devices

    layer = torch.randn(30, 20)
    twin = layer.clone()
    law = constraints.ClipToNoise(device=devices.Gaussian(sigma=0.2), target=0.25)
    law.apply([layer])
    constraints.clip(law.alpha(twin)).apply([twin])
    assert law.alpha(twin) == pytest.approx(0.25 / (0.2 * 0.77763), rel=1e-4)
    torch.testing.assert_close(layer, twin)


@pytest.mark.parametrize("kind", ["transposed", "grouped"])
def test_clip_to_noise_in_training_reads_the_columns_of_each_layer(kind):
    """Where every column has its own full scale, σ_W is that of `effective_sigma`, which knows the layers."""
    import copy

    from torch import nn

    from everychip import Hardware, devices, effective_sigma, mapping, methods

    layer = nn.ConvTranspose2d(6, 4, 3) if kind == "transposed" else nn.Conv2d(6, 4, 3, groups=2)
    with torch.no_grad():
        layer.weight.mul_(
            torch.tensor([1.0, 0.1, 0.1, 0.1]).view((1, 4, 1, 1) if kind == "transposed" else (4, 1, 1, 1))
        )
    twin, cells = copy.deepcopy(layer), mapping.BitSliced(scale="column", sign={"kind": "offset"})
    hardware = Hardware(device=devices.preset("FeFET6", sigma=0.2), mapping=cells)
    law = constraints.ClipToNoise(device=hardware.device, mapping=cells, target=0.5)
    s = effective_sigma(layer, hardware).of_max
    assert 1.3 < 0.5 / s < 2.5
    methods.NoiseInjection(constraint=law).bind(layer, hardware)
    constraints.clip(0.5 / s).apply([twin.weight])
    torch.testing.assert_close(layer.weight, twin.weight)


def test_clip_bounds_the_effective_sigma():
    from torch import nn

    from everychip import Hardware, devices, effective_sigma

    model, hardware = nn.Linear(200, 200), Hardware(device=devices.Gaussian(sigma=0.1))
    with torch.no_grad():
        model.weight.normal_()
    before = effective_sigma(model, hardware)
    for _ in range(30):  # the clamp lowers the rms as well, so the limit is reached in several steps
        constraints.clip(1.5).apply([model.weight])
    after = effective_sigma(model, hardware)
    assert before.of_rms > 4 * before.of_max
    assert after.of_rms == pytest.approx(1.5 * after.of_max, rel=0.01)
    assert after.of_max == pytest.approx(before.of_max)


def test_clip_leaves_layers_within_its_limit_alone():
    layer = torch.tensor([[1.0, -1.0], [1.0, 1.0]])
    constraints.clip(1.0).apply([layer])
    assert torch.equal(layer, torch.tensor([[1.0, -1.0], [1.0, 1.0]]))


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_clip_works_in_place_in_any_layout_and_on_parameters(layout):
    weight = torch.nn.Parameter(torch.randn(8, 4, 3, 3).contiguous(memory_format=layout))
    place, strides = weight.data_ptr(), weight.stride()
    constraints.clip(1.2).apply([weight])
    assert (weight.data_ptr(), weight.stride()) == (place, strides)
    assert weight.requires_grad
    assert weight.grad_fn is None


@pytest.mark.parametrize("alpha", [0.9, 0.0, -1.0, float("nan"), float("inf")])
def test_an_alpha_below_one_is_refused(alpha):
    with pytest.raises(ConfigError, match="alpha"):
        constraints.Clip(alpha=alpha)


def test_an_unknown_constraint_names_the_known_ones():
    with pytest.raises(ConfigError, match="did you mean clip"):
        constraints.Constraint.parse({"kind": "clp"})


@pytest.mark.parametrize(("size", "back"), [(0.05, True), (5.0, False)])
def test_a_bounded_rescale_gives_back_only_what_lies_below_its_bound(size, back):
    w = size * torch.randn(8, 100, generator=rng_for(0))
    before = float(w.square().mean().sqrt())
    with keeping_rms([w], most=1.0):
        w.clamp_(-size, size)
        clamped = float(w.square().mean().sqrt())
    after = float(w.square().mean().sqrt())
    assert (before < 1 / 100**0.5) is back
    assert after == pytest.approx(before if back else clamped)


def test_resilient_brings_a_large_start_down_and_keeps_a_small_one():
    hardware = Hardware(device=devices.Gaussian(sigma=0.4))
    rms = {}
    for size in (0.05, 2.0):
        layer = torch.nn.Linear(64, 8)
        with torch.no_grad():
            layer.weight.copy_(size * torch.randn(8, 64, generator=rng_for(1)))
        start = float(layer.weight.detach().square().mean().sqrt())
        objective = Resilient().bind(layer, hardware, steps=100)
        for _ in range(60):
            objective.after_step()
        rms[size] = start, float(layer.weight.detach().square().mean().sqrt())
    assert rms[0.05][1] == pytest.approx(rms[0.05][0], rel=1e-4)
    assert rms[2.0][1] < 0.9 * rms[2.0][0]
