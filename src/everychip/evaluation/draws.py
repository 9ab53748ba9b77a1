"""Draws: the rows of a Monte Carlo evaluation, one per chip."""

from __future__ import annotations

import operator
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Any

import torch
from jaxtyping import Float, Int
from pydantic.dataclasses import dataclass
from torch import Tensor

from everychip.config.columns import READ_ONLY, TENSOR, VALUES, InOwnWords
from everychip.errors import DataError, EverychipError, known_names
from everychip.evaluation.setting import Setting
from everychip.scores import ACCURACY, Score
from everychip.statistics.paired_comparison import Comparison, compare
from everychip.statistics.stopping import Until
from everychip.statistics.two_stage import TwoStage, rule_of
from everychip.statistics.verdict import Verdict, verdict
from everychip.storage.frames import frame

if TYPE_CHECKING:
    import altair as alt


@dataclass(frozen=True, eq=False, config=VALUES)
class Draws(metaclass=InOwnWords):
    """What each chip of one trained network did with the test set; scores in float64, chips by number.

    `scores` holds every number that was measured of the chips, by name, and each is an attribute, too:
    `draws.accuracy`, `draws.nll`. `score` says which of them is judged and how it is read: it is `values`.

    `images` is how many test images each chip met; `whole_test` says that these were all of them, the same
    for every chip, and not a random part of its own. `until` says that the chips were watched, and the
    evaluation stopped when their mean was known well enough: its interval is then one that bears watching.
    `treatment` is what the mitigation of the chips has to report, such as the write cycles it takes.
    `purpose` and `cells` say which chips these are: what they were drawn for, and the matrices that were
    drawn, by name and shape; None where that is not known. `digital` is the judged score of the network
    without any hardware on the same test set, and `setting` names network, data and hardware; each is None
    where that is not known.

    >>> print(Draws.of([{"accuracy": a, "nll": 0.3, "brier": 0.1, "ece": 0.02, "confidence": 0.9}
    ...                 for a in (0.90, 0.92, 0.94)], seed=0, images=360))
    mean 92.0 % ± 5.0 (95 %), worst 90.0 of 3, KPP5 90.0 [–, 92.0]; KPP5 has no lower bound:
    at 95 % it needs 72 chips, these are 3; failures of up to 63 % of chips may be unseen
    """

    scores: Annotated[Mapping[str, Annotated[Float[Tensor, " chips"], TENSOR]], READ_ONLY]
    chip: Annotated[Int[Tensor, " chips"], TENSOR]
    seed: int
    images: int
    whole_test: bool = True
    until: Until | TwoStage | None = None
    treatment: tuple[Mapping[str, Any], ...] = ()
    purpose: str = "evaluate"
    cells: tuple[str, ...] | None = field(default=None, repr=False)
    score: Score = ACCURACY
    digital: float | None = None
    setting: Setting | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        scores = {name: torch.as_tensor(one).detach().cpu().double() for name, one in self.scores.items()}
        object.__setattr__(self, "scores", MappingProxyType(scores))
        object.__setattr__(self, "chip", torch.as_tensor(self.chip).detach().cpu().long())
        if self.score.name not in scores:
            raise DataError("draws.score", found=f"{self.score.name!r}", remedy=known_names("", scores))
        shapes = {tuple(column.shape) for column in (*scores.values(), self.chip)}
        if shapes != {(self.chip.numel(),)} or not len(self):
            raise DataError(
                "draws",
                found=f"columns of shapes {sorted(shapes)}",
                expected="one value per chip, at least one chip",
            )
        number, times = Counter(self.chip.tolist()).most_common(1)[0]
        if times > 1:
            raise DataError("draws", found=f"chip {number} more than once", expected="every chip once")

    def __getattr__(self, name: str) -> Tensor:
        scores = self.__dict__.get("scores", {})
        if name in scores:
            column: Tensor = scores[name]
            return column
        known = f"; scores: {', '.join(scores)}" if scores and not name.startswith("_") else ""
        raise AttributeError(f"these draws have no {name!r}{known}")

    @property
    def values(self) -> Float[Tensor, " chips"]:
        """The score that is judged, of every chip."""
        return self.scores[self.score.name]

    @property
    def said(self) -> tuple[Mapping[str, Any], ...]:
        """What a run's record keeps beside the scores: of the chips' treatment, and of their sampling."""
        staged = (self.until.facts(),) if isinstance(self.until, TwoStage) else ()
        return (*self.treatment, *staged)

    @classmethod
    def of(
        cls,
        rows: Sequence[Mapping[str, float]],
        *,
        seed: int,
        images: int,
        chips: Sequence[int] | None = None,
        whole_test: bool = True,
        until: Until | TwoStage | None = None,
        treatment: tuple[Mapping[str, Any], ...] = (),
        score: Score = ACCURACY,
    ) -> Draws:
        """Draws from one row of scores by name for each chip, 0, 1, 2, … unless their numbers are given.

        Args:
            rows: the scores of each chip, by name.
            seed: of all draws, a whole number.
            images: how many test images a chip met.
            chips: the chips' numbers.
            whole_test: whether each met the whole test set.
            until: the rule by which the evaluation stopped.
            treatment: what mitigations and policies report.
            score: which of them is judged.

        Returns:
            The draws; scores in float64, one per chip.
        """
        numbers = range(len(rows)) if chips is None else chips
        names = rows[0] if rows else (score.name,)
        return cls(
            scores={name: torch.tensor([row[name] for row in rows], dtype=torch.float64) for name in names},
            chip=torch.tensor(list(numbers)),
            seed=operator.index(seed),
            images=images,
            whole_test=whole_test,
            until=until,
            treatment=treatment,
            score=score,
        )

    @classmethod
    def join(cls, parts: Sequence[Draws]) -> Draws:
        """The draws of a resumed or divided evaluation as one, in the order of the chips' numbers.

        Args:
            parts: draws of one setting, of different chips.

        Returns:
            All chips in one, in the order of their numbers.
        """
        if not parts:
            raise DataError("draws", found="nothing to join", expected="at least one set of draws")
        first = parts[0]
        for part in parts[1:]:
            first._must_share_setting(part, where="Draws.join")
        order = torch.cat([part.chip for part in parts]).argsort(stable=True)
        until = next((part.until for part in parts if part.until), None)
        digital = next((part.digital for part in parts if part.digital is not None), None)
        return replace(
            first,
            scores={name: torch.cat([part.scores[name] for part in parts])[order] for name in first.scores},
            chip=torch.cat([part.chip for part in parts])[order],
            until=until,
            digital=digital,
        )

    def __len__(self) -> int:
        return self.chip.numel()

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """The chips one by one, each as a row of `columns()`."""
        columns = self.columns()
        return (dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True))

    def verdict(self, *, target: float | None = None, k: float = 5.0, level: float = 0.95) -> Verdict:
        """What these draws say of the network: mean, worst, KPP_k, and yield where a target is given.

        Args:
            target: an accuracy, 0 … 1, whose yield is requested.
            k: the percentile, 0 … 100 %.
            level: the coverage of intervals, 0 … 1.

        Returns:
            Mean, worst, KPP_k and yield, each with its interval or a refusal.
        """
        fixed = verdict(
            self.values,
            target=target,
            k=k,
            whole_test=self.whole_test,
            images=self.images,
            level=level,
            score=self.score,
        )
        found = fixed if self.until is None else self.until.verdict(fixed, self.values)
        read = "" if self.setting is None else self.setting.read_at
        return replace(found, digital=self.digital, read=read)

    def compare(self, other: Draws, *, level: float = 0.95) -> Comparison:
        """This network's score less the other's, chip by chip over the same chips.

        Args:
            other: draws of the same chips.
            level: the coverage of intervals, 0 … 1.

        Returns:
            The mean difference with its interval and p-values.
        """
        self._must_share_setting(other, where="Draws.compare")
        mine, theirs = self.chip.sort(), other.chip.sort()
        if not torch.equal(mine.values, theirs.values):
            raise DataError(
                "Draws.compare",
                found=f"{len(self)} chips beside {len(other)}, not the same ones",
                expected="the same chips in both",
                remedy=self._the_same_again("evaluate both with the same seed and number of chips"),
            )
        a, b = self.values[mine.indices], other.values[theirs.indices]
        return compare(a, b, level=level, score=self.score)

    def columns(self) -> dict[str, list[float] | list[int] | list[bool]]:
        """The draws as plain columns, one entry per chip, for a table or a parquet file."""
        n = len(self)
        return {
            **{name: column.tolist() for name, column in self.scores.items()},
            "chip": self.chip.tolist(),
            "seed": [self.seed] * n,
            "images": [self.images] * n,
            "whole_test": [self.whole_test] * n,
        }

    def to_pandas(self) -> Any:
        """The draws as a pandas DataFrame; pandas comes with `pip install "everychip[pandas]"`.

        Returns:
            A DataFrame of `columns()`, one row per chip, the metrics in float64.
        """
        return frame(self.columns(), "pandas", where="Draws.to_pandas")

    def to_polars(self) -> Any:
        """The draws as a polars DataFrame; polars comes with `pip install "everychip[polars]"`.

        Returns:
            A DataFrame of `columns()`, one row per chip, the metrics in Float64.
        """
        return frame(self.columns(), "polars", where="Draws.to_polars")

    def report(self, path: str | Path, *, target: float | None = None, title: str = "") -> Path:
        """Write these draws as one HTML page: `everychip.write_report(draws, output=path)`.

        Args:
            path: the file, or a folder, in which it is called report.html.
            target: the score whose yield the page begins with.
            title: its heading; absent, the network and the device.

        Returns:
            The file.
        """
        from everychip import write_report  # what a user would call: a report stands above an evaluation

        return write_report(self, output=path, target=target, title=title)

    def save(self, path: str | Path) -> None:
        """Write the draws as one parquet file, which `load` reads back to the bit.

        Args:
            path: the file; it appears whole or not at all, and replaces an older one.
        """
        from everychip.evaluation.draws_file import write

        about = {
            "purpose": self.purpose,
            "until": None if self.until is None else asdict(self.until),
            "treatment": [dict(facts) for facts in self.treatment],
            "cells": self.cells,
            **({} if self.score == ACCURACY else {"score": self.score.facts()}),
            **({} if self.digital is None else {"digital": self.digital}),
            **({} if self.setting is None else {"setting": self.setting.facts()}),
        }
        write(Path(path), self.columns(), about)

    @classmethod
    def load(cls, path: str | Path) -> Draws:
        """The draws of a file that `save` wrote; a changed one is refused.

        Args:
            path: the parquet file.

        Returns:
            The same draws, with seed, images, purpose, stopping rule and treatment.

        >>> import tempfile
        >>> row = {"accuracy": 0.9, "nll": 0.3, "brier": 0.1, "ece": 0.02, "confidence": 0.9}
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     Draws.of([row, row], seed=3, images=360).save(f"{folder}/draws.parquet")
        ...     Draws.load(f"{folder}/draws.parquet")
        Draws(2 chips, mean accuracy 90.0 %, seed 3, 360 images)
        """
        from everychip.evaluation.draws_file import damaged, read

        columns, about = read(Path(path))
        try:
            scores = [name for name in columns if name not in ("chip", "seed", "images", "whole_test")]
            until = about["until"]
            return cls(
                scores={name: torch.tensor(columns[name], dtype=torch.float64) for name in scores},
                chip=torch.tensor(columns["chip"]),
                **{name: columns[name][0] for name in ("seed", "images", "whole_test")},
                purpose=about["purpose"],
                until=rule_of(until),
                treatment=tuple(about["treatment"]),
                cells=None if about["cells"] is None else tuple(about["cells"]),
                score=Score.of(about.get("score")),
                digital=about.get("digital"),
                setting=None if about.get("setting") is None else Setting(**about["setting"]),
            )
        except EverychipError:
            raise
        except (KeyError, TypeError, ValueError, IndexError) as error:
            raise damaged(path, error) from None

    def plot(self, *, target: float | None = None, k: float = 5.0) -> alt.LayerChart:
        """A chart with a tick for each chip, the mean and its interval, KPP_k and the worst chip.

        Args:
            target, k: as in `verdict`.

        Returns:
            An Altair chart: a notebook shows it, and `.save("draws.svg")` writes it.
        """
        from everychip.charts.draws_chart import chart_of_chips

        return chart_of_chips(self.values, self.chip.tolist(), self.verdict(target=target, k=k).marks())

    def __str__(self) -> str:
        return str(self.verdict())

    def __repr__(self) -> str:
        chips = "1 chip" if len(self) == 1 else f"{len(self)} chips"
        mean = f"mean {self.score.name} {self.score.text(float(self.values.mean()))}"
        # A function that runs the chip goes through its data itself: nobody counts them.
        seen = f", {self.images} images" if self.images else ""
        return f"Draws({chips}, {mean}, seed {self.seed}{seen})"

    def _repr_html_(self) -> str:
        return self.verdict()._repr_html_()

    def _must_share_setting(self, other: Draws, *, where: str) -> None:
        for name in ("seed", "images", "whole_test", "purpose", "score"):
            mine, theirs = getattr(self, name), getattr(other, name)
            if mine != theirs:
                raise DataError(
                    where,
                    found=f"{name} {mine} beside {name} {theirs}",
                    expected=f"the same {name}: only then are these the same chips and images",
                    remedy=self._the_same_again("evaluate both in the same way"),
                )
        self._must_be_of_cells_of(other, where=where)

    def _the_same_again(self, usual: str) -> str:
        """How another network meets these chips and images, where a rule chose how many: not by the rule."""
        if self.until is None or self.chip.tolist() != list(range(len(self))):
            return usual
        images = "" if self.whole_test else f", images={self.images}"
        return f"evaluate the other with chips={len(self)}{images}, seed={self.seed} and without until"

    def _must_be_of_cells_of(self, other: Draws, *, where: str) -> None:
        """Chips are the same where their matrices are; one network may keep more of them digital."""
        mine, theirs = set(self.cells or ()), set(other.cells or ())
        if self.cells is None or other.cells is None or mine <= theirs or theirs <= mine:
            return
        found = f"{min(mine - theirs)} beside {min(theirs - mine)}"
        raise DataError(
            where,
            found=f"draws of other cells: {found}",
            expected="the same matrices by name and shape: only then are these the same chips",
            remedy="evaluate the network itself in both cases, without a wrapper around one of them",
        )
