"""What an unfinished run left is verified, and what is not as it was written is made again."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from everychip.errors import StoreError
from everychip.storage.table import read_table, write_table
from everychip.study import store
from everychip.study.execution import run
from everychip.study.experiment import Experiment

Make = Callable[..., Experiment]


def interrupt(experiment: Experiment, folder: Path, monkeypatch: pytest.MonkeyPatch, at: str) -> None:
    """Run until the function of this name would be called for the second condition or the first time."""
    from everychip.study import execution

    real, calls = getattr(execution, at), 0

    def stop(*args: Any, **kwargs: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == {"write_table": 2, "_save": 1}[at]:
            raise KeyboardInterrupt
        return real(*args, **kwargs)

    monkeypatch.setattr(execution, at, stop)
    with pytest.raises(KeyboardInterrupt):
        run(experiment, folder)
    monkeypatch.undo()


def flipped(path: Path, place: float) -> None:
    content = bytearray(path.read_bytes())
    content[int(place * (len(content) - 1))] ^= 4
    path.write_bytes(content)


def proofs(done: store.Run) -> dict[str, str]:
    return {name: value for name, value in done.record["sha256"].items() if name != store.RECIPE}


@pytest.mark.parametrize("place", [0.0, 0.3, 0.6, 0.97])
@pytest.mark.parametrize(
    "name",
    [
        "model.safetensors",
        "partial/begun.json",
        "partial/state.json",
        "partial/draws-0.json",
        "partial/draws-0.parquet",
    ],
)
def test_a_flipped_bit_between_two_conditions_changes_nothing(
    tmp_path: Path, tiny: Make, monkeypatch: pytest.MonkeyPatch, name: str, place: float
) -> None:
    whole = run(tiny(), tmp_path / "whole")
    interrupt(tiny(), tmp_path / "run", monkeypatch, "write_table")
    flipped(tmp_path / "run" / name, place)
    done = run(tiny(), tmp_path / "run")
    assert proofs(done) == proofs(whole)
    same = ("status", "words", "best_epoch", "validation_accuracy", "forwards", "history")
    assert {key: done.record[key] for key in same} == {key: whole.record[key] for key in same}


@pytest.mark.parametrize("place", [0.0, 0.1, 0.5, 0.9])
def test_a_flipped_bit_in_a_checkpoint_costs_the_training_and_nothing_else(
    tmp_path: Path, tiny: Make, monkeypatch: pytest.MonkeyPatch, place: float
) -> None:
    whole = run(tiny(), tmp_path / "whole")
    interrupt(tiny(), tmp_path / "run", monkeypatch, "_save")
    flipped(tmp_path / "run" / "partial" / "checkpoint.safetensors", place)
    assert proofs(run(tiny(), tmp_path / "run")) == proofs(whole)


def test_a_folder_that_a_killed_finish_left_is_dropped(tmp_path: Path, tiny: Make) -> None:
    done = run(tiny(), tmp_path)
    (tmp_path / "partial").mkdir()
    assert run(tiny(), tmp_path).record == done.record
    assert not (tmp_path / "partial").exists()


def test_a_run_that_went_on_on_another_processor_says_so(
    tmp_path: Path, tiny: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupt(tiny(), tmp_path, monkeypatch, "write_table")
    monkeypatch.setattr("everychip.study.environment.capability", lambda: "AVX9")
    machines = run(tiny(), tmp_path).record["machines"]
    assert len(machines) == 2
    assert machines[1].endswith("(AVX9)")


@pytest.mark.parametrize(
    ("name", "before"),
    [
        ("model.safetensors", "load_weights"),  # other chips would be measured
        ("model.safetensors", "measure"),
        ("recipe.toml", "measure"),
        ("partial/draws-0.parquet", "merge_tables"),  # all of them are proven already
        ("partial/draws-0.json", "merge_tables"),
        ("draws.parquet", "check"),
    ],
)
def test_a_bit_that_flips_while_the_run_is_computed_is_refused_and_the_same_run_again_is_right(
    tmp_path: Path, tiny: Make, monkeypatch: pytest.MonkeyPatch, name: str, before: str
) -> None:
    from everychip.study import chips, execution, measured

    module = next(one for one in (execution, chips, measured) if hasattr(one, before))
    whole, real = run(tiny(), tmp_path / "whole"), getattr(module, before)

    def flipping(*args: Any, **kwargs: Any) -> Any:
        path = tmp_path / "run" / name
        if path.exists():
            flipped(path, 0.9)
        return real(*args, **kwargs)

    monkeypatch.setattr(module, before, flipping)
    with pytest.raises(StoreError, match=Path(name).name[:5]):
        run(tiny(), tmp_path / "run")
    assert not store.is_complete(tmp_path / "run")
    monkeypatch.undo()
    if name == "recipe.toml":  # it is another run's now, or none's
        shutil.rmtree(tmp_path / "run")
    assert proofs(run(tiny(), tmp_path / "run")) == proofs(whole)


def test_draws_of_a_run_that_change_before_the_study_merges_them_are_not_merged(
    tmp_path: Path, study: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    from everychip.study import study as studies

    real, chosen = studies.merge_tables, study({"sweep": {"seed": [0]}})
    studies.run_study(chosen, tmp_path)
    first = chosen.expand().experiments[0].id

    def flipping(path: Path, parts: Any, **options: Any) -> str:
        if first in str(parts):
            write_table(parts[0], {**read_table(parts[0]), "accuracy": [1.0] * 4})
        return real(path, parts, **options)

    monkeypatch.setattr(studies, "merge_tables", flipping)
    outcome = studies.run_study(chosen, tmp_path)
    assert list(outcome.failed) == [first]
    assert set(read_table(tmp_path / "draws.parquet")["run"]) == {
        e.id for e in chosen.expand().experiments
    } - {first}
