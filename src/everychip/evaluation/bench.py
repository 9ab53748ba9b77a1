"""What chips are measured by: a task or a function, a runner, and the test data, in memory or streamed."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Self, TypeVar

import torch
from torch import Tensor, nn

from everychip.data import Examples
from everychip.data.inputs import moved
from everychip.data.stream import Stream
from everychip.errors import ConfigError
from everychip.evaluation.draws import Draws
from everychip.evaluation.spreading import Row, spread
from everychip.evaluation.untreated import Untreated
from everychip.hardware.chip import Purpose
from everychip.mitigate import Address
from everychip.network.modes import evaluating
from everychip.network.probing import probe
from everychip.network.running import Precision, Runner
from everychip.network.together import each_together, stacked
from everychip.progress import Event, Progress, listening
from everychip.rng import rng_for, seeded_global_generator
from everychip.scores import Score
from everychip.statistics.stopping import Until, enough
from everychip.statistics.two_stage import TwoStage
from everychip.tasks import OwnScore, Task, scored_by

Programmed = Callable[[int], dict[str, Tensor]]
"""The chip of a number."""


@dataclass(frozen=True)
class Asked:
    """The network's task, and a function that judges it in place of the task's score."""

    task: Task
    own: OwnScore | None = None

    @classmethod
    def of(cls, task: Any = "classification", score: Any = None) -> Self:
        """The question, read from any of its forms."""
        return cls(Task.parse(task), None if score is None else scored_by(score))

    @property
    def score(self) -> Score:
        """What is judged."""
        return self.task.headline if self.own is None else self.own.score

    def bench(
        self,
        model: nn.Module,
        data: Any,
        *,
        images: int | None = None,
        precision: Precision = "float32",
        batch_size: int = 500,
    ) -> Bench:
        """A model and its test data, ready for chips; what does not suit the task is refused here."""
        how: dict[str, Any] = {"precision": precision, "batch_size": batch_size}
        if self.own is not None and self.own.runs:
            _must_be_all(images, "a function that runs the chip itself")
            return Bench(self, Runner(model, **how), data, len(data) if isinstance(data, Examples) else 0)
        streamed = isinstance(data, Stream)
        test = None if streamed else self.task.examples(data, split="test")
        few = data.first() if test is None else test.take(slice(2))
        runner = replace(self._fitting(model, few, None if test is None else test.y), **how)
        if test is None:
            _must_be_all(images, "a stream")
            return Bench(self, runner, data, 0)
        test = self.task.prepared(runner, test)
        kept = runner.kept(test.x)
        test = test if kept is test.x else replace(test, x=kept)
        return Bench(self, runner, test, len(test) if images is None else min(images, len(test)))

    def _fitting(self, model: nn.Module, few: Examples, every: Any) -> Runner:
        """The runner, once a trial run has shown that the answers can be compared with the targets."""
        seen = probe(model, few.x)
        runner = Runner(model, seen.layout)
        if few.y is not None and self.own is None:
            answer = self.task.answer(seen.output)
            if self.task.kind != "classification" or not _is_row_each(answer, len(few)):
                self.task.validate_for(answer, moved(few.y, runner.device), every=every)
        return runner


def _is_row_each(answer: Tensor, inputs: int) -> bool:
    """Whether an output is a row of logits for each input, whatever axes of length 1 it has beside."""
    return answer.ndim > 1 and answer.shape[-1] > 1 and answer.numel() == inputs * answer.shape[-1]


@dataclass
class Bench:
    """A model, what it is asked, and its test data, ready to measure chips."""

    asked: Asked
    runner: Runner
    data: Any
    images: int
    at_once: int = 1
    _beside: float | None = None

    @property
    def whole_test(self) -> bool:
        """Whether every chip is measured on all of the test data."""
        return not isinstance(self.data, Examples) or self.images == len(self.data)

    def rows(
        self, programmed: Programmed, *, chips: range, seed: int, purpose: str
    ) -> Generator[Row, None, None]:
        """The scores of chip after chip, by name; chips: their numbers."""
        if self.at_once > 1:
            yield from self._together(programmed, chips=chips, seed=seed, purpose=purpose)
        elif not isinstance(self.data, Stream) or (self.asked.own is not None and self.asked.own.runs):
            for chip in chips:
                seen, path = self.part(seed=seed, chip=chip), (purpose, chip, "forward")
                yield self.measure(partial(programmed, chip), seen, seed=seed, path=path)
        else:
            yield from self._streamed(self.data, programmed, chips=chips, seed=seed, purpose=purpose)

    def digital(self, *, seed: int) -> float | None:
        """The judged score of the network without any hardware, where it is one of the same test set.

        A stream is not read again for it: it was measured beside the first chips.
        """
        if not self.whole_test or (self.asked.own is None and self.asked.task.relative):
            return None
        if isinstance(self.data, Stream):
            return self._beside
        with torch.no_grad(), evaluating(self.runner.model):
            return self.measure(dict, self.data, seed=seed, path=("digital",))[self.asked.score.name]

    def measure(
        self, programmed: Callable[[], Mapping[str, Tensor]], seen: Any, *, seed: int, path: Address
    ) -> Row:
        """The scores of one chip by name; what draws from PyTorch's generator draws at (seed, *path).

        Args:
            programmed: makes the chip, which has no name here, so that it is gone before the next is made.
            seen: the test data that it is measured on.
            seed: of all draws.
            path: where below it those have their place that layers make in evaluation, too.

        Returns:
            Every score by its name.
        """
        with seeded_global_generator(seed, *path):
            if self.asked.own is None:
                return self.asked.task.measure(self.runner, programmed(), seen)
            return self.asked.own.measure(self.runner, programmed(), seen, self.asked.task)

    def part(self, *, seed: int, chip: int) -> Any:
        """The test data that a chip is measured on: all of it, or its own random images."""
        if self.whole_test:
            return self.data
        return part_of(self.data, self.images, seed=seed, chip=chip)

    def _together(self, programmed: Programmed, *, chips: range, seed: int, purpose: str) -> Iterator[Row]:
        """Several chips in one call; the last is filled with copies of the last chip, which nobody scores."""
        task = self.asked.task
        for start in range(0, len(chips), self.at_once):
            numbers = chips[start : start + self.at_once]
            meters = task.together(len(numbers))
            filled = [*numbers, *[numbers[-1]] * (self.at_once - len(numbers))]
            written = _written(programmed, filled, seed=seed, purpose=purpose)
            each_together(self.runner, written, self.data, meters.update)
            del written
            yield from meters.compute()

    def _streamed(
        self, stream: Stream, programmed: Programmed, *, chips: range, seed: int, purpose: str
    ) -> Iterator[Row]:
        """Several chips for each pass over the data, every batch read once for all of them."""
        if self.asked.own is not None:
            raise ConfigError(
                "evaluate.score",
                found="a function of all predictions, and a stream that is not kept",
                expected="data in memory, or a function of a chip that runs itself: fn(run, data)",
            )
        task = self.asked.task
        for start in range(0, len(chips), stream.chips):
            numbers = chips[start : start + stream.chips]
            written = {chip: programmed(chip) for chip in numbers}
            meters = {chip: task.meter() for chip in numbers}
            digital = task.meter() if 0 in numbers else None
            self.images = 0
            for batch, seen in enumerate(stream):
                part = task.prepared(self.runner, task.examples(seen, split="test"))
                self.images += len(part)
                for chip in numbers:
                    with seeded_global_generator(seed, purpose, chip, "forward", batch):
                        self.runner.each(written[chip], part, task.updating(meters[chip]))
                if digital is not None:
                    with seeded_global_generator(seed, "digital", batch):
                        self.runner.each({}, part, task.updating(digital))
            if digital is not None:
                self._beside = digital.compute()[self.asked.score.name]
            yield from (meters[chip].compute() for chip in numbers)


def measured(
    bench: Bench,
    programmed: Programmed,
    until: Until | TwoStage | None,
    *,
    chips: range,
    seed: int,
    purpose: Purpose,
    progress: Progress,
    workers: int = 1,
) -> Draws:
    """Draws of chip after chip, until they are enough; chips: their numbers."""
    stops = until.stops() if isinstance(until, TwoStage) else enough(until)
    name = bench.asked.score.name
    rows: list[Row] = []

    def of(numbers: range) -> Generator[Row, None, None]:
        return bench.rows(programmed, chips=numbers, seed=seed, purpose=purpose)

    # A rule of stopping takes the chips in order, whoever measures them; what was measured ahead is left.
    found = of(chips) if workers == 1 else spread(of, chips, workers=workers, at_once=bench.at_once)
    with torch.no_grad(), listening(progress) as tell, closing(found):
        for row in found:
            rows.append(row)
            tell(Event("chips", len(rows), len(chips), {name: row[name]}))
            if stops(row[name]):
                break
    known: dict[str, Any] = {"images": bench.images, "whole_test": bench.whole_test, "until": until}
    draws = Draws.of(rows, seed=seed, score=bench.asked.score, chips=chips[: len(rows)], **known)
    return replace(draws, purpose=purpose)


def _written(programmed: Programmed, chips: Sequence[int], *, seed: int, purpose: str) -> dict[str, Tensor]:
    """Several chips, [chips, …] under every name."""
    if isinstance(programmed, Untreated):
        return programmed.together(chips)
    held: dict[int, dict[str, Tensor]] = {}
    for chip in dict.fromkeys(chips):
        with seeded_global_generator(seed, purpose, chip, "forward"):
            held[chip] = programmed(chip)
    return stacked([held[chip] for chip in chips])


def _must_be_all(images: int | None, what: str) -> None:
    if images is not None:
        found = f"{images} images of {what}"
        raise ConfigError("evaluate.images", found=found, expected="none: every chip takes all of the data")


_Some = TypeVar("_Some", bound=Examples)


def part_of(data: _Some, k: int, *, seed: int, chip: int) -> _Some:
    """The test images that a chip is measured on: all of them, or its own random k."""
    if k == len(data):
        return data
    order = torch.randperm(len(data), generator=rng_for(seed, "images", chip))
    return data.take(order[:k])
