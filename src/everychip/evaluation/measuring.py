"""Measuring: one chip, or chip after chip until they are enough."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import closing
from dataclasses import replace

import torch
from torch import Tensor, nn

from everychip.data import Examples
from everychip.data.inputs import taken
from everychip.evaluation.bench import Bench, Programmed
from everychip.evaluation.spreading import Row, spread
from everychip.hardware.chip import Purpose
from everychip.network.modes import evaluating
from everychip.network.probing import runner_for
from everychip.network.running import Precision, Runner
from everychip.progress import Event, Progress, listening
from everychip.statistics.stopping import Until, enough
from everychip.statistics.two_stage import TwoStage
from everychip.tasks import Classification, Task


def measure(
    model: nn.Module,
    chip: Mapping[str, Tensor],
    data: Examples,
    *,
    task: Task | None = None,
    batch_size: int = 500,
    precision: Precision = "float32",
    layout: torch.memory_format | None = None,
) -> dict[str, float]:
    """The metrics of one chip (or, with an empty chip, of the digital model) in evaluation mode.

    layout: the memory format of images and convolution weights; None finds out which the model can take.
    """
    runner = runner_for(model, taken(data.x, slice(2))) if layout is None else Runner(model, layout)
    runner = replace(runner, precision=precision, batch_size=batch_size)
    return (task or Classification()).measure(runner, chip, data)


def measured(
    bench: Bench,
    programmed: Programmed,
    *,
    chips: range,
    seed: int,
    purpose: Purpose,
    until: Until | TwoStage | None,
    progress: Progress,
    workers: int = 1,
) -> list[dict[str, float]]:
    """The scores of chip after chip, until they are enough; chips: their numbers."""
    name, stops = bench.asked.score.name, until.stops() if isinstance(until, TwoStage) else enough(until)
    rows: list[dict[str, float]] = []

    def of(numbers: range) -> Generator[Row, None, None]:
        return bench.rows(programmed, chips=numbers, seed=seed, purpose=purpose)

    # A rule of stopping takes the chips in order, whoever measures them; what was measured ahead is left.
    found = of(chips) if workers == 1 else spread(of, chips, workers=workers)
    with torch.no_grad(), evaluating(bench.runner.model), listening(progress) as tell, closing(found):
        for row in found:
            rows.append(row)
            tell(Event("chips", len(rows), len(chips), {name: row[name]}))
            if stops(row[name]):
                break
    return rows
