"""`everychip study --shard` and `--on`, from a terminal."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from study.test_executors import RECIPE

pytestmark = pytest.mark.slow  # every command is a process that imports PyTorch


def everychip(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "everychip", *words], capture_output=True, text=True, timeout=300, check=False
    )


def test_two_shards_and_their_collection(tmp_path: Path) -> None:
    recipe, out = tmp_path / "spread.toml", str(tmp_path / "out")
    recipe.write_text(RECIPE)
    for share in ("1/2", "2/2"):
        done = everychip("study", str(recipe), "-o", out, "--shard", share)
        assert (done.returncode, f"Share {share} is done: 2 runs" in done.stdout) == (0, True), done.stderr
    done = everychip("study", str(recipe), "-o", out)
    assert "4 of 4 runs are complete; nothing was left to do." in done.stdout


def test_a_wrong_word_is_one_line(tmp_path: Path) -> None:
    recipe = tmp_path / "spread.toml"
    recipe.write_text(RECIPE)
    for options in (("--shard", "3/2"), ("--on", "slrum"), ("--on", "{ kind = 'ray', cpus = -1 }")):
        done = everychip("study", str(recipe), "-o", str(tmp_path / "out"), *options)
        assert done.returncode == 2
        assert len(done.stderr.strip().splitlines()) == 1, done.stderr
        assert not (tmp_path / "out").exists()


def test_one_run_in_blocks_has_the_draws_of_one_worker(tmp_path: Path) -> None:
    quick = ["training.epochs=1", "evaluation.chips=5", "evaluation.sigma=[0.1]", "model=mlp"]
    asked = ["run", "digits", *(word for setting in quick for word in ("--set", setting))]
    for name, spread in (("whole", ()), ("blocks", ("--on", "{ kind = 'processes', block = 2 }"))):
        done = everychip(*asked, *spread, "-o", str(tmp_path / name))
        assert done.returncode == 0, done.stderr
    draws = [(tmp_path / name / "draws.parquet").read_bytes() for name in ("whole", "blocks")]
    assert draws[0] == draws[1]
