"""What is exported are the weights that were proven, or nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from everychip.errors import StoreError
from everychip.export.folder import _copied
from everychip.storage.files import write_whole
from everychip.study import store
from everychip.study.execution import run
from everychip.study.experiment import Experiment

QUICK = ("training.epochs=1", "evaluation.chips=1", "evaluation.sigma=[]", "model=mlp", "model.hidden=[4]")


def test_weights_that_change_after_the_run_was_opened_are_not_exported(tmp_path: Path) -> None:
    done = run(Experiment.from_toml("digits", [*QUICK]), tmp_path / "run")
    goal = tmp_path / "model.safetensors"
    write_whole(goal, lambda draft: _copied(done, draft))
    assert goal.read_bytes() == (done.folder / store.MODEL).read_bytes()
    goal.unlink()
    content = bytearray((done.folder / store.MODEL).read_bytes())
    content[-1] ^= 1
    (done.folder / store.MODEL).write_bytes(content)
    with pytest.raises(StoreError, match="content that changed"):
        write_whole(goal, lambda draft: _copied(done, draft))
    assert not goal.exists()
