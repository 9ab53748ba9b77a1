"""One worker beside two: an evaluation in forks, a run in blocks, a study; and what it costs to start.

    python benchmarks/scaling.py [WORK …] [--rounds 5] [--seconds 120] [--json benchmarks/scaling.json]

Every worker has one thread. One and two workers take turns, in an order that changes with every round; times
are seconds of the clock, from the call to its result, starts and merging included, so the machine must have
two idle cores. A speed-up is the median over rounds of one worker's time over two workers' in the same round.
`--seconds` is about how long one worker takes for each work. `--seconds 1 --rounds 1` only tries the script.
"apart" is what the machine itself allows: processes that share nothing and are warm measure the same chips,
timed from their common start. Named works are measured anew at this length; other works and lengths stay.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

import torch

import everychip as ec
from everychip.config.toml import write_toml
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


def evaluation(network: str, seconds: float) -> tuple[int, Work]:
    """`evaluate` of a network in this process and in two forks."""
    model, data = NETWORKS[network]()

    def measured(chips: int, workers: int) -> float:
        return timed(lambda: ec.evaluate(model, HARDWARE, data, chips=chips, workers=workers, progress=False))

    chips = _as_long(seconds, lambda n: measured(n, 1))
    return chips, lambda workers: measured(chips, workers)


def apart(network: str, seconds: float) -> tuple[int, Work]:
    """Processes that share nothing, each with its part of the chips; started and warm before the clock is."""
    context = multiprocessing.get_context("spawn")

    def measured(chips: int, workers: int) -> float:
        begin, over = context.Barrier(workers + 1), context.Barrier(workers + 1)
        asked = (network, chips // workers, begin, over)
        processes = [context.Process(target=_alone, args=asked) for _ in range(workers)]
        for process in processes:
            process.start()
        begin.wait()
        spent = timed(over.wait)
        for process in processes:
            process.join()
        return spent

    chips = _as_long(seconds, lambda n: measured(n, 1))
    return chips, lambda workers: measured(chips, workers)


def _alone(network: str, chips: int, begin: Barrier, over: Barrier) -> None:
    torch.set_num_threads(1)
    model, data = NETWORKS[network]()
    ec.evaluate(model, HARDWARE, data, chips=3, progress=False)
    begin.wait()
    ec.evaluate(model, HARDWARE, data, chips=chips, progress=False)
    over.wait()


def vgg() -> tuple[torch.nn.Module, Any]:
    """A VGG-8 of width 16 and 500 images."""
    rng = rng_for(0, "benchmark")
    x, y = torch.randn(500, 1, 32, 32, generator=rng), torch.randint(10, (500,), generator=rng)
    return ec.models.VGG8(width=16).build((1, 32, 32), 10, seed=0), (x, y)


def lenet() -> tuple[torch.nn.Module, Any]:
    """A LeNet and the embedded digits."""
    splits = ec.data.Digits().load()
    return ec.models.LeNet().build(splits.input_shape, splits.classes, seed=0), splits.test


NETWORKS: dict[str, Callable[[], tuple[torch.nn.Module, Any]]] = {"vgg8-16": vgg, "lenet": lenet}


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


def command(seconds: float, scratch: Path) -> tuple[int, Work]:
    """The same study as `everychip study` runs it: Python's start and imports are in it, of one, too."""
    chips, _ = four_runs(seconds, scratch)
    recipe, folder = scratch / "recipe.toml", scratch / "command"

    def measured(workers: int) -> float:
        shutil.rmtree(folder, ignore_errors=True)
        asked = [sys.executable, "-m", "everychip", "study", str(recipe), "-o", str(folder)]
        return timed(
            lambda: subprocess.run([*asked, "--workers", str(workers)], check=True, capture_output=True)
        )

    base = {**RECIPE["base"], "evaluation": {"sigma": [0.2], "chips": chips}}
    recipe.write_text(write_toml({**RECIPE, "base": base, "sweep": {"seed": [0, 1, 2, 3]}}))
    return chips, measured


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


WORKS: dict[str, Callable[[float, Path], tuple[int, Work]]] = {
    "evaluation, forks": lambda seconds, _: evaluation("vgg8-16", seconds),
    "evaluation of lenet, forks": lambda seconds, _: evaluation("lenet", seconds),
    "one run, blocks": one_run,
    "study of four runs": four_runs,
    "everychip study, four runs": command,
    "apart, vgg8-16": lambda seconds, _: apart("vgg8-16", seconds),
    "apart, lenet": lambda seconds, _: apart("lenet", seconds),
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("works", nargs="*", default=list(WORKS), metavar="WORK")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=120.0)
    parser.add_argument("--json", type=Path, default=Path(__file__).with_suffix(".json"))
    options = parser.parse_args()
    for name in options.works:
        if name not in WORKS:
            parser.error(f"{name}: no such work; known: {', '.join(WORKS)}")
    torch.set_num_threads(1)
    before = json.loads(options.json.read_text())["rows"] if options.json.exists() else []
    asked = {(name, options.seconds) for name in options.works}
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        found: dict[str, Any] = {
            "command": "python benchmarks/scaling.py",
            "rounds": options.rounds,
            "environment": environment(Compute(threads=1)),
            "overheads": overheads(options.rounds, scratch),
            "rows": [row for row in before if (row["work"], row["seconds"]) not in asked],
        }
        for name in options.works:
            chips, work = WORKS[name](options.seconds, scratch)
            row = side_by_side(name, chips, work, options.rounds)
            found["rows"].append({**row, "seconds": options.seconds})
            options.json.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
