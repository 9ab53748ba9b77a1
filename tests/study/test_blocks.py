"""A run whose chips are measured in blocks is the run that one worker computes, to the bit."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from everychip.config.component import merge
from everychip.errors import StoreError
from everychip.progress import Event
from everychip.storage.files import locked
from everychip.study import store
from everychip.study.blocks import SMALLEST, Block, apart, lacking, plan
from everychip.study.execution import measure_block, run, train_run
from everychip.study.executors import Processes
from everychip.study.executors.work import execute, executed_apart, put, unheard
from everychip.study.experiment import Experiment
from everychip.study.grid import Study
from everychip.study.study import DRAWS, RUNS, Watcher, run_study
from everychip.study.unfinished import blocks_in

Make = Callable[..., Experiment]
Studies = Callable[..., Study]


def one_run(study: Studies, evaluation: Mapping[str, Any], change: Mapping[str, Any]) -> Study:
    """The tiny study with a single run."""
    chosen = study({"sweep": {"seed": [0]}, "always": {"evaluation": evaluation}})
    return chosen.replace(axes={"method": {"vanilla": change}})


VANILLA = {"method": "vanilla"}
CASES: dict[str, dict[str, Any]] = {
    "two conditions, one of them without noise": {},
    "images": {"evaluation": {"images": 40}},
    "several chips in one call": {"model": {"kind": "lenet"}, "evaluation": {"at_once": 4}},
    "outputs corrected on each chip": {
        "model": {"kind": "lenet"},
        "evaluation": {"mitigation": {"kind": "drift_compensation", "images": 20}},
    },
    "cells verified on each chip": {
        "evaluation": {"mitigation": {"kind": "selective_write_verify", "fraction": 0.5, "images": 20}}
    },
    "an array with read noise": {
        "hardware": {"array": {"rows": 32, "adc_bits": 8, "read_noise": 0.01}},
        "evaluation": {"sigma": [0.2]},
    },
    "times": {
        "hardware": {"device": {"kind": "pcm"}, "mapping": "direct"},
        "evaluation": {"sigma": [], "time": ["25s", "1h"]},
    },
    "two stages, whose chips no block is of": {
        "evaluation": {"sigma": [0.2], "chips": 70, "until": "±3 two-stage failures 5 %"}
    },
}


def as_serial(folder: Path, serial: store.Run) -> None:
    """The same files, and nothing left of the blocks."""
    whole = store.open_run(folder)
    assert dict(whole.record["sha256"]) == dict(serial.record["sha256"])
    assert whole.record.get("treatment") == serial.record.get("treatment")
    assert sorted(path.name for path in folder.iterdir()) == sorted(p.name for p in serial.folder.iterdir())


@pytest.mark.parametrize("case", CASES.values(), ids=list(CASES))
def test_blocks_in_any_order_and_chips_that_none_has_make_the_same_run(
    tmp_path: Path, tiny: Make, case: Mapping[str, Any]
) -> None:
    experiment = tiny(merge({"evaluation": {"chips": 7}}, case))
    serial, folder = run(experiment, tmp_path / "serial"), tmp_path / "blocks"
    train_run(experiment, folder)
    assert not store.is_complete(folder)
    conditions = len(experiment.conditions())
    for condition, (first, chips) in itertools.product(range(conditions), [(5, 2), (0, 2), (1, 3)]):
        measure_block(experiment, folder, Block(condition, first, chips))
    run(experiment, folder)
    as_serial(folder, serial)


def test_a_network_that_diverged_has_no_block(tmp_path: Path, tiny: Make) -> None:
    experiment = tiny({"training": {"lr": 1e30}, "method": "vanilla"})
    serial = run(experiment, tmp_path / "serial")
    assert serial.status == "diverged"
    train_run(experiment, tmp_path / "blocks")
    measure_block(experiment, tmp_path / "blocks", Block(0, 0, 2))
    run(experiment, tmp_path / "blocks")
    as_serial(tmp_path / "blocks", serial)


def test_a_block_that_is_not_as_it_was_written_is_measured_again(tmp_path: Path, tiny: Make) -> None:
    experiment = tiny({"evaluation": {"chips": 8, "sigma": [0.2]}})
    serial = run(experiment, tmp_path / "serial")
    for number, name in enumerate(("block-0-0-4.parquet", "block-0-0-4.json")):
        for place in (0.1, 0.5, 0.9):
            folder = tmp_path / f"{number}-{place}"
            train_run(experiment, folder)
            for first in (0, 4):
                measure_block(experiment, folder, Block(0, first, 4))
            path = folder / store.PARTIAL / name
            content = bytearray(path.read_bytes())
            content[int(place * len(content))] ^= 4
            path.write_bytes(bytes(content))
            run(experiment, folder)
            as_serial(folder, serial)


def test_a_block_of_other_weights_is_no_block_of_the_run(tmp_path: Path, tiny: Make) -> None:
    one, other = tiny({"seed": 0}), tiny({"seed": 1})
    serial = run(one, tmp_path / "serial")
    for experiment, name in ((one, "one"), (other, "other")):
        train_run(experiment, tmp_path / name)
        measure_block(experiment, tmp_path / name, Block(1, 0, 2))
    for path in (tmp_path / "other" / store.PARTIAL).glob("block-*"):
        (tmp_path / "one" / store.PARTIAL / path.name).write_bytes(path.read_bytes())
    run(one, tmp_path / "one")
    as_serial(tmp_path / "one", serial)


def test_no_block_is_measured_before_the_training_or_of_other_data(
    tmp_path: Path, tiny: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(StoreError):
        measure_block(tiny(), tmp_path, Block(0, 0, 2))
    train_run(tiny(), tmp_path / "run")
    (tmp_path / "run" / store.PARTIAL / "state.json").unlink()
    with pytest.raises(StoreError, match="no trained network"):
        measure_block(tiny(), tmp_path / "run", Block(1, 0, 2))
    train_run(tiny(), tmp_path / "run")
    monkeypatch.setattr("everychip.study.unfinished.inputs", lambda _: {"data": "others"})
    with pytest.raises(StoreError, match="other data or other code"):
        measure_block(tiny(), tmp_path / "run", Block(1, 0, 2))


def test_blocks_share_a_folder_that_a_whole_run_holds_alone(tmp_path: Path, tiny: Make) -> None:
    train_run(tiny(), tmp_path)
    with locked(tmp_path, shared=True):
        measure_block(tiny(), tmp_path, Block(1, 0, 1))
        with pytest.raises(StoreError, match="another process is writing here"):
            run(tiny(), tmp_path)
    with locked(tmp_path), pytest.raises(StoreError, match="another process is writing here"):
        measure_block(tiny(), tmp_path, Block(1, 1, 1))
    assert blocks_in(tmp_path) == {1: [Block(1, 0, 1)]}


class Notes(Watcher):
    """What was handed out and told; interrupts after so many blocks."""

    def __init__(self, interrupt_at: int | None = None) -> None:
        self.names: list[str] = []
        self.chips: list[int] = []
        self.left = interrupt_at

    def started(self, experiment: Experiment) -> None:
        self.names.append(experiment.name)

    def event(self, run: str, event: Event) -> None:
        if event.stage == "chips":
            self.chips.append(event.done)
            if self.left is not None and len(self.chips) == self.left:
                raise KeyboardInterrupt


@pytest.mark.slow
def test_a_study_of_fewer_runs_than_workers_has_the_draws_of_one_worker(
    tmp_path: Path, study: Studies
) -> None:
    """More blocks than chips are asked for, and a block is never less than one chip."""
    for chips, block in ((60, None), (3, 2)):
        chosen = one_run(study, {"chips": chips}, VANILLA)
        serial, folder, notes = tmp_path / f"serial-{chips}", tmp_path / f"out-{chips}", Notes()
        run_study(chosen, serial)
        outcome = run_study(chosen, folder, workers=2, on=Processes(block=block), watcher=notes)
        assert (outcome.executed, dict(outcome.failed)) == (1, {})
        assert len(notes.names) == 1
        assert (folder / DRAWS).read_bytes() == (serial / DRAWS).read_bytes()
        assert len([done for done in notes.chips if 0 < done < chips]) >= 1  # told block by block


@pytest.mark.parametrize("damaged", [False, True])
def test_an_interrupted_study_goes_on_with_the_blocks_that_there_are(
    tmp_path: Path, study: Studies, monkeypatch: pytest.MonkeyPatch, damaged: bool
) -> None:
    """Nothing is trained again, unless the trained network is no longer as it was written."""
    chosen = one_run(study, {"chips": 10, "sigma": [0.2]}, VANILLA)
    run_study(chosen, tmp_path / "serial")
    with pytest.raises(KeyboardInterrupt):
        run_study(chosen, tmp_path / "out", on=Processes(block=2), watcher=Notes(interrupt_at=3))
    (folder,) = (tmp_path / "out" / RUNS).iterdir()
    before = blocks_in(folder)
    assert len(before[0]) == 3
    if damaged:
        (folder / store.MODEL).write_bytes(b"nothing")
    measured: list[Block] = []
    trained: list[Path] = []

    def noted(experiment: Experiment, place: Path, block: Block) -> None:
        measured.append(block)
        measure_block(experiment, place, block)

    def noted_training(experiment: Experiment, place: Path, **how: Any) -> None:
        trained.append(place)
        train_run(experiment, place, **how)

    monkeypatch.setattr("everychip.study.executors.work.measure_block", noted)
    monkeypatch.setattr("everychip.study.executors.work.train_run", noted_training)
    run_study(chosen, tmp_path / "out", on=Processes(block=2))
    assert trained == ([folder] if damaged else [])
    assert sorted([*measured, *before[0]]) == [Block(0, first, 2) for first in range(0, 10, 2)]
    assert (tmp_path / "out" / DRAWS).read_bytes() == (tmp_path / "serial" / DRAWS).read_bytes()


DIES_IN_A_BLOCK = """
import multiprocessing, os, pathlib, torch

