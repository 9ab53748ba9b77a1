"""One trained network in both simulators: the same logits without noise, the same accuracy with it."""

from __future__ import annotations

import functools
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import everychip as ec
from everychip.array import Array
from everychip.cli import call
from everychip.devices import Device, Gaussian, Hermes, NeuRram, Pcm
from everychip.export import agreement, load_aihwkit, to_aihwkit
from everychip.export.networks import tiles
from everychip.mapping import Direct
from everychip.study.execution import run
from everychip.study.experiment import Experiment

INSTALL = "the extra crosscheck is not installed: pip install --no-deps aihwkit==1.1.0"
pytest.importorskip("aihwkit", reason=INSTALL)

pytestmark = pytest.mark.slow  # a thousand chips in two simulators
MARGIN = 0.01
"""Two means within a point of one another, with their interval, are equal for any decision about a chip."""


def hardware(device: Device, *digital: str) -> ec.Hardware:
    return ec.Hardware(device=device, mapping=Direct(sign="differential"), digital=digital)


def some_digits() -> tuple[torch.Tensor, torch.Tensor]:
    """Enough images to tell accuracies apart, few enough for a thousand chips."""
    test = ec.data.Digits().load().test
    return test.x[:200], test.y[:200]


@functools.cache
def trained() -> nn.Module:
    model = ec.models.MLP(hidden=(32,)).build((1, 8, 8), 10)
    options: dict[str, Any] = {"epochs": 6, "batch_size": 32, "seed": 0}
    return ec.fit(model, ec.methods.Vanilla(), ec.data.Digits(), hardware=hardware(Pcm()), **options)


@pytest.mark.parametrize(
    "device",
    [
        pytest.param(Pcm(read_noise=0), id="pcm"),
        pytest.param(Pcm(time=86400), id="pcm-after-a-day"),
        pytest.param(Hermes(devices=1), id="hermes-1"),
        pytest.param(Hermes(devices=2, time=3600), id="hermes-2-after-an-hour"),
        pytest.param(NeuRram(time=1), id="neurram"),
        pytest.param(NeuRram(time=86400), id="neurram-after-a-day"),
    ],
)
def test_the_mean_accuracy_over_200_chips_is_the_same(device: Device) -> None:
    found = agreement(trained(), hardware(device), some_digits(), chips=200, seed=0)
    assert found.ours is not None
    assert found.theirs is not None
    assert found.comparison is not None
    interval = found.comparison.difference
    assert interval.low is not None
    assert interval.high is not None
    assert interval.low <= 0 <= interval.high, str(found.comparison)
    assert interval.low > -MARGIN
    assert interval.high < MARGIN
    assert found.agrees
    # The comparison could fail: noise costs accuracy here, and chips differ from one another.
    clean = ec.evaluate(trained(), hardware(ec.devices.Ideal()), some_digits(), chips=1).accuracy[0]
    assert found.theirs.accuracy.mean() < clean
    assert found.theirs.accuracy.std() > 0


def test_twice_the_noise_is_noticed() -> None:
    """The comparison has the power to see what it must see: a scale of 1.6, which is aihwkit's defect."""
    pcm = Pcm(read_noise=0)
    ours = ec.evaluate(trained(), hardware(pcm.replace(programming_noise=3.2)), some_digits(), chips=200)
    theirs = agreement(trained(), hardware(pcm.replace(programming_noise=2.0)), some_digits(), chips=200)
    assert theirs.theirs is not None
    high = ours.compare(theirs.theirs).difference.high
    assert high is not None
    assert high < 0


def convolutional() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, stride=2, padding=1, dilation=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 6, 3),
        nn.Flatten(), nn.Linear(24, 12, bias=False), nn.ReLU(), nn.Linear(12, 10),
    )  # fmt: skip


def test_without_noise_the_logits_are_the_same() -> None:
    network, x = convolutional().eval(), torch.randn(5, 1, 8, 8)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    analog = to_aihwkit(network)
    torch.testing.assert_close(analog(x), network(x), rtol=1e-5, atol=1e-6)
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())


def test_a_digital_layer_stays_digital_in_both() -> None:
    analog = to_aihwkit(convolutional(), hardware(Pcm(), "0", "7"))
    assert [name.split(".")[0] for name in tiles(analog)] == ["3", "5"]


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (lambda: nn.Sequential(nn.Conv2d(4, 4, 3, groups=4)), "0.weight: found a convolution of 4 groups"),
        (lambda: nn.Sequential(nn.Conv2d(1, 4, 3, padding_mode="circular")), "circular padding"),
        (lambda: nn.Sequential(nn.Conv1d(3, 4, 3)), "0.weight: found a Conv1d, .* torch tile cannot run"),
        (lambda: nn.Sequential(nn.LSTM(3, 4)), "0.weight_ih_l0: found a LSTM"),
        (lambda: nn.MultiheadAttention(4, 2), "found a MultiheadAttention"),
    ],
)
def test_what_aihwkit_would_leave_digital_is_refused_by_name(model: Any, words: str) -> None:
    with pytest.raises(ec.errors.ModelError, match=words) as error:
        to_aihwkit(model())
    assert "hardware.digital = [" in str(error.value)


