"""What a mean of ±0.5 points costs in two stages, beside the published protocol; what control variates save.

    python benchmarks/power/power.py [--trials 6000] [--json benchmarks/power/power.json]

The published protocol measures 1 000 chips on the whole test set; read chip by chip, it ends when its
interval, one that bears watching, is narrow enough (`until="±0.5"`). Its time is that of a chip on the whole
test set, measured, times the number of chips; that of two stages is measured whole. Both are CPU time of one
thread. Coverage is by simulation: chips and images from the files beside this script (`populations.py`), and
chips of known laws.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from populations import SIZES, population
from simulation import coverage, numbers
from torch import Tensor

import everychip as ec
from everychip.evaluation.bench import Asked
from everychip.hardware.placement import Placed
from everychip.network.modes import evaluating
from everychip.statistics.stopping import Until, enough
from everychip.statistics.two_stage import CHIP, Components, TwoStage

RULE, PUBLISHED, REPEATS = "±0.5 two-stage", 1000, 3


def laws() -> dict[str, tuple[np.ndarray, int]]:
    """Chips of known laws: how many of so many images each answers right."""
    rng, n, images = numbers("laws"), 50_000, 2000
    skewed = 0.7 + 0.25 * rng.beta(5.0, 1.2, n)
    normal = np.clip(rng.normal(0.9, 0.02, n), 0, 1)
    fails = np.where(rng.random(n) < 0.02, rng.normal(0.5, 0.05, n), rng.normal(0.93, 0.01, n))
    found = {"normal": normal, "skewed (beta)": skewed, "2 % fail at 50 %": np.clip(fails, 0, 1)}
    return {name: (np.round(share * images), images) for name, share in found.items()}


def coverages(trials: int) -> list[dict[str, Any]]:
    """How often the interval of two stages holds the mean."""
    real = {name: (population(name).sum(1).numpy(), population(name).shape[1]) for name in SIZES}
    rows = []
    for name, (good, images) in (laws() | real).items():
        share = good / images
        skewness = float(((share - share.mean()) ** 3).mean() / share.std() ** 3)
        covered = None
        if share.std() < 0.08:  # else ±0.5 points take more chips than anybody draws
            covered = coverage(good, images, RULE, trials=trials)
        rows.append(
            {
                "chips": name,
                "mean": float(share.mean()),
                "sd": float(share.std()),
                "skewness": skewness,
                "coverage": covered,
                "trials": trials,
            }
        )
        print(rows[-1], flush=True)
    return rows


def watched_chips(name: str, *, runs: int = 100) -> float:
    """How many chips on the whole test set `until="±0.5"` takes: the median over resampled chips."""
    share, rng = population(name).double().mean(1).numpy(), numbers("watched", name)
    counts = []
    for _ in range(runs):
        stops = enough(Until.parse("±0.5"))
        values = rng.choice(share, 20 * PUBLISHED)
        counts.append(next(n for n, value in enumerate(values.tolist(), 1) if stops(value)))
    return statistics.median(counts)


def times(name: str) -> dict[str, Any]:
    """CPU seconds of a chip on the whole test set, and of the whole evaluation in two stages."""
    entry = ec.load(name)
    test = entry.experiment.data.load().test
    bench, placed = Asked.of().bench(entry.model, test), Placed.of(entry.model, entry.hardware)
    seconds = []
    for chip in range(REPEATS):
        started = time.process_time()
        at: Any = {"seed": 0, "path": ("evaluate", chip)}
        bench.measure(partial(placed.program, **at), bench.data, **at)
        seconds.append(time.process_time() - started)
    started = time.process_time()
    draws = ec.evaluate(
        entry.model, entry.hardware, test, chips=20_000, until=RULE, batch_size=500, progress=False
    )
    staged, of_one = time.process_time() - started, statistics.median(seconds)
    watched = watched_chips(name)
    assert isinstance(draws.until, TwoStage)
    return {
        "network": name,
        "images in all": len(test),
        "seconds of a chip on all images": of_one,
        "chips watched": watched,
        "seconds of two stages": staged,
        "chips": len(draws),
        "images": draws.images,
        "half": draws.verdict().mean.half,
        "verdict": str(draws.verdict()),
        "ratio to the watched protocol": watched * of_one / staged,
        "ratio to 1 000 chips": PUBLISHED * of_one / staged,
    }


def variates(name: str) -> dict[str, Any]:
    """The share of the two variances that a control variate explains, and what is left of the cost."""
    entry = ec.load(name)
    right = population(name)
    test = entry.experiment.data.load().test.take(slice(right.shape[1]))
    bench, placed = Asked.of().bench(entry.model, test), Placed.of(entry.model, entry.hardware)
    share = right.double().mean(1)
    chips = min(len(share), 400)
    first = torch.tensor(first_order_effects(placed, bench, chips=chips), dtype=torch.float64)
    between = _explained(share[:chips], first)
    digital = bench.runner.predict({}, bench.data).argmax(1) == bench.data.y
    rest = right[50:].double()
    within = _explained_within(rest, digital.double())
    easy = _explained_within(rest, right[:50].double().mean(0))
    parts = Components(float(share.var()), float((share * (1 - share)).mean()))
    total = len(entry.experiment.data.load().test)
    plain = _cost(parts, total)
    return {
        "network": name,
        "chips": chips,
        "first-order effect: share of the variance between chips": between,
        "digital answer: share of the variance between images": within,
        "pilot's mean of an image: share of the variance between images": easy,
        "cost with the first-order effect": _cost(_less(parts, chips=between), total) / plain,
        "cost with the digital answer": (_cost(_less(parts, images=within), total) + total) / plain,
        "cost with the pilot's mean": (_cost(_less(parts, images=easy), total) + 50 * total) / plain,
    }


def first_order_effects(placed: Placed, bench: Any, *, chips: int) -> list[float]:
    """Σ ∂L/∂W·ΔW of each chip, by one gradient at the weights without noise."""
    model = bench.runner.model
    ideal = placed.with_hardware(placed.hardware.with_sigma(0.0)).program(seed=0, path=("evaluate", 0))
    held = {name: value.detach().requires_grad_() for name, value in ideal.items()}
    gradient = {name: torch.zeros_like(value) for name, value in held.items()}
    with evaluating(model):
        for x, y in zip(bench.runner.batches(bench.data.x), bench.data.y.split(500), strict=True):
            loss = torch.nn.functional.cross_entropy(bench.runner.logits(held, x), y, reduction="sum")
            found = torch.autograd.grad(loss, list(held.values()))
            for name, part in zip(gradient, found, strict=True):
                gradient[name] += part / len(bench.data)
    effects = []
    for chip in range(chips):
        drawn = placed.program(seed=0, path=("evaluate", chip))
        effects.append(sum(float((gradient[name] * (drawn[name] - ideal[name])).sum()) for name in drawn))
    return effects


def _explained(y: Tensor, x: Tensor) -> float:
    """ρ²: the share of y's variance that its regression on x explains."""
    return float(torch.corrcoef(torch.stack([y, x]))[0, 1]) ** 2


