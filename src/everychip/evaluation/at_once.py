"""How many chips are run in one call: what is asked for, or what a short measurement finds fastest."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any, Literal

import torch

from everychip.config.validation import must_be
from everychip.data import Examples
from everychip.errors import ConfigError
from everychip.evaluation.bench import Bench, Programmed
from everychip.network.eager import is_compiled
from everychip.network.modes import evaluating
from everychip.network.together import NotTogetherError

AtOnce = int | Literal["auto"]
TRIED = (4, 16)
"""Chips in one call that "auto" tries beside one, in this order, while more of them are faster."""
MOST = 1_000
"""Chips in one call at most: each takes the memory of a batch."""
WORTH = 0.9
"""More at once are chosen where a chip then takes at most this share of its time."""


def how_many(value: Any, where: str) -> None:
    """Refuse what is neither a number of chips nor "auto"."""
    if value != "auto":
        must_be(value, where, whole=True, least=1, most=MOST, remedy='or "auto", which measures')


def run_together(bench: Bench, programmed: Programmed, asked: AtOnce, *, seed: int, purpose: str) -> Bench:
    """The bench as it runs several chips in one call, once it has run them so for a trial.

    Args:
        bench: the network and its test data.
        programmed: gives the chip of a number.
        asked: so many; or "auto", which takes one where several cannot be run or are not faster.
        seed: of all draws.
        purpose: which chips.

    Returns:
        The bench, with the number of chips in a call.
    """
    if asked == 1:
        return bench
    trial: dict[str, Any] = {"seed": seed, "purpose": purpose}
    why_not = _cannot(bench)
    if asked == "auto":
        return replace(bench, at_once=1 if why_not else _fastest(bench, programmed, **trial))
    try:
        if why_not:
            raise NotTogetherError(why_not)
        _tried(bench, programmed, asked, **trial)
    except NotTogetherError as error:
        raise ConfigError("evaluate.at_once", found=f"{asked} beside {error.found}", expected="1") from error
    return replace(bench, at_once=asked)


def _tried(bench: Bench, programmed: Programmed, number: int, *, seed: int, purpose: str) -> None:
    """Run chips in one call for a trial: on two inputs; where that compiles, on all, whatever their batches.

    It is done here and not by workers, each of which would compile.
    """
    seen = bench if is_compiled(bench.runner.model) else _few(bench, 2)
    _seconds(seen, programmed, number, seed=seed, purpose=purpose)


def _cannot(bench: Bench) -> str:
    """What of an evaluation keeps chips apart, or nothing."""
    if bench.asked.own is not None:
        return "a score of one's own"
    if not isinstance(bench.data, Examples):
        return "a stream"
    return "" if bench.whole_test else "images of its own for each chip"


def _fastest(bench: Bench, programmed: Programmed, *, seed: int, purpose: str) -> int:
    few = _few(bench, bench.runner.batch_size)
    best, least = 1, _per_chip(few, programmed, 1, seed=seed, purpose=purpose)
    for number in TRIED:
        try:
            spent = _per_chip(few, programmed, number, seed=seed, purpose=purpose)
        except NotTogetherError:
            break
        if spent > WORTH * least:
            break
        best, least = number, spent
    if best > 1:
        _tried(bench, programmed, best, seed=seed, purpose=purpose)
    return best


def _few(bench: Bench, rows: int) -> Bench:
    """The same bench with its first inputs only."""
    data = bench.data.take(slice(rows))
    return replace(bench, data=data, images=len(data))


def _per_chip(bench: Bench, programmed: Programmed, number: int, *, seed: int, purpose: str) -> float:
    """Seconds of one chip, the better of two tries after one that pays for what is made once."""
    tries = [_seconds(bench, programmed, number, seed=seed, purpose=purpose) for _ in range(3)]
    return min(tries[1:]) / number


def _seconds(bench: Bench, programmed: Programmed, number: int, *, seed: int, purpose: str) -> float:
    """Seconds of the clock for the first chips, all in one call."""
    begun = time.perf_counter()
    with torch.no_grad(), evaluating(bench.runner.model):
        list(replace(bench, at_once=number).rows(programmed, chips=range(number), seed=seed, purpose=purpose))
    return time.perf_counter() - begun
