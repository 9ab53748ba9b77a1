"""The tables of docs/explanation/the-bars.md: what resilient reaches, from the committed draws.

python docs/bars.py
"""

from __future__ import annotations

from pathlib import Path

from everychip.intervals import Interval, seeds_interval
from everychip.paired import compare_seeds
from everychip.report.wording import percent, points
from everychip.study.table import query
from everychip.tails import kpp

RESULTS = Path(__file__).parents[1] / "results"
INGREDIENTS = (
    "noise_injection",
    "noise_injection + ramp",
    "noise_injection + ramp + clip",
    "noise_injection + ramp + clip + chips",
    "resilient",
)

Accuracies = dict[int, list[float]]


def accuracies(study: str, method: str, *, trained: float, sigma: float) -> Accuracies:
    """The accuracy of every chip at a σ, of a method trained at another, by seed."""
    words = f"""
        select seed, accuracy from draws where method = '{method}' and abs(sigma - {sigma}) < 1e-9
        and abs(sigma_train - {trained}) < 1e-9 order by seed, chip
    """
    found: Accuracies = {}
    for seed, accuracy in query(RESULTS / study / "draws.parquet", words)[1]:
        found.setdefault(int(seed), []).append(accuracy)
    return found


def of_vanilla(trained: float, sigma: float) -> Interval:
    """Resilient's mean on CIFAR-10 as a share of vanilla's clean accuracy, seed by seed."""
    clean = accuracies("resilient-cifar10", "vanilla", trained=0.0, sigma=0.0)
    held = accuracies("resilient-cifar10", "resilient", trained=trained, sigma=sigma)
    whole = {seed: sum(values) / len(values) for seed, values in clean.items()}
    return seeds_interval({seed: [x / whole[seed] for x in values] for seed, values in held.items()})


def mnist() -> str:
    """Every seed on the whole test set: mean, worst chip, and the 5th percentile with its lower bound."""
    lines = ["| seed | mean | worst of 60 | KPP5 | KPP5 at least (95 %) |", "|---:|---:|---:|---:|---:|"]
    found = accuracies("resilient-mnist", "resilient", trained=0.4, sigma=0.4)
    for seed, chips in found.items():
        tail = kpp(chips, k=5.0)
        low = "–" if tail.low is None else percent(tail.low, digits=2)
        mean, worst = percent(sum(chips) / len(chips), digits=2), percent(min(chips), digits=2)
        lines.append(f"| {seed} | {mean} | {worst} | {percent(tail.estimate, digits=2)} | {low} |")
    whole = seeds_interval(found)
    pooled = kpp([x for chips in found.values() for x in chips], k=5.0)
    low = "–" if pooled.low is None else percent(pooled.low, digits=2)
    worst = percent(min(min(chips) for chips in found.values()), digits=2)
    mean = f"{percent(whole.estimate, digits=2)} {whole.bounds(digits=2)}"
    lines.append(f"| all | {mean} | {worst} | {percent(pooled.estimate, digits=2)} | {low} |")
    return "\n".join(lines)


def cifar10() -> str:
    """One row for each ingredient at σ 0.4: clean, on chips, worst chip, what it adds to the row above."""
    lines = ["| noise injection with … | clean | σ 0.4 [95 %] | worst of 60 | to the row above [95 %] |"]
    lines.append("|---|---:|---:|---:|---:|")
    above: Accuracies | None = None
    for row in INGREDIENTS:
        clean = seeds_interval(accuracies("resilient-cifar10", row, trained=0.4, sigma=0.0))
        chips = accuracies("resilient-cifar10", row, trained=0.4, sigma=0.4)
        whole, worst = seeds_interval(chips), min(min(values) for values in chips.values())
        gain = "–" if above is None else points(compare_seeds(chips, above).difference)
        name = (
            row.removeprefix("noise_injection + ").removeprefix("noise_injection") or "nothing, as published"
        )
        cells = f"{percent(clean.estimate)} | {percent(whole.estimate)} {whole.bounds()} | {percent(worst)}"
        lines.append(f"| {name} | {cells} | {gain} |")
        above = chips
    return "\n".join(lines)


def bars() -> str:
    """Every bar that a committed study tests: what was asked, what was reached, and whether it is shown."""
    mnist_chips = accuracies("resilient-mnist", "resilient", trained=0.4, sigma=0.4)
    everyone = [x for chips in mnist_chips.values() for x in chips]
    severe = accuracies("resilient-cifar10", "resilient", trained=0.4, sigma=0.4)
    published = accuracies("resilient-cifar10", "noise_injection", trained=0.4, sigma=0.4)
    rows = (
        ("MNIST, σ 0.4: mean, %", 0.992, seeds_interval(mnist_chips), 2),
        ("MNIST, σ 0.4: KPP5, %", 0.987, kpp(everyone, k=5.0), 2),
        ("CIFAR-10, σ 0.2: share of vanilla's clean accuracy, %", 0.97, of_vanilla(0.2, 0.2), 1),
        ("CIFAR-10, σ 0.4: share of vanilla's clean accuracy, %", 0.80, of_vanilla(0.4, 0.4), 1),
        (
            "CIFAR-10, σ 0.4: above noise injection as published, points",
            0.125,
            compare_seeds(severe, published).difference,
            1,
        ),
    )
    lines = ["| bar | asked | reached [95 %] | |", "|---|---:|---:|---|"]
    for name, asked, found, digits in rows:
        shown = found.low is not None and found.low >= asked
        words = "shown" if shown else "in the mean" if found.estimate >= asked else "missed"
        reached = f"{percent(found.estimate, digits=digits)} {found.bounds(digits=digits)}"
        lines.append(f"| {name} | {percent(asked)} | {reached} | {words} |")
    return "\n".join(lines)


if __name__ == "__main__":
    print(bars(), mnist(), cifar10(), sep="\n\n")
