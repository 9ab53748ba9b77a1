"""What stands beside a verdict: digital score and time of reading; how draws and verdicts leave Python."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import polars as pl
import pytest
import torch
from torch import nn

import everychip as ec
from everychip.errors import EverychipError, StoreError

X = torch.randn(60, 6, generator=ec.rng_for(0))
Y = X[:, :3].argmax(1)
HW = ec.Hardware(device=ec.devices.Gaussian(sigma=0.3))
PCM = ec.Hardware(device=ec.devices.Pcm(time="1h"), mapping="direct")


@pytest.fixture
def model() -> nn.Module:
    with ec.rng.seeded_global_generator(0, "test"):
        return nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 3))


def digital_accuracy(model: nn.Module) -> float:
    return float((model.eval()(X).argmax(1) == Y).float().mean())


@pytest.mark.parametrize("hardware", [HW, PCM], ids=["gaussian", "pcm"])
def test_the_digital_score_stands_beside_the_verdict_of_any_device(
    model: nn.Module, hardware: ec.Hardware
) -> None:
    draws = ec.evaluate(model, hardware, (X, Y), chips=5)
    assert draws.digital == pytest.approx(digital_accuracy(model))
    assert f"digital {100 * digital_accuracy(model):.1f}" in str(draws)
    assert f"digital {100 * digital_accuracy(model):.1f}" in repr(draws.verdict())
    assert "digital" in draws._repr_html_()


def test_the_digital_score_changes_no_chip(model: nn.Module) -> None:
    draws = ec.evaluate(model, HW, (X, Y), chips=3)
    for chip in range(3):
        programmed = ec.program(model, HW, seed=0, chip=chip)
        found = torch.func.functional_call(model, programmed, (X,)).argmax(1)
        assert float(draws.accuracy[chip]) == pytest.approx(float((found == Y).float().mean()))


def test_the_digital_score_of_a_stream_is_that_of_the_same_data_in_memory(model: nn.Module) -> None:
    passes = []

    def batches():
        passes.append(1)
        return ((X[i : i + 20], Y[i : i + 20]) for i in range(0, 60, 20))

    draws = ec.evaluate(model, HW, ec.data.Stream(batches, chips=4), chips=8)
    assert draws.digital == pytest.approx(digital_accuracy(model))
    one_by_one = len(passes)
    passes.clear()
    ec.evaluate(model, HW, ec.data.Stream(batches, chips=4), chips=4)
    assert one_by_one - len(passes) == 1  # a pass for four more chips, and none for the digital network


def test_where_chips_meet_their_own_images_or_vectors_there_is_no_digital_score(model: nn.Module) -> None:
    assert ec.evaluate(model, HW, (X, Y), chips=3, images=20).digital is None
    assert ec.evaluate(model, HW, X, task="embedding", chips=3).digital is None


def test_the_time_of_reading_is_said_where_the_device_ages(model: nn.Module) -> None:
    assert "read 1 h after programming" in str(ec.evaluate(model, PCM, (X, Y), chips=3))
    assert "after programming" not in str(ec.evaluate(model, HW, (X, Y), chips=3))


@pytest.mark.parametrize("hardware", [HW, PCM], ids=["gaussian", "pcm"])
def test_saved_draws_and_verdicts_come_back_whole(
    model: nn.Module, hardware: ec.Hardware, tmp_path: Path
) -> None:
    draws = ec.evaluate(model, hardware, (X, Y), chips=6)
    draws.save(tmp_path / "d.parquet")
    again = ec.Draws.load(tmp_path / "d.parquet")
    assert (again.digital, again.setting) == (draws.digital, draws.setting)
    assert str(again) == str(draws)
    draws.verdict(target=0.9).save(tmp_path / "v.json")
    assert ec.Verdict.load(tmp_path / "v.json") == draws.verdict(target=0.9)


def test_a_verdict_of_a_score_without_bounds_comes_back(model: nn.Module, tmp_path: Path) -> None:
    verdict = ec.evaluate(model, HW, (X, X[:, :3]), task="regression", chips=6).verdict(target=2)
    verdict.save(tmp_path / "v.json")
    assert str(ec.Verdict.load(tmp_path / "v.json")) == str(verdict)


def test_a_changed_verdict_is_refused(model: nn.Module, tmp_path: Path) -> None:
    path = tmp_path / "v.json"
    ec.evaluate(model, HW, (X, Y), chips=3).verdict().save(path)
    data = json.loads(path.read_text())
    data["verdict"]["mean"]["estimate"] = 1.0
    path.write_text(json.dumps(data))
    with pytest.raises(StoreError, match="SHA-256"):
        ec.Verdict.load(path)
    path.write_text(json.dumps({"format": "everychip-verdict/1"}))
    with pytest.raises(EverychipError):
        ec.Verdict.load(path)


def test_frames_hold_every_chip_and_every_statistic(model: nn.Module) -> None:
    draws = ec.evaluate(model, HW, (X, Y), chips=80)
    pandas, polars = draws.to_pandas(), draws.to_polars()
    assert list(pandas.columns) == polars.columns
    assert pandas["accuracy"].tolist() == polars["accuracy"].to_list() == draws.accuracy.tolist()
    assert polars.schema["accuracy"] == pl.Float64
    assert [row["chip"] for row in draws] == list(range(80))
    verdict = draws.verdict(target=0.5)
    table = verdict.to_polars()
    assert table["statistic"].to_list() == ["mean", "kpp5", "yield", "worst", "digital"]
    assert verdict.to_pandas()["estimate"].tolist() == table["estimate"].to_list()
    assert table["estimate"][0] == pytest.approx(float(draws.accuracy.mean()))


@pytest.mark.parametrize("name", ["polars", "pandas"])
def test_a_missing_frame_library_is_one_line(
    model: nn.Module, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    draws = ec.evaluate(model, HW, (X, Y), chips=2)
    for value in (draws, draws.verdict()):
        with pytest.raises(EverychipError, match=rf"everychip\[{name}\]"):
            getattr(value, f"to_{name}")()


def test_what_a_cell_ends_in_is_short_at_a_prompt_and_whole_in_a_notebook(model: nn.Module) -> None:
    draws = ec.evaluate(model, HW, (X, Y), chips=6)
    values = (
        draws,
        draws.verdict(),
        draws.verdict().mean,
        draws.compare(draws),
        draws.compare(draws).difference,
        ec.check(model, HW, X),
        ec.effective_sigma(model, HW),
        ec.sensitivity(model, HW, (X, Y), chips=6),
        ec.break_even(model, HW, (X, Y), drop="5", chips=20),
    )
    for value in values:
        text = repr(value)
        assert text.startswith(type(value).__name__)
        assert len(text) < 240
        assert "\n" not in text
        assert "<" in value._repr_html_()
    assert "<script>" not in ec.check(_named("<script>"), HW)._repr_html_()


def _named(name: str) -> nn.Module:
    model = nn.Sequential()
    model.add_module(name, nn.Linear(3, 3))
    return model


def test_a_measured_device_is_short_at_a_prompt() -> None:
    from everychip.devices.measured import Law, Measured

    g = tuple(i / 40 for i in range(41))
    law = Law(g=g, bias=(0.0,) * 41, device_to_device=(0.1,) * 41, cycle_to_cycle=(0.1,) * 41)
    text = repr(Measured(laws=(law,), g_max=25, source="a.csv"))
    assert "conductances=41" in text
    assert len(text) < 250