def _explained_within(right: Tensor, image: Tensor) -> float:
    """The share of the variance between images, within chips, that a number of the image explains."""
    y = (right - right.mean(1, keepdim=True)).reshape(-1)
    x = (image - image.mean()).expand_as(right).reshape(-1)
    return float((x @ y) ** 2 / (x @ x) / (y @ y))


def _less(parts: Components, *, chips: float = 0.0, images: float = 0.0) -> Components:
    return Components(parts.chips * (1 - chips), parts.images * (1 - images))


def _cost(parts: Components, total: int) -> float:
    """Image passes of the plan: n·(c + k)."""
    plan = TwoStage.planned(parts, half_width=0.005, least=300, most=10**6, total=total)
    needed = 1.96**2 * float(parts.variance(torch.tensor(float(plan.images)), total=total)) / 0.005**2
    return max(300, math.ceil(needed)) * (CHIP + plan.images)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--trials", type=int, default=6000)
    parser.add_argument("--json", type=Path, default=Path(__file__).with_suffix(".json"))
    options = parser.parse_args()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    found = {
        "command": "python benchmarks/power/power.py",
        "threads": torch.get_num_threads(),
        "rule": RULE,
        "coverage": coverages(options.trials),
        "time": [times(name) for name in SIZES if "vanilla" not in name],
        "variates": [variates(name) for name in SIZES],
    }
    options.json.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n")
    print(json.dumps({key: found[key] for key in ("time", "variates")}, indent=1, ensure_ascii=False))


if __name__ == "__main__":
    main()