HERE = pathlib.Path(__file__).parent


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.linear, self.calls = torch.nn.Linear(64, 10), 0

    def forward(self, x):
        self.calls += 1
        others = list(HERE.glob("out/runs/*/partial/block-*.json"))
        if others and self.calls > 3 and multiprocessing.parent_process() is not None:
            died = len(list(HERE.glob("died-*")))
            if died < int((HERE / "times").read_text()):
                (HERE / f"died-{died}").touch()
                os.kill(os.getpid(), 9)
        return self.linear(x.flatten(1))
"""


@pytest.mark.slow
@pytest.mark.parametrize("times", [1, 2])
def test_a_worker_killed_in_a_block_loses_no_draw_and_doubles_none(
    tmp_path: Path, study: Studies, monkeypatch: pytest.MonkeyPatch, times: int
) -> None:
    (tmp_path / "dies_in_a_block.py").write_text(DIES_IN_A_BLOCK)
    (tmp_path / "times").write_text(str(times))
    monkeypatch.chdir(tmp_path)
    network = {"model": {"kind": "factory", "call": "dies_in_a_block:Net"}, "method": "vanilla"}
    chosen = one_run(study, {"chips": 24, "sigma": [0.2]}, network)
    run_study(chosen, tmp_path / "serial")
    outcome = run_study(chosen, tmp_path / "out", workers=2, on=Processes(block=6))
    assert len(list(tmp_path.glob("died-*"))) == times
    if times == 1:
        assert dict(outcome.failed) == {}
        assert (tmp_path / "out" / DRAWS).read_bytes() == (tmp_path / "serial" / DRAWS).read_bytes()
        return
    assert list(outcome.failed.values()) == ["its worker process died twice (out of memory?)"]
    again = run_study(chosen, tmp_path / "out", workers=2, on=Processes(block=6))
    assert dict(again.failed) == {}
    assert (tmp_path / "out" / DRAWS).read_bytes() == (tmp_path / "serial" / DRAWS).read_bytes()


def test_workers_that_share_no_folder_get_and_give_files_and_a_recipe_and_nothing_else(
    tmp_path: Path, tiny: Make
) -> None:
    experiment = tiny({"evaluation": {"chips": 6}})
    serial = run(experiment, tmp_path / "serial")
    table = json.loads(json.dumps(experiment.table()))  # a recipe is text; no object travels
    words, network = executed_apart(table, None, "training")
    assert (words, sorted(network)) == (
        "", ["begun.json", "model.safetensors", "recipe.toml", "state.json"]
    )  # fmt: skip
    files = dict(network)
    for first in (3, 0):
        words, block = executed_apart(table, None, Block(1, first, 3), network)
        assert (words, sorted(block)) == ("", [f"block-1-{first}-3.json", f"block-1-{first}-3.parquet"])
        files |= block
    assert all(isinstance(content, bytes) for content in files.values())
    words, whole = executed_apart(table, None, "run", files)
    assert words == ""
    put(whole, tmp_path / "out")
    as_serial(tmp_path / "out", serial)
    assert executed_apart(table, None, Block(1, 0, 3))[0]  # without a trained network: one line


def test_a_block_that_fails_is_one_line_and_the_run_is_named(
    tmp_path: Path, study: Studies, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(experiment: Experiment, place: Path, block: Block) -> None:
        raise ValueError("no such chip")

    monkeypatch.setattr("everychip.study.executors.work.measure_block", broken)
    chosen = one_run(study, {"chips": 10}, VANILLA)
    outcome = run_study(chosen, tmp_path / "out", on=Processes(block=2))
    assert [words.split(" (")[0] for words in outcome.failed.values()] == ["ValueError: no such chip"]
    monkeypatch.undo()
    assert dict(run_study(chosen, tmp_path / "out").failed) == {}


def test_a_complete_run_needs_no_block(tmp_path: Path, tiny: Make) -> None:
    done = run(tiny(), tmp_path)
    measure_block(tiny(), tmp_path, Block(0, 0, 2))
    assert execute(tiny().table(), str(tmp_path), "", "training", tell=unheard) == ""
    as_serial(tmp_path, done)


# --- the plan ---------------------------------------------------------------------------------------------

SOME = st.lists(st.tuples(st.integers(0, 60), st.integers(1, 30)), max_size=8)


@given(SOME, st.integers(1, 90))
def test_blocks_and_what_they_lack_are_every_chip_once(places: list[tuple[int, int]], chips: int) -> None:
    inside = [Block(0, first, min(n, chips - first)) for first, n in places if first < chips]
    known = apart(inside)
    numbers = [n for block in known for n in block.numbers] + [
        n for gap in lacking(known, chips) for n in gap
    ]
    assert sorted(numbers) == list(range(chips))


@given(st.integers(1, 400), st.integers(1, 9), st.none() | st.integers(1, 500), SOME)
def test_a_plan_is_every_chip_that_is_not_known_once(
    chips: int, workers: int, size: int | None, places: list[tuple[int, int]]
) -> None:
    experiment = Experiment.from_toml("digits", [f"evaluation.chips={chips}", "evaluation.sigma=[0.1,0.2]"])
    known = {1: apart(Block(1, first, min(n, chips - first)) for first, n in places if first < chips)}
    blocks = plan(experiment, known, workers=workers, size=size)
    if not blocks:
        assert 2 * chips <= max(size or SMALLEST, 1) or not lacking(known[1], chips)
        return
    for condition in (0, 1):
        had = [n for block in known.get(condition, []) for n in block.numbers]
        new = [n for block in blocks if block.condition == condition for n in block.numbers]
        assert sorted(had + new) == list(range(chips))
    assert max(block.chips for block in blocks) <= (size or max(SMALLEST, -(-2 * chips // (4 * workers))))


@pytest.mark.parametrize("name", ["", "0-1", "0-1-0", "a-1-2", "0-1-2-3", "-1-2-3", "../0-1-2", "0-1-2\n"])
def test_what_is_no_name_of_a_block_is_none(name: str) -> None:
    assert Block.parse(name) is None
