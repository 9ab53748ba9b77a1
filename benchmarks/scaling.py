"""One worker beside two: an evaluation in forks, a run in blocks, a study; and what it costs to start.

    python benchmarks/scaling.py [--rounds 5] [--seconds 120] [--json benchmarks/scaling.json]

Every worker has one thread. One and two workers take turns, in an order that changes with every round; times
are seconds of the clock, from the call to its result, starts and merging included, so the machine must have
two idle cores. A speed-up is the median over rounds of one worker's time over two workers' in the same round.
`--seconds` is about how long one worker takes for each work. `--seconds 1 --rounds 1` only tries the script.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

import everychip as ec
from everychip.evaluation.spreading import spread
from everychip.rng import rng_for
from everychip.storage.table import merge_tables
from everychip.study.blocks import Block
from everychip.study.compute import Compute
from everychip.study.dispatch import Dispatch
from everychip.study.environment import environment
from everychip.study.execution import measure_block, opened, train_run
from everychip.study.executors import Processes
from everychip.study.executors.work import execute, unheard
from everychip.study.experiment import Experiment
from everychip.study.grid import Study
from everychip.study.study import run_study

HARDWARE = ec.Hardware(device=ec.devices.preset("RRAM1", sigma=0.2))
RECIPE: dict[str, Any] = {
    "name": "scaling",
    "base": {
        "data": "digits",
        "model": "lenet",
        "method": "noise_injection",
        "hardware": {"device": {"kind": "gaussian", "sigma": 0.2}},
        "training": {"epochs": 1},
        "compute": {"threads": 1},
    },
}
Work = Callable[[int], float]
"""Seconds that so many workers take."""


def timed(work: Callable[[], object]) -> float:
    """Seconds of the clock."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def evaluation(seconds: float) -> tuple[int, Work]:
    """`evaluate` of a VGG-8 of width 16 on 500 images, in this process and in two forks."""
    rng = rng_for(0, "benchmark")
    x, y = torch.randn(500, 1, 32, 32, generator=rng), torch.randint(10, (500,), generator=rng)
    model = ec.models.VGG8(width=16).build((1, 32, 32), 10, seed=0)

    def measured(chips: int, workers: int) -> float:
        return timed(
            lambda: ec.evaluate(model, HARDWARE, (x, y), chips=chips, workers=workers, progress=False)
        )

    chips = _as_long(seconds, lambda n: measured(n, 1))
    return chips, lambda workers: measured(chips, workers)


def study_of(runs: int, chips: int) -> Study:
    """So many runs, each of a seed of its own."""
    base = {**RECIPE["base"], "evaluation": {"sigma": [0.2], "chips": chips}}
    return Study.read({**RECIPE, "base": base, "sweep": {"seed": list(range(runs))}}, where="scaling")


def one_run(seconds: float, scratch: Path) -> tuple[int, Work]:
    """The chips of one run that is trained already: in this process, or in blocks by two others."""

    def measured(chips: int, workers: int) -> float:
        (experiment,), folder = study_of(1, chips).expand().experiments, scratch / "run"
        shutil.rmtree(folder, ignore_errors=True)
        train_run(experiment, folder)
        words: list[str] = []
        work = Dispatch(
            on=Processes(),
            workers=workers,
            place=lambda _: folder,
            over=lambda _, said: words.append(said),
            begun=lambda _: None,
            tell=unheard,
            folder=scratch,
            trained={},
        )
        spent = timed(lambda: work.execute([experiment]))
        _must_be_done(words == [""], words)
        return spent

    chips = _as_long(seconds, lambda n: measured(n, 1))
    return chips, lambda workers: measured(chips, workers)


