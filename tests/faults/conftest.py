"""A server that runs commands with faults, and a tiny run without one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from faults.forking import Forking

from everychip.storage.files import digest

RECIPE = """
data = { kind = "digits", size = 8 }
model = { kind = "mlp", hidden = [4] }
method = "noise_injection"
hardware = { device = { kind = "gaussian", sigma = 0.2 } }
training = { epochs = 2, batch_size = 512, validation_chips = 1, validation_images = 50 }
evaluation = { sigma = [0.1, 0.2], chips = 2 }
compute = { threads = 1 }
"""
STUDY = 'name = "tiny"\n' + RECIPE.replace("\n", "\nbase.")[:-5] + "\n[sweep]\nseed = [0, 1]\n"


@pytest.fixture(scope="session")
def forking() -> Iterator[Forking]:
    """Runs commands in children of one process."""
    server = Forking()
    yield server
    server.close()


@dataclass(frozen=True, eq=False)
class Job:
    """A command into a folder, and the files that it leaves without any fault; `whole` is such a folder."""

    command: tuple[str, ...]
    whole: Path
    files: dict[str, str]
    events: int

    def into(self, folder: Path) -> tuple[str, ...]:
        """The command line for this folder."""
        return (*self.command, "--output", str(folder))


def proofs(folder: Path) -> dict[str, str]:
    """The SHA-256 of weights and draws, by their place in the folder."""
    kinds = ("draws.parquet", "model.safetensors")
    return {str(path.relative_to(folder)): digest(path) for kind in kinds for path in folder.rglob(kind)}


def _job(forking: Forking, place: Path, kind: str, text: str) -> Job:
    recipe = place / "tiny.toml"
    recipe.write_text(text)
    folder = place / "whole"
    done = forking.run(kind, str(recipe), "--output", str(folder), watch=str(folder))
    assert done.code == 0, done.err
    return Job((kind, str(recipe)), folder, proofs(folder), done.events)


@pytest.fixture(scope="session")
def a_run(forking: Forking, tmp_path_factory: pytest.TempPathFactory) -> Job:
    """A run of two conditions."""
    return _job(forking, tmp_path_factory.mktemp("run"), "run", RECIPE)


@pytest.fixture(scope="session")
def a_study(forking: Forking, tmp_path_factory: pytest.TempPathFactory) -> Job:
    """A study of two runs."""
    return _job(forking, tmp_path_factory.mktemp("study"), "study", STUDY)
