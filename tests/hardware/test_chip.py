"""A chip is data: reproducible, of any model, and the model never knows."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import pytest
import torch
from reference.statistics import assert_moments
from reference.zoo import ARCHITECTURES, TiedLanguageModel, architecture
from torch import nn
from torch.func import functional_call

from everychip import Hardware, devices, effective_sigma, mapping, program, rng_for
from everychip.errors import ModelError
from everychip.hardware.chip import logits, program_weights, run
from everychip.rng import seeded_global_generator

HARDWARE = Hardware(device=devices.Gaussian(sigma=0.1))


def net():
    return nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4 * 36, 6), nn.Linear(6, 3)
    )


def overwritten(model, chip):
    """A deep copy whose weights are those of the chip: what `functional_call` must be equal to."""
    twin = copy.deepcopy(model)
    names = dict(twin.named_parameters(remove_duplicate=False))
    with torch.no_grad():
        for name, value in chip.items():
            names[name].copy_(value)
    return twin


# --- running a chip ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_a_chip_runs_as_a_copy_with_overwritten_weights_does(name):
    model, x = architecture(name)
    chip = program(model.eval(), HARDWARE, seed=0, chip=1)
    with torch.no_grad():
        on_chip = functional_call(model, chip, (x,))
        torch.testing.assert_close(on_chip, overwritten(model, chip)(x), rtol=1e-5, atol=1e-5)
        assert float((on_chip - model(x)).abs().max()) > 1e-3, "the chip makes no difference"


@pytest.mark.parametrize("name", ["encoder", "lstm", "norms and dropout", "attention"])
def test_a_chip_runs_as_a_copy_does_in_training_mode_too(name):
    model, x = architecture(name)
    chip, model = program(model, HARDWARE, seed=0, chip=1), model.train()
    twin = overwritten(model, chip)
    with seeded_global_generator(0, "dropout"):
        on_chip = functional_call(model, chip, (x,))
    with seeded_global_generator(0, "dropout"):
        torch.testing.assert_close(on_chip, twin(x), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["conv2d", "lstm", "encoder"])
def test_every_matrix_of_the_chip_matters(name):
    model, x = architecture(name)
    chip = program(model.eval(), HARDWARE, seed=0, chip=1)
    with torch.no_grad():
        whole = functional_call(model, chip, (x,))
        for left_out in chip:
            rest = {key: value for key, value in chip.items() if key != left_out}
            assert not torch.equal(whole, functional_call(model, rest, (x,))), left_out


def test_the_fused_encoder_kernel_reads_the_chip(monkeypatch):
    model, x = architecture("encoder")
    chip = program(model.eval(), HARDWARE, seed=0, chip=1)
    seen, fused = [], torch._transformer_encoder_layer_fwd

    def spy(*args):
        seen.extend(arg for arg in args if isinstance(arg, torch.Tensor))
        return fused(*args)

    monkeypatch.setattr(torch, "_transformer_encoder_layer_fwd", spy)
    with torch.no_grad():
        functional_call(model, chip, (x,))
    used = {id(tensor) for tensor in seen}
    assert used, "the fast path was not taken: this test shows nothing"
    assert all(id(value) in used for value in chip.values())


def test_a_tied_matrix_is_programmed_once_and_replaced_in_both_places():
    model, tokens = TiedLanguageModel(), torch.randint(0, 11, (2, 5))
    chip = program(model, HARDWARE, seed=0, chip=0)
    assert list(chip) == ["embedding.weight", "body.weight"]
    on_chip = functional_call(model, chip, (tokens,))
    twin = overwritten(model, chip)
    assert twin.head.weight is twin.embedding.weight
    torch.testing.assert_close(on_chip, twin(tokens))
    torch.testing.assert_close(run(model, chip, tokens), on_chip)
    assert model.head.weight is model.embedding.weight


def held_twice():
    layer = nn.Linear(8, 8)
    return nn.Sequential(layer, nn.ReLU(), layer, nn.Linear(8, 2))


def test_a_module_held_twice_runs_on_one_array_and_comes_back_whole():
    model, x = held_twice(), torch.randn(3, 8)
    before, parameter = copy.deepcopy(model.state_dict()), model[0].weight
    with pytest.warns(UserWarning, match=r"0 and 2 are one module.*everychip\.run"):
        chip = program(model, HARDWARE, seed=0, chip=0)
    assert list(chip) == ["0.weight", "3.weight"]
    on_chip = run(model, chip, x)
    torch.testing.assert_close(on_chip, overwritten(model, chip)(x))
    assert not torch.allclose(on_chip, model(x))
    assert model[0].weight is model[2].weight is parameter
    assert all(torch.equal(value, model.state_dict()[name]) for name, value in before.items())


def test_running_replaces_buffers_as_well_and_an_empty_chip_is_the_digital_model():
    model, x = net().eval(), torch.randn(2, 1, 8, 8)
    assert torch.equal(run(model, {}, x), model(x))
    shifted = {"1.running_mean": torch.full((4,), 3.0)}
    assert not torch.equal(run(model, shifted, x), model(x))


def test_gradients_reach_the_inputs_through_a_chip():
    model, x = architecture("norms and dropout")
    x.requires_grad_()
    functional_call(model.eval(), program(model, HARDWARE, seed=0, chip=0), (x,)).sum().backward()
    assert float(x.grad.abs().sum()) > 0


@dataclass
class _Output:
    logits: torch.Tensor


def test_logits_are_found_in_what_libraries_return():
    z = torch.ones(2, 3)
    for known in (_Output(z), (z, "state"), [z], {"logits": z, "loss": 0}, {"scores": z}):
        assert logits(known) is z
    for other in ((), None, ("state", z), {}, {"scores": "high"}):
        with pytest.raises(ModelError, match=r"expected (a tensor of logits|an entry called logits)"):
            logits(other)


# --- programming it ---------------------------------------------------------------------------------------


def same(one, other):
    return list(one) == list(other) and all(torch.equal(one[name], other[name]) for name in one)


def test_a_chip_is_reproducible_alone_and_in_a_batch():
    model = net()
    batch = [program(model, HARDWARE, seed=7, chip=n) for n in range(6)]
    for n in (5, 0, 3):
        assert same(program(model, HARDWARE, seed=7, chip=n), batch[n])


def test_seeds_chips_and_purposes_all_give_other_chips():
    model = net()
    chips = [
        program(model, HARDWARE, seed=0, chip=0),
        program(model, HARDWARE, seed=0, chip=1),
        program(model, HARDWARE, seed=1, chip=0),
        program(model, HARDWARE, seed=0, chip=0, purpose="validate"),
        program(model, HARDWARE, seed=0, chip=0, purpose="train"),
    ]
    for n, one in enumerate(chips):
        for other in chips[n + 1 :]:
            assert not any(torch.equal(one[name], other[name]) for name in one)


def test_layers_of_one_shape_meet_different_noise():
    model = nn.Sequential(nn.Linear(5, 5), nn.Linear(5, 5))
    with torch.no_grad():
        model[1].weight.copy_(model[0].weight)
    chip = program(model, HARDWARE, seed=0, chip=0)
    assert not torch.equal(chip["0.weight"], chip["1.weight"])


def test_a_layers_draw_depends_on_no_other_layer():
    model = net()
    whole = program(model, HARDWARE, seed=0, chip=2)
    part = program(model, HARDWARE.replace(digital=("0", "4")), seed=0, chip=2)
    assert list(part) == ["3.weight"]
    assert torch.equal(part["3.weight"], whole["3.weight"])
    wider = nn.Sequential(nn.Conv2d(1, 9, 5), *list(model)[1:], nn.Linear(3, 3))
    assert torch.equal(program(wider, HARDWARE, seed=0, chip=2)["3.weight"], whole["3.weight"])


def test_two_models_of_the_same_shapes_meet_the_same_chips():
    one, other = net(), net()
    chips = [program(model, HARDWARE, seed=0, chip=2) for model in (one, other)]
    for name in chips[0]:
        standard = [
            (chip[name] - model.get_parameter(name)) / model.get_parameter(name).abs().max()
            for chip, model in zip(chips, (one, other), strict=True)
        ]
        torch.testing.assert_close(*standard, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("kind", ["gaussian", "mismatch"])
def test_the_same_chip_at_another_sigma_has_the_same_draw_at_another_scale(kind):
    model = net()
    hardware = HARDWARE.replace(device=devices.Device.parse({"kind": kind, "sigma": 0.1}))
    low, high = (program(model, hardware.with_sigma(s), seed=0, chip=4) for s in (0.1, 0.3))
    for name, weight in hardware.crossbar(model).items():
        torch.testing.assert_close(3 * (low[name] - weight), high[name] - weight, rtol=1e-3, atol=1e-6)


def test_no_noise_means_the_weights_themselves_in_new_memory():
    model = net()
    chip = program(model, HARDWARE.with_sigma(0.0), seed=0, chip=0)
    for name, value in chip.items():
        assert torch.equal(value, model.get_parameter(name))
        assert value.data_ptr() != model.get_parameter(name).data_ptr()
        assert not value.requires_grad


def test_the_global_generator_is_neither_read_nor_moved():
    model = net()
    before = torch.get_rng_state()
    first = program(model, HARDWARE, seed=0, chip=0)
    assert torch.equal(torch.get_rng_state(), before)
    torch.rand(5)
    assert same(program(model, HARDWARE, seed=0, chip=0), first)


def test_the_model_is_untouched():
    model = net()
    model[1].eval()
    handle = model[0].register_forward_hook(lambda *_: None)
    state, modes = copy.deepcopy(model.state_dict()), [m.training for m in model.modules()]
    chip = program(model, HARDWARE, seed=0, chip=0)
    with torch.no_grad():
        for value in chip.values():
            value.zero_()
    assert list(model.state_dict()) == list(state)
    assert all(torch.equal(value, model.state_dict()[name]) for name, value in state.items())
    assert [m.training for m in model.modules()] == modes
    assert list(model[0]._forward_hooks) == [handle.id]
    assert all(p.grad is None and p.requires_grad for p in model.parameters())
    assert all(isinstance(p, nn.Parameter) for p in model.parameters())


def test_the_draw_does_not_depend_on_the_memory_layout_of_the_model():
    model = net()
    plain = program(model, HARDWARE, seed=0, chip=0)
    assert same(program(model.to(memory_format=torch.channels_last), HARDWARE, seed=0, chip=0), plain)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_weights_keep_their_precision(dtype):
    model = nn.Linear(64, 64).to(dtype)
    chip = program(model, HARDWARE, seed=0, chip=0)
    assert chip["weight"].dtype == dtype
    deviation = (chip["weight"] - model.weight).double() / model.weight.abs().max().double()
    assert float(deviation.detach().std()) == pytest.approx(0.0778, rel=0.05)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_weights_are_rounded_to_steps_in_full_precision(dtype):
    model = nn.Linear(32, 32).to(dtype)
    sliced = mapping.BitSliced(weight_bits=16, cell_bits=4, quantize=True)
    hardware = Hardware(device=devices.Ideal(), mapping=sliced)
    chip = program(model, hardware, seed=0, chip=0)
    assert torch.equal(chip["weight"], sliced.target(model.weight.detach().float()).to(dtype))
    torch.testing.assert_close(chip["weight"], model.weight.detach(), rtol=1e-2, atol=1e-4)


def test_strength_scales_the_deviation_only():
    model = net()
    weights = HARDWARE.crossbar(model)
    full, half = (program_weights(weights, HARDWARE, seed=0, path=("a",), strength=s) for s in (1.0, 0.5))
    for name, weight in weights.items():
        torch.testing.assert_close(2 * (half[name] - weight), full[name] - weight, rtol=1e-3, atol=1e-6)


# --- what backward sees -----------------------------------------------------------------------------------


def gradient(kind, *, device=None, quantize=False):
    weight = torch.randn(6, 5, generator=rng_for(1)).requires_grad_()
    hardware = Hardware(
        device=device or devices.Gaussian(sigma=0.2), mapping=mapping.BitSliced(quantize=quantize)
    )
    noisy = program_weights({"w": weight}, hardware, seed=0, path=("t", 0), gradient=kind)["w"]
    slope = torch.randn(6, 5, generator=rng_for(2))
    (noisy * slope).sum().backward()
    return weight, slope, (noisy * torch.ones(6, 5)).detach()


@pytest.mark.parametrize("quantize", [False, True])
def test_the_detached_gradient_holds_the_noise_fixed(quantize):
    weight, slope, _ = gradient("detached", quantize=quantize)
    torch.testing.assert_close(weight.grad, slope)


@pytest.mark.parametrize("quantize", [False, True])
def test_the_pathwise_gradient_sees_that_the_largest_weight_scales_all_noise(quantize):
    weight, slope, noisy = gradient("pathwise", quantize=quantize)
    target = mapping.BitSliced(quantize=quantize).target(weight.detach())
    # W' = W + max|W|·N: the slope of max|W| falls on the largest weight alone.
    largest = weight.detach().abs().argmax()
    expected = slope.clone()
    per_scale = (slope * (noisy - target)).sum() / weight.detach().abs().max()
    expected.view(-1)[largest] += per_scale * weight.detach().view(-1)[largest].sign()
    torch.testing.assert_close(weight.grad, expected, rtol=1e-4, atol=1e-5)


def test_the_pathwise_gradient_of_mismatch_is_the_noise_factor_itself():
    weight, slope, noisy = gradient("pathwise", device=devices.Mismatch(sigma=0.3))
    torch.testing.assert_close(weight.grad, slope * noisy / weight.detach(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", ["detached", "pathwise", "clean"])
def test_the_choice_of_gradient_does_not_change_the_values(kind):
    _, _, noisy = gradient(kind)
    _, _, detached = gradient("detached")
    torch.testing.assert_close(noisy, detached)


# --- how strong the noise is ------------------------------------------------------------------------------

SIGMA_DEVICES = [
    devices.Gaussian(sigma=0.1),
    devices.LogNormal(sigma=0.3),
    devices.Mismatch(sigma=0.2),
    devices.preset("FeFET6", sigma=0.1),
    devices.Sequence(devices=(devices.Mismatch(sigma=0.2), devices.Gaussian(sigma=0.05))),
]


@pytest.mark.parametrize("cells", [mapping.Direct(), mapping.BitSliced(), mapping.BitSliced(quantize=True)])
@pytest.mark.parametrize("device", SIGMA_DEVICES, ids=lambda device: device.label)
def test_effective_sigma_is_what_many_chips_show(device, cells):
    model = nn.Linear(30, 20)
    hardware = Hardware(device=device, mapping=cells)
    layer = effective_sigma(model, hardware).layers[0]
    chips = torch.stack([program(model, hardware, seed=0, chip=n)["weight"] for n in range(400)])
    sampled = float(chips.double().var(dim=0).mean().sqrt())
    weight = model.weight.detach().double()
    assert layer.of_max == pytest.approx(sampled / float(weight.abs().max()), rel=0.02)
    assert layer.of_rms == pytest.approx(sampled / float(weight.square().mean().sqrt()), rel=0.02)


def test_a_heavy_tailed_layer_is_quieter_on_fefet6_than_on_rram1():
    """DEVICES.md, section 2: with max = 8 rms, 0.42 times the noise at the same σ."""
    model = nn.Linear(400, 400, bias=False)
    with torch.no_grad():
        model.weight.normal_().clamp_(-4, 4)
        model.weight[0, 0] = 8.0 * model.weight.square().mean().sqrt()
    sigma = {
        name: effective_sigma(model, Hardware(device=devices.preset(name, sigma=0.1)))
        for name in ("RRAM1", "FeFET6")
    }
    assert sigma["RRAM1"].of_max == pytest.approx(0.0778, abs=5e-5)
    assert sigma["RRAM1"].of_rms == pytest.approx(8 * 0.0778, rel=2e-3)
    assert sigma["FeFET6"].of_rms / sigma["RRAM1"].of_rms == pytest.approx(0.42, abs=0.01)


def test_the_network_average_is_the_root_mean_square_over_its_weights():
    model = nn.Sequential(nn.Linear(10, 10), nn.Linear(10, 30))
    found = effective_sigma(model, Hardware(device=devices.preset("FeFET6", sigma=0.1)))
    assert [layer.weights for layer in found.layers] == [100, 300]
    expected = ((100 * found.layers[0].of_rms ** 2 + 300 * found.layers[1].of_rms ** 2) / 400) ** 0.5
    assert found.of_rms == pytest.approx(expected)
    assert "1.weight" in str(found)
    assert "network" in str(found)


def test_a_layer_of_zeros_has_no_noise_and_no_infinite_sigma():
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    nn.init.zeros_(model[1].weight)
    found = effective_sigma(model, HARDWARE)
    assert (found.layers[1].of_max, found.layers[1].of_rms) == (0.0, 0.0)
    assert torch.equal(program(model, HARDWARE, seed=0, chip=0)["1.weight"], torch.zeros(4, 4))


def test_programmed_weights_have_the_closed_forms_sigma_in_every_layer():
    model = nn.Sequential(nn.Linear(200, 200), nn.Conv1d(20, 400, 5))
    chip = program(model, HARDWARE, seed=0, chip=0)
    for name, weight in HARDWARE.crossbar(model).items():
        deviation = (chip[name] - weight).detach()
        assert_moments(deviation, mean=0.0, std=0.1 * 0.77763 * float(weight.detach().abs().max()))


@pytest.mark.parametrize("gradient", [None, "detached", "pathwise", "clean"])
def test_a_chip_keeps_the_memory_format_of_weights_with_one_input_channel(gradient):
    model = torch.nn.Conv2d(1, 4, 3).to(memory_format=torch.channels_last)
    hardware = Hardware(device=devices.Gaussian(sigma=0.1))
    weights = {"weight": model.weight}
    chip = program_weights(weights, hardware, seed=0, path=("chip",), gradient=gradient)
    x = torch.randn(2, 1, 8, 8).contiguous(memory_format=torch.channels_last)
    assert chip["weight"].stride() == model.weight.stride()
    assert torch.func.functional_call(model, chip, (x,)).stride() == model(x).stride()