def four_runs(seconds: float, scratch: Path) -> tuple[int, Work]:
    """A study of four runs, trainings included: run after run, the last two in blocks."""

    def measured(runs: int, chips: int, workers: int) -> float:
        folder = scratch / "study"
        shutil.rmtree(folder, ignore_errors=True)
        failed: list[str] = []
        spent = timed(
            lambda: failed.extend(run_study(study_of(runs, chips), folder, workers=workers).failed.values())
        )
        _must_be_done(not failed, failed)
        return spent

    chips = _as_long(seconds / 4, lambda n: measured(1, n, 1))
    return chips, lambda workers: measured(4, chips, workers)


def _must_be_done(done: bool, words: list[str]) -> None:
    if not done:
        raise SystemExit(f"a run failed: {words}")


def _as_long(seconds: float, spent: Callable[[int], float]) -> int:
    """How many chips take so long, by the difference between 10 and 40 of them."""
    few, more = min(spent(10) for _ in range(2)), min(spent(40) for _ in range(2))
    return max(2, round(seconds / max((more - few) / 30, 1e-4)))


def overheads(rounds: int, scratch: Path) -> dict[str, float]:
    """What there is to wait for beside the chips, in seconds, as medians.

    fork: until a fork has answered. process: until a worker process has answered, PyTorch imported; job:
    until it has answered again. block: a block of one chip, data and network read first. driver: what the
    driver does for each run of a study, one after the other: its files compared, its draws merged.
    """
    (experiment,), folder = study_of(1, 1).expand().experiments, scratch / "overheads"
    execute(experiment.table(), str(folder), "", tell=unheard)
    (trained,), place = study_of(1, 2).expand().experiments, scratch / "trained"
    train_run(trained, place)
    found: dict[str, list[float]] = {name: [] for name in ("fork", "process", "job", "block", "driver")}
    for number in range(rounds):
        found["fork"].append(timed(lambda: next(spread(lambda _: [{"x": 0.0}], range(1), workers=1))))
        with Processes(apart=True).opened(1, unheard, scratch) as pool:
            for name in ("process", "job"):
                found[name].append(timed(lambda: pool.submit(experiment, folder, None).result()))
        block = Block(0, number % 2, 1)
        for path in place.glob("partial/block-*"):
            path.unlink()
        found["block"].append(timed(lambda: measure_block(trained, place, block)))  # noqa: B023
        found["driver"].append(timed(lambda: _driver(experiment, folder, scratch / "merged.parquet")))
    return {name: statistics.median(values) for name, values in found.items()}


def _driver(experiment: Experiment, folder: Path, merged: Path) -> None:
    run = opened(experiment, folder)
    merge_tables(merged, [run.draws_path])


def side_by_side(name: str, chips: int, work: Work, rounds: int) -> dict[str, Any]:
    """One worker and two in turns."""
    seconds: dict[int, list[float]] = {1: [], 2: []}
    for number in range(rounds):
        for workers in (1, 2) if number % 2 == 0 else (2, 1):
            seconds[workers].append(work(workers))
    speedups = [one / two for one, two in zip(seconds[1], seconds[2], strict=True)]
    row = {
        "work": name,
        "chips": chips,
        "one": statistics.median(seconds[1]),
        "two": statistics.median(seconds[2]),
        "speedup": statistics.median(speedups),
        "speedup_least": min(speedups),
        "speedup_most": max(speedups),
    }
    print(row, flush=True)
    return row


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=120.0)
    parser.add_argument("--json", type=Path, default=Path(__file__).with_suffix(".json"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        found: dict[str, Any] = {
            "command": "python benchmarks/scaling.py",
            "rounds": options.rounds,
            "seconds": options.seconds,
            "environment": environment(Compute(threads=1)),
            "overheads": overheads(options.rounds, scratch),
            "rows": [],
        }
        for name, (chips, work) in {
            "evaluation, forks": evaluation(options.seconds),
            "one run, blocks": one_run(options.seconds, scratch),
            "study of four runs": four_runs(options.seconds, scratch),
        }.items():
            found["rows"].append(side_by_side(name, chips, work, options.rounds))
            options.json.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
