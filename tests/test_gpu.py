"""On a GPU everything is what it is on the processor: the same laws, and the same bits each time.

Skipped where PyTorch finds no GPU, which is so on the machine of CI: run it by hand on one that has.
"""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

import everychip as ec
from everychip import Hardware, devices, methods, mitigate, rng_for
from everychip.array import Array
from everychip.cli import call
from everychip.data import Arrays
from everychip.errors import ConfigError
from everychip.evaluation.disagreement import disagreement
from everychip.evaluation.sensitivity import sensitivity
from everychip.hardware.chip import program_weights
from everychip.rng import seeded_global_generator
from everychip.study.compute import Compute
from everychip.training.loop import Training, train

if not torch.cuda.is_available():
    pytest.skip("PyTorch finds no GPU", allow_module_level=True)

GPU = Compute(gpu="cuda")
HARDWARE = Hardware(device=devices.Gaussian(sigma=0.1))
METHODS = [kind for kind, one in methods.Method.kinds().items() if one.__module__.startswith("everychip.")]
CHEAPER = {"irs": {"hidden": 8}, "deep_supervision": {"hidden": 8}, "correctnet": {"scale": 0.7}}
WITHOUT_PRESET = {
    "ideal": devices.Ideal(),
    "log-normal": devices.LogNormal(sigma=0.3),
    "sequence": devices.Sequence(devices=(devices.LogNormal(sigma=0.2), devices.Mismatch(sigma=0.2))),
}


def shipped(name):
    """The preset of a name, at σ 0.2 where it asks for one."""
    try:
        return devices.preset(name)
    except ConfigError:
        return devices.preset(name, sigma=0.2)


DEVICES = {**{name: shipped(name) for name in devices.presets()}, **WITHOUT_PRESET}


class Net(nn.Module):
    """Two convolutions with batch norm, dropout and two linear layers; always the same fresh weights."""

    def __init__(self):
        super().__init__()
        with seeded_global_generator(0, "net"):
            self.conv1, self.norm1 = nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8)
            self.conv2, self.norm2 = nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8)
            self.drop, self.hidden, self.out = nn.Dropout(0.1), nn.Linear(8 * 64, 16), nn.Linear(16, 4)

    def forward(self, x):
        x = torch.relu(self.norm1(self.conv1(x)))
        x = torch.relu(self.norm2(self.conv2(x)))
        return self.out(torch.relu(self.hidden(self.drop(x.flatten(1)))))


@pytest.fixture(autouse=True)
def exact():
    with GPU.used():
        yield


@pytest.fixture
def model():
    return Net().cuda()


def images(n=128):
    y = torch.arange(n) % 4
    x = 0.3 * torch.randn(n, 1, 8, 8, generator=rng_for(0, "x"))
    return Arrays(x + (y.float() - 1.5).reshape(-1, 1, 1, 1), y)


def fitted(model, kind="noise_injection", *, hardware=HARDWARE, progress=None, checkpoint=None, **fields):
    method = methods.Method.kinds()[kind](**CHEAPER.get(kind, {}), **fields)
    training = Training(epochs=2, batch_size=32, lr=0.01, validation=0.25, validation_chips=1)
    return train(
        model, method, images(), hardware=hardware, training=training, seed=0,
        progress=progress, checkpoint=checkpoint,
    )  # fmt: skip


def bits(model):
    return {name: value.detach().cpu() for name, value in model.state_dict().items()}


def assert_same_bits(found, expected):
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in found)


@pytest.mark.parametrize("name", DEVICES)
def test_a_device_draws_by_the_same_law_as_on_the_processor(name):
    weight = torch.randn(1000, 1000, generator=rng_for(0)) / 10
    binary = ec.mapping.BitSliced(cell_bits=1, quantize=True)
    mapping = binary if name == "MRAM-placeholder" else ec.mapping.Direct()
    hardware = Hardware(device=DEVICES[name], mapping=mapping)
    drawn = [
        program_weights({"w": weight.to(place)}, hardware, seed=0, path=("law", 0))["w"]
        for place in ("cpu", "cuda")
    ]
    assert drawn[1].is_cuda
    off = [(one.cpu() - weight).double() for one in drawn]
    assert float(off[1].mean()) == pytest.approx(float(off[0].mean()), abs=0.03 * float(off[0].std()) + 1e-7)
    assert float(off[1].std()) == pytest.approx(float(off[0].std()), rel=0.05, abs=1e-7)


@pytest.mark.parametrize("kind", METHODS)
def test_a_method_trains_and_twice_to_the_same_bits(kind):
    first, second = (fitted(Net().cuda(), kind) for _ in range(2))
    assert first.status == "above_chance"
    assert all(p.is_cuda and bool(p.isfinite().all()) for p in first.model.parameters())
    assert_same_bits(bits(first.model), bits(second.model))
    assert any(not torch.equal(value, bits(Net())[name]) for name, value in bits(first.model).items())


