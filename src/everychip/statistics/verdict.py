"""What a set of draws says: mean, worst, k-th percentile, yield, each with its interval or a refusal."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from pydantic import TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass
from torch import Tensor

from everychip.charts.notebook import html_table
from everychip.config.result import plain
from everychip.config.validation import must_be
from everychip.errors import SampleSizeError, StoreError
from everychip.scores import ACCURACY, Score
from everychip.statistics.intervals import (
    HEADLINE_SEEDS,
    Interval,
    Values,
    chips_interval,
    mean_interval,
    sample,
    seeds_interval,
)
from everychip.statistics.percentiles import kpp, must_be_target, unseen, worst, yield_at
from everychip.storage.files import read_json, write_record
from everychip.storage.frames import frame

if TYPE_CHECKING:
    import altair as alt

    from everychip.charts.draws_chart import Marks

FORMAT = "everychip-verdict/1"
RARE = 0.01
"""The share of failing chips that a sample should have shown before nothing is said of it: 300 chips do."""
_SKEWED, _MANY = -2.0, 100
"""A skewness that a few failing chips have, and how many chips its interval should rest on."""


@dataclass(frozen=True)
class Verdict:
    """The statistics of the score of n chips from a number of training seeds.

    `mean` is over chips, or over seeds where there are enough. `worst`, `kpp` and `yield_` pool the chips,
    and speak of these trained networks: over S seeds they describe the even mixture of the S, and their
    binomial bounds are then on the safe side (Hoeffding, Ann. Math. Statist. 27, 1956). What the sample
    cannot support is None, and `refusals` says so in words. `cautions` says what the interval of the mean
    cannot know: the share of failing chips that so few chips may well not have shown, or that a few chips
    far below the others carry it. `digital` is the score of the network without any hardware, and `read` says
    how long after programming the chips were read, where they age.

    >>> print(verdict([0.90 + 0.0002 * i for i in range(200)], target=0.91))
    mean 92.0 % ± 0.2 (95 %), worst 90.0 of 200, KPP5 90.2 [90.1, 90.3], yield at 91 % 0.75 [0.68, 0.81];
    failures of up to 1.5 % of chips may be unseen
    """

    n: int
    seeds: int
    images: int | None
    mean: Interval
    worst: float | None
    kpp: Interval | None
    yield_: Interval | None
    k: float = 5.0
    target: float | None = None
    refusals: tuple[str, ...] = ()
    cautions: tuple[str, ...] = ()
    score: Score = ACCURACY
    digital: float | None = None
    read: str = ""

    @property
    def of(self) -> str:
        """Whose chips worst, KPP and yield speak of, where they pool those of several trained networks."""
        return f"of {self.seeds} networks' chips" if self.seeds > 1 else ""

    def __str__(self) -> str:
        told = [f"{name} {value}" for name, value in (*self._beside(), *self._pooled_rows())]
        parts = [mean_words(self.mean), *told]
        whose = f" {self.of}" if self.of and len(parts) > 1 else ""
        return "; ".join([", ".join(parts) + whose, *self.refusals, *self.cautions])

    def __repr__(self) -> str:
        return f"Verdict({self})"

    def _repr_html_(self) -> str:
        pooled = ((f"{what} {self.of}".strip(), text) for what, text in self._pooled_rows())
        mean = ("mean", mean_words(self.mean).removeprefix("mean "))
        return html_table([mean, *self._beside(), *pooled], [*self.refusals, *self.cautions])

    def columns(self) -> dict[str, list[Any]]:
        """Every statistic as a row: its name, estimate, bounds, and what the interval is over."""
        named = {"mean": self.mean, f"kpp{self.k:g}": self.kpp, "yield": self.yield_}
        rows = [(name, x.estimate, x.low, x.high, x.over) for name, x in named.items() if x is not None]
        alone = {"worst": self.worst, "digital": self.digital}
        rows += [(name, x, None, None, "") for name, x in alone.items() if x is not None]
        return {
            name: [row[n] for row in rows]
            for n, name in enumerate(("statistic", "estimate", "low", "high", "over"))
        }

    def to_pandas(self) -> Any:
        """The statistics as a pandas DataFrame; pandas comes with `pip install "everychip[pandas]"`.

        Returns:
            A DataFrame of `columns()`, a row per statistic.
        """
        return frame(self.columns(), "pandas", where="Verdict.to_pandas")

    def to_polars(self) -> Any:
        """The statistics as a polars DataFrame; polars comes with `pip install "everychip[polars]"`.

        Returns:
            A DataFrame of `columns()`, a row per statistic.
        """
        return frame(self.columns(), "polars", where="Verdict.to_polars")

    def facts(self) -> dict[str, Any]:
        """All of it as plain values, for JSON."""
        facts: dict[str, Any] = plain(self)
        return facts

    def save(self, path: str | Path) -> None:
        """Write the verdict as a JSON file, which `load` reads back.

        Args:
            path: the file; it appears whole or not at all, and replaces an older one.
        """
        write_record(Path(path), {"format": FORMAT, "verdict": self.facts()})

    @classmethod
    def load(cls, path: str | Path) -> Verdict:
        """The verdict of a file that `save` wrote; a changed one is refused.

        Args:
            path: the JSON file.

        Returns:
            The same verdict.

        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     verdict([0.9, 0.8, 0.7]).save(f"{folder}/verdict.json")
        ...     Verdict.load(f"{folder}/verdict.json") == verdict([0.9, 0.8, 0.7])
        True
        """
        data = read_json(Path(path), form=FORMAT, sealed=True, remedy="save the verdict again")
        try:
            return TypeAdapter(cls).validate_python(data.get("verdict"))
        except ValidationError as error:
            raise StoreError(
                str(path), found=f"a damaged file ({error.errors()[0]['msg']})", expected="a saved verdict"
            ) from None

    def plot(self) -> alt.LayerChart:
        """A chart of the mean with its interval, KPP_k and the worst chip; what is refused has no mark.

        Returns:
            An Altair chart: a notebook shows it, and `.save("verdict.svg")` writes it.
        """
        from everychip.charts.draws_chart import chart_of_marks

        return chart_of_marks(self.marks())

    def marks(self) -> Marks:
        """What a chart shows of it; what is refused has no mark."""
        from everychip.charts.draws_chart import Marks

        kpp = None if self.kpp is None else self.kpp.estimate
        known = (("mean", self.mean.estimate), (f"KPP{self.k:g}", kpp), ("worst", self.worst))
        points = tuple((name, value) for name, value in known if value is not None)
        low, high = self.mean.low, self.mean.high
        return Marks(self.score, points, None if low is None or high is None else (low, high))

    def _beside(self) -> list[tuple[str, str]]:
        """What a reader holds the mean against: when the chips were read, and the digital score."""
        rows = [("read", f"{self.read} after programming")] if self.read else []
        if self.digital is not None:
            rows.append(("digital", self.score.number(self.digital, digits=self.mean.plain_digits)))
        return rows

    def _pooled_rows(self) -> list[tuple[str, str]]:
        """What pools the chips, each as its name and its value."""
        rows = []
        if self.worst is not None:
            digits = self.mean.plain_digits
            rows.append(("worst", f"{self.score.number(self.worst, digits=digits)} of {self.n}"))
        if self.kpp is not None:
            digits = 1 if self.score.unit == "%" else self.mean.digits
            estimate = self.score.number(self.kpp.estimate, digits=digits)
            rows.append((f"KPP{self.k:g}", f"{estimate} {self.kpp.bounds(digits=digits)}"))
        if self.yield_ is not None and self.target is not None:
            bounds = self.yield_.bounds(scale=1, digits=2)
            rows.append((f"yield at {self.score.goal(self.target)}", f"{self.yield_.estimate:.2f} {bounds}"))
        return rows


def verdict(
    values: Values,
    *,
    target: float | None = None,
    k: float = 5.0,
    whole_test: bool = True,
    images: int | None = None,
    level: float = 0.95,
    score: Score = ACCURACY,
) -> Verdict:
    """The verdict on the chips of one trained network; score says what the values are.

    Where each chip met its own random part of the test set, its accuracy is the chip's blurred by the choice
    of images: the mean stands, and its t interval holds, but percentiles, worst and yield are refused.

    >>> print(verdict([0.9, 0.8, 0.7], whole_test=False, images=100))
    mean 80.0 % [55.2, 100.0] (95 %); no worst, KPP5 or yield: each chip met its own random 100 images,
    they need the whole test set on every chip; failures of up to 63 % of chips may be unseen
    """
    _must_be_asked(target, k, score)
    x = sample(values, where="verdict")
    within = score.within
    mean = mean_interval(x, level=level, within=within) if len(x) > 1 else _bare(float(x[0]), level=level)
    bare = Verdict(len(x), 1, images, replace(mean, score=score), None, None, None, k, target, score=score)
    return _pooled(x, bare, whole_test=whole_test)


def summarize(
    values_by_seed: Mapping[int, Values],
    *,
    target: float | None = None,
    k: float = 5.0,
    whole_test: bool = True,
    images: int | None = None,
    level: float = 0.95,
    score: Score = ACCURACY,
) -> Verdict:
    """The verdict on a method: one sample of chips for each training seed; score says what the values are.

    With at least 3 seeds the interval of the mean is over seeds, chips nested in them (`seeds_interval`).
    With fewer it is over the chips of these seeds, is labelled so, and a refusal says what is missing.

    >>> print(summarize({0: [0.90, 0.92, 0.94]}).mean)
    92.0 % [87.0, 97.0] (95 % over chips, one seed)
    """
    _must_be_asked(target, k, score)
    samples = {seed: sample(x, where=f"seed {seed}") for seed, x in values_by_seed.items()}
    if not samples:
        raise SampleSizeError("summarize", found="no seed", expected="at least 1")
    seeds, x = len(samples), torch.cat(list(samples.values()))
    if seeds >= HEADLINE_SEEDS:
        mean, words = seeds_interval(samples, level=level, within=score.within), None
    else:
        words = f"no interval over seeds: {seeds} seed{'' if seeds == 1 else 's'}, it needs {HEADLINE_SEEDS}"
        if min(len(part) for part in samples.values()) > 1:
            mean = chips_interval(samples, level=level, within=score.within)
        else:
            mean = _bare(sum(float(part.mean()) for part in samples.values()) / seeds, level=level)
    refusals = (words,) if words else ()
    mean = replace(mean, score=score)
    bare = Verdict(len(x), seeds, images, mean, None, None, None, k, target, refusals, score=score)
    return _pooled(x, bare, whole_test=whole_test)


def _must_be_asked(target: float | None, k: float, score: Score) -> None:
    """Refuse what the score cannot be, or what is no percentile."""
    must_be(k, "kpp.k", above=0, below=100)
    if target is not None:
        must_be_target(target, score)


def _bare(estimate: float, *, level: float) -> Interval:
    words = "no interval over chips: it needs 2 chips of every seed"
    return Interval(estimate, None, None, over="chips", level=level, refusal=words)


def _pooled(x: Tensor, bare: Verdict, *, whole_test: bool) -> Verdict:
    """The verdict with what needs every chip's own score: worst, percentile and yield."""
    score = bare.score
    bare = replace(bare, cautions=_cautions(score.sign * x, level=bare.mean.level))
    refusals = [*([bare.mean.refusal] if bare.mean.refusal else []), *bare.refusals]
    if not whole_test:
        part = f"{bare.images} images" if bare.images else "part of the test set"
        refusals.append(
            f"no worst, KPP{bare.k:g} or yield: each chip met its own random {part}, "
            "they need the whole test set on every chip"
        )
        return replace(bare, refusals=tuple(refusals))
    percentile = kpp(x, k=bare.k, level=bare.mean.level, score=score)
    if percentile.refusal:
        refusals.append(percentile.refusal)
    reached = None
    if bare.target is not None:
        reached = yield_at(x, target=bare.target, level=bare.mean.level, score=score)
    return replace(
        bare, worst=worst(x, score=score), kpp=percentile, yield_=reached, refusals=tuple(refusals)
    )


