"""A task of the leaderboard: which network, on which data, on which chips; a version that never changes."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, model_validator

from everychip.config.component import Config, refusal
from everychip.config.toml import read_toml
from everychip.data import Data
from everychip.errors import ConfigError, known_names
from everychip.hardware.hardware import Hardware
from everychip.models import Model

SEEDS = 3
"""The fewest training seeds of an entry: with fewer there is no interval of the method."""


class LeaderboardTask(Config):
    """What every entry of one table has in common.

    name, version: written name@version; what a version says never changes, a correction is a new one.
    data: its test part measures, its training part trains. network: the only one that may enter; absent, any
    of at most `most_parameters`. hardware: what is programmed. chips: how many for each training seed,
    numbers 0 … chips−1 of the chip seed. images: how many each chip meets, all of the test part; every
    accuracy of an entry is a number of them. seeds: the fewest trainings of an entry.

    >>> LeaderboardTask.of("digits-mlp-gaussian-0.2@1").id
    'digits-mlp-gaussian-0.2@1'
    """

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9.-]{0,99}$")
    version: Annotated[int, Field(ge=1)]
    title: str
    data: Data
    network: Model | None = None
    most_parameters: Annotated[int, Field(ge=1)] | None = None
    hardware: Hardware
    chips: Annotated[int, Field(ge=20, le=100_000)] = 200
    images: Annotated[int, Field(ge=1)] | None = None
    chip_seed: Annotated[int, Field(ge=0)] = 0
    seeds: Annotated[int, Field(ge=SEEDS)] = SEEDS

    @model_validator(mode="after")
    def _says_what_may_enter(self) -> Self:
        if (self.network is None) == (self.most_parameters is None):
            raise refusal(("network",), "network and most_parameters, or neither", "one of the two")
        return self

    @property
    def id(self) -> str:
        """name@version."""
        return f"{self.name}@{self.version}"

    @classmethod
    def of(cls, task: str | Path | Self) -> Self:
        """A task by its id, from a TOML file, or itself."""
        if isinstance(task, cls):
            return task
        known = shipped()
        if str(task) in known:
            return cls.read(read_toml(known[str(task)]), where=str(task))
        if Path(str(task)).suffix == ".toml":
            return cls.read(read_toml(Path(str(task))), where=str(task))
        raise ConfigError(
            str(task), found="no such task", expected="name@version", remedy=known_names(str(task), known)
        )


def shipped() -> dict[str, Path]:
    """The files of the shipped tasks, by id."""
    folder = Path(str(files("everychip"))) / "leaderboard" / "tasks"
    tables = {path: read_toml(path) for path in sorted(folder.glob("*.toml"))}
    return {f"{table['name']}@{table['version']}": path for path, table in tables.items()}