@pytest.mark.parametrize("kind", METHODS)
def test_a_method_bound_in_a_loop_of_ones_own_lies_where_the_model_lies(kind, model):
    x = images(32).x.cuda().to(memory_format=torch.channels_last)
    method = methods.Method.kinds()[kind](**CHEAPER.get(kind, {}))
    objective = method.bind(model, HARDWARE, seed=0, sample=x[:2], steps=4)
    objective.train()
    loss = objective(x, images(32).y.cuda())
    loss.backward()
    assert loss.is_cuda
    assert all(p.is_cuda for p in (*objective.parameters(), *objective.buffers()))


@pytest.mark.parametrize("gradient", ["detached", "pathwise", "clean"])
@pytest.mark.parametrize("constraint", [ec.constraints.Clip(alpha=1.3), None])
def test_constraints_ramps_and_gradients_compose(gradient, constraint):
    ended = fitted(Net().cuda(), ramp=0.5, noise_gradient=gradient, constraint=constraint)
    assert ended.status == "above_chance"


@pytest.mark.parametrize("device", ["FeFET6", "PCM-Nandakumar"])
def test_resilient_reads_the_law_of_the_device(device):
    cells = Hardware(device=shipped(device), mapping=ec.mapping.BitSliced(quantize=True))
    ended = fitted(Net().cuda(), "resilient", hardware=cells)
    assert ended.status == "above_chance"


def test_an_evaluation_is_that_of_the_processor_where_nothing_is_drawn(model):
    ideal = Hardware(device=devices.Ideal())
    here, there = (ec.evaluate(one, ideal, images(), chips=1) for one in (Net(), model))
    assert float(there.accuracy) == float(here.accuracy)
    assert float(there.nll) == pytest.approx(float(here.nll), rel=1e-4)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_an_evaluation_twice_is_the_same_bits_and_leaves_the_model(model, precision):
    before = copy.deepcopy(bits(model))
    first, second = (
        ec.evaluate(model, HARDWARE, images(), chips=4, images=64, precision=precision) for _ in range(2)
    )
    assert torch.equal(first.nll, second.nll)
    assert len(set(first.nll.tolist())) == 4
    assert_same_bits(bits(model), before)
    assert next(model.parameters()).is_cuda


@pytest.mark.parametrize(
    "treatment",
    [
        mitigate.BNRecalibration(images=64, batch_size=32),
        mitigate.SelectiveWriteVerify(fraction=0.2, images=64),
        mitigate.SelectiveWriteVerify(fraction=0.2, images=64, score="fisher"),
        mitigate.DriftCompensation(images=32),
    ],
    ids=["bn", "swim", "fisher", "drift"],
)
def test_a_mitigation_treats_the_chips_where_they_lie(model, treatment):
    given = {"chips": 2, "mitigation": treatment, "calibration": images()}
    first, second = (ec.evaluate(model, HARDWARE, images(), **given) for _ in range(2))
    assert torch.equal(first.nll, second.nll)


def test_an_array_reads_through_its_converters(model):
    array = Array(rows=64, columns=64, dac_bits=8, adc_bits=8, read_noise=0.01)
    hardware = Hardware(device=devices.Gaussian(sigma=0.05), array=array)
    draws = ec.evaluate(model, hardware, images(), chips=2, calibration=images())
    assert bool(draws.nll.isfinite().all())
    assert fitted(Net().cuda(), hardware=hardware).status == "above_chance"


def test_layers_are_compared_and_chips_disagree(model):
    assert len(sensitivity(model, HARDWARE, images(), chips=2).layers) == 4
    assert disagreement(model, HARDWARE, images(), chips=3) is not None


def test_an_interrupted_training_ends_with_the_same_bits(tmp_path):
    def listener(event):
        if event.values.get("epoch") == 2:
            raise KeyboardInterrupt

    whole, file = fitted(Net().cuda()), tmp_path / "checkpoint.safetensors"
    with pytest.raises(KeyboardInterrupt):
        fitted(Net().cuda(), progress=listener, checkpoint=file)
    assert file.exists()
    assert_same_bits(bits(fitted(Net().cuda(), checkpoint=file).model), bits(whole.model))


def test_a_recipe_runs_there_and_says_so(tmp_path, capsys):
    settings = ("compute.gpu=cuda", "training.epochs=1", "evaluation.chips=2", "evaluation.sigma=[0.0, 0.2]")
    words = [word for setting in settings for word in ("--set", setting)]
    assert call(["run", "digits", *words, "-o", str(tmp_path / "run")]) == 0
    assert torch.cuda.get_device_name() in (tmp_path / "run" / "run.json").read_text(encoding="utf-8")