def _cautions(x: Tensor, *, level: float) -> tuple[str, ...]:
    """What may go wrong with the mean of so few chips, in words."""
    n, hidden = len(x), unseen(len(x), level=level)
    if _skewness(x) <= _SKEWED:
        words = f"the mean rests on a few bad chips among {n}: take {_MANY} or more"
        return (words,) if n < _MANY else ()
    return (f"failures of up to {100 * hidden:.2g} % of chips may be unseen",) if hidden > RARE else ()


def _skewness(x: Tensor) -> float:
    spread = float(x.std(correction=0))
    return float((x - x.mean()).pow(3).mean()) / spread**3 if spread > 0 else 0.0


def mean_words(mean: Interval) -> str:
    """A mean with half its interval, and what the interval is over.

    >>> mean_words(Interval(0.92, 0.9, 0.94, over="chips"))
    'mean 92.0 % ± 2.0 (95 %)'
    """
    score = mean.score
    if mean.half is None:
        return f"mean{score.named} {mean.text}"
    over = "" if mean.over == "chips" else f" over {mean.over}"
    digits, half = mean.digits, score.scale * mean.half
    width = f"± {half:.{digits}f}" if mean.even(digits) else mean.bounds(digits=digits)
    value = score.text(mean.estimate, digits=digits)
    return f"mean{score.named} {value} {width} ({100 * mean.level:g} %{over}{score.remark})"
