"""Data and code of a complete run are compared with what they were, and what changed is named."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from everychip.errors import StoreError
from everychip.models.sources import code_of
from everychip.rng import rng_for
from everychip.study.execution import run
from everychip.study.experiment import Experiment
from everychip.study.inputs import inputs
from everychip.study.trained import asked_of

NET = "from torch import nn\nfrom layers import width\ndef build(): return nn.Linear(8, 2)\n"


def write_data(path: Path, seed: int) -> None:
    x = torch.randn(80, 8, generator=rng_for(seed))
    y = (x[:, 0] > 0).long()
    save_file(
        {"x_train": x[:60], "y_train": y[:60], "x_test": x[60:].clone(), "y_test": y[60:].clone()}, path
    )


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny: Callable[..., Experiment]) -> Experiment:
    """A recipe with the user's own data and model, in the working directory."""
    monkeypatch.chdir(tmp_path)
    for name in ("own_net", "layers"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    write_data(tmp_path / "d.safetensors", 0)
    (tmp_path / "own_net.py").write_text(NET)
    (tmp_path / "layers.py").write_text("width = 8\n")
    changes: dict[str, Any] = {
        "data": {"kind": "tensors", "path": "d.safetensors"},
        "model": {"kind": "factory", "call": "own_net:build"},
    }
    return tiny(changes)


CHANGES: dict[str, Callable[[Path], object]] = {
    "data": lambda folder: write_data(folder / "d.safetensors", 1),
    "model code": lambda folder: (folder / "own_net.py").write_text(NET.replace("8, 2", "8, 2, bias=False")),
    "model code ": lambda folder: (folder / "layers.py").write_text("width = 9\n"),
}


@pytest.mark.parametrize("what", CHANGES)
def test_a_run_whose_data_or_code_changed_is_refused_by_whoever_opens_it(
    tmp_path: Path, own: Experiment, what: str
) -> None:
    done = run(own, tmp_path / "o")
    assert run(own, tmp_path / "o").record == done.record, "nothing changed, nothing is refused"
    CHANGES[what](tmp_path)
    for opening in (lambda: run(own, tmp_path / "o"), lambda: asked_of(tmp_path / "o", [])):
        with pytest.raises(StoreError, match=rf"whose {what.strip()} changed since") as caught:
            opening()
        assert "\n" not in str(caught.value)


def test_an_unfinished_run_of_other_data_begins_again(
    tmp_path: Path, own: Experiment, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*args: object, **kwargs: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("everychip.study.execution.merge_tables", stop)
    with pytest.raises(KeyboardInterrupt):
        run(own, tmp_path / "o")
    monkeypatch.setattr(
        "everychip.study.execution.merge_tables", sys.modules["everychip.storage.table"].merge_tables
    )
    write_data(tmp_path / "d.safetensors", 1)
    anew, fresh = run(own, tmp_path / "o"), run(own, tmp_path / "fresh")
    assert anew.record["sha256"] == fresh.record["sha256"]


def test_a_run_is_opened_where_its_data_are_not_and_where_they_lie_elsewhere(
    tmp_path: Path, own: Experiment
) -> None:
    done = run(own, tmp_path / "o")
    (tmp_path / "d.safetensors").unlink()
    assert run(own, tmp_path / "o").record == done.record


def test_inputs_do_not_touch_the_run_id_and_packages_have_none(own: Experiment) -> None:
    assert set(inputs(own)) == {"data", "model"}
    assert "inputs" not in own.table()
    assert code_of(["torch.nn", "everychip.models.lenet", "json"]) == ""
