"""The pilot of a two-stage evaluation: a few chips on a few images each, and the plan that follows."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import torch

from everychip.data import Examples
from everychip.errors import ConfigError
from everychip.evaluation.bench import Bench, Programmed, part_of
from everychip.scores import ACCURACY
from everychip.statistics.stopping import Until
from everychip.statistics.two_stage import PILOT_CHIPS, PILOT_IMAGES, Components, TwoStage


def in_stages(
    bench: Bench, programmed: Programmed, rule: Until | None, *, images: int | None, chips: int, seed: int
) -> tuple[Bench, Until | TwoStage | None]:
    """The bench and the rule of an evaluation: as they are, or after a pilot where the rule has two stages.

    Args:
        bench: the model and its test data.
        programmed: gives the chip of a number.
        rule: the rule of stopping that is asked for.
        images: the images of each chip that were asked for beside it.
        chips: the most that may be spent.
        seed: of the draws.

    Returns:
        With two stages a bench of so many images a chip, and the plan.
    """
    if rule is None or not rule.two_stage:
        return bench, rule
    _must_be_free_to_choose(images)
    found = plan(bench, programmed, rule, chips=chips, seed=seed)
    return replace(bench, images=found.images), found


def plan(bench: Bench, programmed: Programmed, rule: Until, *, chips: int, seed: int) -> TwoStage:
    """How many images each chip is to meet, by the spread between chips and between images of a pilot.

    The pilot takes the evaluation's own first chips and the first of each one's images; no clock and no
    machine has a part in the plan, so that the same seed gives the same draws everywhere.

    Args:
        bench: the model and its test data.
        programmed: gives the chip of a number.
        rule: the half-width that is wanted.
        chips: the most that may be spent.
        seed: of the draws.

    Returns:
        The plan.
    """
    data = bench.data
    known = bench.asked.own is None and bench.asked.task.kind == "classification"
    if not known or bench.asked.score != ACCURACY or not isinstance(data, Examples):
        raise ConfigError(
            "evaluate.until",
            found="two-stage sampling of a score that is no share of images, or of a stream",
            expected="the accuracy of a classification, of data in memory",
            remedy='leave out "two-stage", or set images',
        )
    some = min(PILOT_IMAGES, len(data))
    if some < 2:
        raise ConfigError(
            "evaluate.until", found=f"{len(data)} test image", expected="2 or more for two-stage sampling"
        )
    pilot = min(PILOT_CHIPS, chips)
    accuracy = []
    with torch.no_grad():
        for chip in range(pilot):
            part = part_of(data, some, seed=seed, chip=chip)
            row = bench.measure(partial(programmed, chip), part, seed=seed, path=("pilot", chip))
            accuracy.append(row[ACCURACY.name])
    return TwoStage.planned(
        Components.of(accuracy, images=some, total=len(data)),
        half_width=rule.half_width,
        least=rule.least,
        most=chips,
        total=len(data),
    )


def _must_be_free_to_choose(images: int | None) -> None:
    if images is not None:
        raise ConfigError(
            "evaluate.images",
            found=f"{images} beside a two-stage evaluation",
            expected="none: it chooses how many images each chip meets",
            remedy='leave out images, or "two-stage"',
        )