def test_a_device_without_a_counterpart_compares_the_logits_only() -> None:
    found = agreement(trained(), hardware(Gaussian(sigma=0.1)), some_digits(), chips=2)
    assert found.comparison is None
    assert found.agrees
    assert "gaussian has no noise model" in found.reason


def test_a_mapping_and_an_array_that_aihwkit_has_not_are_left_out_on_both_sides() -> None:
    sliced = ec.mapping.BitSliced(weight_bits=4, cell_bits=2, quantize=True)
    array = Array(rows=16, columns=16, dac_bits=2, adc_bits=2)
    asked = ec.Hardware(device=Pcm(read_noise=0), mapping=sliced, array=array)
    plain = hardware(Pcm(read_noise=0))
    coarse, exact = (agreement(trained(), hw, some_digits(), chips=5) for hw in (asked, plain))
    assert coarse.hardware == exact.hardware == plain
    assert coarse.ours is not None
    assert exact.ours is not None
    assert torch.equal(coarse.ours.accuracy, exact.ours.accuracy)


def test_a_device_that_needs_digits_is_compared_without_noise() -> None:
    sliced = ec.mapping.BitSliced(weight_bits=8, cell_bits=2, quantize=True)
    asked = ec.Hardware(device=ec.devices.preset("FeFET6", sigma=0.1, level_of="cell"), mapping=sliced)
    found = agreement(trained(), asked, some_digits(), chips=2)
    assert found.agrees
    assert "FeFET6 has no noise model" in found.reason


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    table = Experiment.from_toml("digits").table()
    table["model"], table["hardware"] = "mlp", {"device": "pcm", "mapping": "direct"}
    table["evaluation"] = {"chips": 2}
    experiment = Experiment.changed(table, {"training": {"epochs": 2}}, where="test")
    return run(experiment, tmp_path_factory.mktemp("export") / "run").folder


def test_an_exported_folder_loads_by_its_script_without_a_pickle(run_folder: Path, tmp_path: Path) -> None:
    assert call(["export", str(run_folder), "--to", "aihwkit", "-o", str(tmp_path / "there")]) == 0
    names = {path.name for path in (tmp_path / "there").iterdir()}
    assert names == {"model.safetensors", "recipe.toml", "load_aihwkit.py"}
    script = subprocess.run(
        [sys.executable, "there/load_aihwkit.py"], capture_output=True, text=True, timeout=100, cwd=tmp_path,
        check=False,
    )  # fmt: skip
    assert script.returncode == 0, script.stderr  # it prints the network and programs a chip
    assert "AnalogLinear" in script.stdout
    x = torch.randn(3, 1, 8, 8)
    analog = load_aihwkit(tmp_path / "there").eval()
    torch.testing.assert_close(analog(x), load_aihwkit(run_folder).eval()(x))


def test_the_reverse_check_is_one_command(
    run_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert call(["export", str(run_folder), "--to", "aihwkit", "--check", "--chips", "20"]) == 0
    told = capsys.readouterr().out
    assert "Without noise: the same logits" in told
    assert "paired over 20 chips" in told
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (("no-such-run", "--to", "aihwkit"), "no-such-run: found no such folder"),
        (("RUN", "--to", "crosssim"), "export --to: found 'crosssim'; known: aihwkit"),
        (("RUN", "--to", "aihwkit", "-o", "RUN"), "found a folder or file of something else"),
    ],
)
def test_a_mistake_is_one_line(
    words: tuple[str, ...], error: str, run_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(["export", *(str(run_folder) if word == "RUN" else word for word in words)]) == 2
    told = capsys.readouterr().err
    assert error in told
    assert told.count("\n") == 1


@pytest.mark.parametrize("padding", ["same", "valid"])
def test_padding_by_name_is_refused_by_name(padding: str) -> None:
    model = nn.Sequential(nn.Conv2d(1, 2, 3, padding=padding), nn.Flatten())
    with pytest.raises(ec.EverychipError, match=f'^0.weight: found a convolution with padding="{padding}"'):
        to_aihwkit(model, hardware(Pcm()))


@pytest.mark.parametrize("kind", [torch.float64, torch.bfloat16])
def test_a_network_of_another_precision_is_compared_with_its_float32_copy(kind: torch.dtype) -> None:
    model, (x, y) = ec.models.MLP(hidden=(16,)).build((1, 8, 8), 10), some_digits()
    expected = agreement(model, hardware(Pcm()), (x, y), chips=2)
    found = agreement(model.to(kind), hardware(Pcm()), (x.to(kind), y), chips=2)
    assert found.logits < (1e-5 if kind is torch.float64 else 0.05)
    assert found.theirs is not None
    assert expected.theirs is not None
    assert torch.allclose(found.theirs.accuracy, expected.theirs.accuracy, atol=0.02)
