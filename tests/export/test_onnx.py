"""ONNX: the digital network to the last digits, and a card that says what each matrix will suffer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import everychip as ec
from everychip.cli import call
from everychip.errors import MissingExtraError, ModelError, StoreError
from everychip.export import onnx_file, save_onnx

onnx = pytest.importorskip("onnx", reason="the extra onnx is not installed")
pytest.importorskip("onnxscript", reason="the extra onnx is not installed")
NEW = tuple(int(part) for part in torch.__version__.split(".")[:2]) >= (2, 6)
pytestmark = pytest.mark.skipif(not NEW, reason="its exporter needs PyTorch 2.6")
HW = ec.Hardware(device=ec.devices.Gaussian(sigma=0.1), digital=("1",))


def network() -> nn.Module:
    with ec.rng.seeded_global_generator(0, "test"):
        return nn.Sequential(nn.Linear(6, 8), nn.Linear(8, 8), nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, 3))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    draws = ec.evaluate(network(), HW, (torch.ones(9, 6), torch.arange(9) % 3), chips=4)
    return save_onnx(network(), HW, torch.ones(1, 6), tmp_path_factory.mktemp("o") / "net", draws=draws)


@pytest.fixture(scope="module")
def card(folder: Path) -> Any:
    return json.loads((folder / "noise_card.json").read_text(encoding="utf-8"))


def run_elsewhere(folder: Path, x: torch.Tensor) -> torch.Tensor:
    """By ONNX's own reference implementation, which has no PyTorch in it."""
    from onnx.reference import ReferenceEvaluator

    evaluator = ReferenceEvaluator(onnx.load(folder / "network.onnx"))
    return torch.from_numpy(evaluator.run(None, {evaluator.input_names[0]: x.numpy()})[0])


def test_the_file_answers_as_the_digital_network_for_any_number_of_inputs(folder: Path) -> None:
    model = network().eval()
    for n in (1, 5, 17):
        x = torch.randn(n, 6, generator=ec.rng_for(n))
        assert torch.allclose(run_elsewhere(folder, x), model(x), atol=1e-6)


def test_it_runs_in_onnxruntime_too(folder: Path) -> None:
    runtime = pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")
    session = runtime.InferenceSession(str(folder / "network.onnx"))
    x = torch.randn(4, 6, generator=ec.rng_for(1))
    found = session.run(None, {session.get_inputs()[0].name: x.numpy()})[0]
    assert torch.allclose(torch.from_numpy(found), network().eval()(x), atol=1e-6)


def test_the_card_names_initializers_of_the_file_with_the_noise_of_their_cells(
    folder: Path, card: Any
) -> None:
    from onnx.numpy_helper import to_array

    held = {one.name: to_array(one) for one in onnx.load(folder / "network.onnx").graph.initializer}
    noise = {row.layer: row for row in ec.effective_sigma(network(), HW).layers}
    own = dict(network().named_parameters())
    assert [row["parameter"] for row in card["parameters"]] == list(own)
    for row in card["parameters"]:
        name = row["parameter"]
        assert torch.equal(torch.from_numpy(held[row["initializer"]].copy()), own[name])
        assert row["on_crossbar"] == (name in {"0.weight", "4.weight"})
        assert row["sigma_of_rms"] == (noise[name].of_rms if row["on_crossbar"] else None)


def test_the_absolute_noise_of_the_card_is_that_of_programmed_chips(card: Any) -> None:
    [row] = [row for row in card["parameters"] if row["parameter"] == "0.weight"]
    model = network()
    errors = [ec.program(model, HW, seed=0, chip=c)["0.weight"] - model[0].weight for c in range(400)]
    assert float(torch.stack(errors).detach().std()) == pytest.approx(row["sigma"], rel=0.03)


def test_the_card_is_in_the_file_itself_and_has_the_verdict(folder: Path, card: Any) -> None:
    props = {p.key: p.value for p in onnx.load(folder / "network.onnx").metadata_props}
    inside = json.loads(props["everychip.noise_card"])
    assert inside == {key: value for key, value in card.items() if key != "sha256"}
    verdict = card["verdicts"][""]
    assert verdict["n"] == 4
    assert verdict["digital"] == pytest.approx(1 / 3)


def test_the_model_and_the_global_generator_are_left_as_they_were() -> None:
    model = network().train()
    before, state = {k: v.clone() for k, v in model.state_dict().items()}, torch.get_rng_state()
    proto = onnx_file._exported(model.eval(), (torch.ones(2, 6),), {})
    model.train()
    assert proto is not None
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert torch.equal(state, torch.get_rng_state())


def test_several_and_named_inputs_work(tmp_path: Path) -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.left, self.right = nn.Linear(4, 3), nn.Linear(5, 3)

        def forward(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
            return self.left(a) * self.right(b)

    a, b = torch.ones(3, 4), torch.ones(3, 5)
    with ec.rng.seeded_global_generator(0, "two"):
        model = Two()
    for n, sample in enumerate(((a, b), {"a": a, "b": b})):
        found = save_onnx(model, HW.replace(digital=()), sample, tmp_path / str(n))
        assert json.loads((found / "noise_card.json").read_text())["largest_difference"] < 1e-5


def test_another_folder_is_never_written_into(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(StoreError, match="something else"):
        save_onnx(network(), HW, torch.ones(1, 6), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_a_forward_that_onnx_cannot_say_is_refused_in_one_line(tmp_path: Path) -> None:
    class Odd(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(6, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.layer(x) if float(x.sum()) > 0 else -self.layer(x)

    with pytest.raises(ModelError, match="ONNX cannot say") as error:
        save_onnx(Odd(), HW, torch.ones(1, 6), tmp_path / "odd")
    assert "\n" not in str(error.value)
    assert not (tmp_path / "odd").exists()


def test_a_missing_package_is_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(onnx_file, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r'pip install "everychip\[onnx\]"'):
        save_onnx(network(), HW, torch.ones(1, 6), tmp_path / "net")


@pytest.mark.slow
def test_a_run_is_exported_with_the_verdict_of_every_condition(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    quick = ("training.epochs=1", "model.hidden=[8]", "evaluation.chips=3", "evaluation.sigma=[0.0,0.2]")
    assert call(["run", "digits", *(f"--set={change}" for change in quick), "-o", "run"]) == 0
    capsys.readouterr()
    assert call(["export", "run", "--to", "onnx", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["folder"] == "run-onnx"
    card = json.loads(Path("run-onnx/noise_card.json").read_text(encoding="utf-8"))
    columns = json.loads(Path("run/run.json").read_text(encoding="utf-8"))
    assert set(card["verdicts"]) == {"σ 0", "σ 0.2"}
    assert {one["digital"] for one in card["verdicts"].values()} == {columns["digital"]}
    assert call(["export", "run", "--to", "onnx", "--check"]) == 2
    assert capsys.readouterr().err.count("\n") == 1
