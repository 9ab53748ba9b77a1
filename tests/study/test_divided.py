"""One run whose chips several workers measure is the run of one worker."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from torch import nn

import everychip as ec
from everychip.study import store
from everychip.study.as_it_is import evaluate_as_it_is
from everychip.study.blocks import Block
from everychip.study.divided import run_divided
from everychip.study.execution import measure_block, run
from everychip.study.executors import Processes
from everychip.study.experiment import Experiment

Make = Callable[..., Experiment]


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[Block]:
    """The blocks that workers in this process measured."""
    found: list[Block] = []

    def noted(experiment: Experiment, folder: Path, block: Block) -> None:
        found.append(block)
        measure_block(experiment, folder, block)

    monkeypatch.setattr("everychip.study.executors.work.measure_block", noted)
    return found


def test_a_run_in_blocks_is_the_run_of_one_worker(tmp_path: Path, tiny: Make, measured: list[Block]) -> None:
    experiment = tiny({"evaluation": {"chips": 5}})
    whole = run(experiment, tmp_path / "whole", command="as typed")
    done = run_divided(experiment, tmp_path / "out", on=Processes(block=2), command="as typed")
    assert measured == [Block(1, 0, 2), Block(1, 2, 2), Block(1, 4, 1)]
    assert done.record["sha256"] == whole.record["sha256"]
    assert done.record["command"] == "as typed"
    assert sorted(path.name for path in done.folder.iterdir()) == sorted(
        path.name for path in whole.folder.iterdir()
    )
    assert run_divided(experiment, tmp_path / "out", on=Processes(block=2)).id == whole.id
    assert len(measured) == 3  # a complete run is opened


def test_a_network_as_it_is_in_blocks_keeps_what_is_said_of_it(
    tmp_path: Path, tiny: Make, measured: list[Block]
) -> None:
    experiment = tiny({"model": {"kind": "mlp", "hidden": [16]}, "evaluation": {"chips": 5, "sigma": [0.1]}})
    splits = experiment.data.load()
    model: nn.Module = experiment.model.build(splits.input_shape, splits.classes, seed=3)
    one, other = (
        evaluate_as_it_is(model, experiment, tmp_path / "run", trained_at=0.3),
        evaluate_as_it_is(
            model, experiment, tmp_path / "again" / "run", trained_at=0.3, on=Processes(block=2)
        ),
    )
    assert len(measured) == 3
    assert one.draws() == {**other.draws(), "run": one.draws()["run"]}
    assert set(other.draws()["sigma_train"]) == {0.3}
    assert other.record["words"] == "not trained here"


def test_what_workers_cannot_measure_is_measured_here(
    tmp_path: Path, tiny: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> None:
        raise MemoryError

    monkeypatch.setattr("everychip.study.executors.work.measure_block", broken)
    experiment = tiny({"evaluation": {"chips": 5}})
    whole = run(experiment, tmp_path / "whole")
    done = run_divided(experiment, tmp_path / "out", on=Processes(block=2))
    assert done.record["sha256"] == whole.record["sha256"]
    assert not (done.folder / store.PARTIAL).exists()


def test_a_rule_of_stopping_is_not_divided(tmp_path: Path, tiny: Make, measured: list[Block]) -> None:
    asked = {"evaluation": {"sigma": [0.2], "chips": 70, "until": "±3 two-stage failures 5 %"}}
    whole = run(tiny(asked), tmp_path / "whole")
    done = run_divided(tiny(asked), tmp_path / "out", on=Processes(block=2))
    assert (done.record["sha256"], measured) == (whole.record["sha256"], [])


def test_from_python_a_run_is_divided_by_a_table(tmp_path: Path, tiny: Make, measured: list[Block]) -> None:
    experiment = tiny({"evaluation": {"chips": 5, "sigma": [0.2]}})
    done = ec.run_experiment(experiment, tmp_path, on={"kind": "processes", "block": 3}, progress=False)
    assert (len(done.draws()["chip"]), measured) == (5, [Block(0, 0, 3), Block(0, 3, 2)])
