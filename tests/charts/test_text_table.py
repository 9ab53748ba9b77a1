"""Tables as text are text wherever they are made: in a terminal, a pipe, a notebook."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
import torch
from torch import nn

import everychip as ec
from everychip import progress
from everychip.charts.text_table import TextColumn, text_table
from everychip.cli import call


@pytest.fixture
def in_a_notebook(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let rich think that it runs in a notebook, where it shows what it should write."""
    monkeypatch.setattr("rich.console._is_jupyter", lambda: True)


def answers() -> list[str]:
    torch.manual_seed(0)
    model, hw = nn.Linear(4, 3), ec.Hardware(device=ec.devices.Gaussian(sigma=0.1))
    data = torch.randn(30, 4), torch.arange(30) % 3
    return [
        str(answer)
        for answer in (
            ec.check(model, hw, data[0]),
            ec.effective_sigma(model, hw),
            ec.evaluate(model, hw, data, chips=3, seed=0),
            ec.sensitivity(model, hw, data, chips=3, seed=0),
        )
    ]


def test_a_table_has_its_lines_in_a_notebook(in_a_notebook: None) -> None:
    assert text_table([TextColumn("layer", 8)], [("conv1",)]) == ["layer", "conv1"]


@pytest.mark.parametrize("widgets", [False, True])
def test_progress_in_a_notebook_needs_no_widgets(
    in_a_notebook: None, monkeypatch: pytest.MonkeyPatch, capsys: Any, widgets: bool
) -> None:
    known = {"ipywidgets": object()} if widgets else {}
    monkeypatch.setattr(progress, "find_spec", known.get)
    assert progress._console().is_jupyter == widgets
    if not widgets:
        monkeypatch.setattr(progress, "time", Clock())
        with warnings.catch_warnings(), progress.listening(True) as tell:
            warnings.simplefilter("error")
            for done in (1, 2, 3):
                tell(progress.Event("training", done, 3, {"loss": 0.5}))
        said = capsys.readouterr().err
        assert "training" in said
        assert "loss 0.5" in said


class Clock:
    """A minute passes between two looks."""

    now = 0.0

    def monotonic(self) -> float:
        self.now += 60
        return self.now


def test_every_answer_prints_the_same_in_a_notebook(monkeypatch: pytest.MonkeyPatch) -> None:
    before = answers()
    monkeypatch.setattr("rich.console._is_jupyter", lambda: True)
    assert answers() == before


@pytest.mark.parametrize("command", [["devices"], ["methods"], ["check", "lenet"]])
def test_a_command_that_is_called_in_a_notebook_writes_to_standard_output(
    in_a_notebook: None, capsys: Any, command: list[str]
) -> None:
    assert call(command) == 0
    assert len(capsys.readouterr().out.splitlines()) > 5
