"""A share of a study, for any other scheduler: `--shard 2/8` is the second of eight."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from everychip.errors import ConfigError
from everychip.study.experiment import Experiment


@dataclass(frozen=True)
class Shard:
    """One of `count` shares of a study; runs that share a training are in one share.

    index: from 1. count: how many shares the study has.
    """

    index: int
    count: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read "i/n".

        >>> Shard.parse("2/8")
        Shard(index=2, count=8)
        """
        found = re.fullmatch(r"\s*(\d{1,6})\s*/\s*(\d{1,6})\s*", text)
        index, count = (int(found[1]), int(found[2])) if found else (0, 0)
        if not 1 <= index <= count:
            raise ConfigError("--shard", found=text, expected="i/n with 1 ≤ i ≤ n, such as 1/8")
        return cls(index, count)

    def of(self, experiments: Sequence[Experiment]) -> list[Experiment]:
        """The runs of this share, in order.

        Args:
            experiments: all runs of the study, in order.
        """
        trainings = {e.training_id: n for n, e in enumerate({e.training_id: e for e in experiments}.values())}
        return [e for e in experiments if trainings[e.training_id] % self.count == self.index - 1]

    def lock(self, folder: Path) -> Path:
        """The folder that this share alone holds, below the study's, which the shares have in common."""
        return folder / f"shard-{self.index}-of-{self.count}"

    def __str__(self) -> str:
        return f"{self.index}/{self.count}"
