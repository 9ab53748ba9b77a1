"""The tables of docs/results/the-bars.md: what resilient reaches, from the committed draws."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from leaderboards import BOARDS, Accuracies, Cell, cells, measured_per_chip, rows

from everychip.report.wording import MINUS, percent, points
from everychip.statistics.intervals import Interval, seeds_interval
from everychip.statistics.paired_comparison import compare_seeds
from everychip.statistics.percentiles import above_chance, kpp
from everychip.storage.table import query

RESULTS = Path(__file__).parents[2] / "results"
INGREDIENTS = (
    "noise_injection",
    "noise_injection + ramp",
    "noise_injection + ramp + clip",
    "noise_injection + ramp + clip + chips",
    "resilient",
)

NAMES = {
    "noise_injection": "nothing, as published",
    "resilient": "ramp + clip + chips + kept scale + population norm, early",
}

DEVICES = ("FeFET6", "RRAM1")
ASKED = (("leaderboard-mnist", 0.4), ("leaderboard-cifar10", 0.4), ("leaderboard-cifar10", 0.2))
"""The leaderboards, with their σ, of which a lead over rivals was asked."""

SEEN = 24
"""The chips of each seed of resilient-mnist that were looked at before its recipe was settled."""

OWN = ("resilient", "noise_injection + clip", "noise_injection (published)", "vanilla")
"""Rows of a leaderboard that are no rivals: resilient's own control, and what has no ramp."""


def accuracies(study: str, method: str, *, trained: float, sigma: float) -> Accuracies:
    """The accuracy of every chip at a σ, of a method trained at another, by seed."""
    words = f"""
        select seed, accuracy from draws where method = '{method}' and device = 'RRAM1' and not per_chip
        and abs(sigma - {sigma}) < 1e-9 and abs(sigma_train - {trained}) < 1e-9 order by seed, chip
    """
    found: Accuracies = {}
    for seed, accuracy in query(RESULTS / study / "draws.parquet", words)[1]:
        found.setdefault(int(seed), []).append(accuracy)
    return found


def of_vanilla(study: str, sigma: float) -> Interval:
    """Resilient's mean on CIFAR-10 as a share of vanilla's accuracy without noise, seed by seed."""
    clean = accuracies(study, "vanilla", trained=0.0, sigma=0.0)
    whole = {seed: sum(values) / len(values) for seed, values in clean.items()}
    held = accuracies(study, "resilient", trained=sigma, sigma=sigma)
    shares = {seed: [x / whole[seed] for x in values] for seed, values in held.items()}
    return seeds_interval(shares, within=None)


def mnist() -> str:
    """The whole test set, on chips new to us and on those seen: means, worst, KPP5 and its lower bound."""
    lines = ["| chips of each seed | seed | mean | worst chip | KPP5 | KPP5 at least (95 %) |"]
    lines.append("|---|---:|---:|---:|---:|---:|")
    for name, found in {"25 to 48, new": unseen(), "1 to 24, seen before": seen()}.items():
        for seed, chips in found.items():
            mean = percent(sum(chips) / len(chips), digits=2)
            lines.append(f"| {name} | {seed} | {mean} | {_lowest(chips)} |")
        whole = seeds_interval(found)
        mean = f"{percent(whole.estimate, digits=2)} {whole.bounds(digits=2)}"
        lines.append(f"| {name} | all | {mean} | {_lowest([x for chips in found.values() for x in chips])} |")
    return "\n".join(lines)


def _lowest(chips: list[float]) -> str:
    """The cells of the worst chip, the 5th percentile and its lower bound."""
    tail = kpp(chips, k=5.0)
    low = "–" if tail.low is None else percent(tail.low, digits=2)
    return f"{percent(min(chips), digits=2)} | {percent(tail.estimate, digits=2)} | {low}"


def unseen() -> Accuracies:
    """Of resilient-mnist, the chips that nothing was decided by: the bar is read off them."""
    return _of_mnist(slice(SEEN, None))


def seen() -> Accuracies:
    """Of resilient-mnist, the chips that were looked at before its recipe was settled."""
    return _of_mnist(slice(SEEN))


def _of_mnist(part: slice) -> Accuracies:
    every = accuracies("resilient-mnist", "resilient", trained=0.4, sigma=0.4)
    return {seed: chips[part] for seed, chips in every.items()}


def rates() -> str:
    """The learning rates that were tried on MNIST, with the validation accuracy one was chosen by."""
    record = json.loads((RESULTS / "tuning-rate" / "study.json").read_text(encoding="utf-8"))
    lines = ["| rate | on validation chips |", "|---:|---:|"]
    for run in record["runs"]:
        lines.append(f"| {run['labels']['rate']} | {percent(run['validation_accuracy'], digits=2)} |")
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
        name = NAMES.get(row, row.removeprefix("noise_injection + "))
        cells = f"{percent(clean.estimate)} | {percent(whole.estimate)} {whole.bounds()} | {percent(worst)}"
        lines.append(f"| {name} | {cells} | {gain} |")
        above = chips
    return "\n".join(lines)


@dataclass(frozen=True)
class Bar:
    """What was asked, as the least value, and what a committed study found."""

    name: str
    asked: float
    found: Interval
    digits: int = 1

    def row(self) -> str:
        """Shown: the whole interval clears the bar."""
        shown = self.found.low is not None and self.found.low >= self.asked
        words = "shown" if shown else "reached, not shown" if self.found.estimate >= self.asked else "missed"
        asked = percent(self.asked, digits=self.digits)
        reached = (
            f"{percent(self.found.estimate, digits=self.digits)} {self.found.bounds(digits=self.digits)}"
        )
        numbers = f"{asked} | {reached}".replace("-", MINUS)
        return f"| {self.name} | {numbers} | {words} |"


def tested() -> Iterator[Bar]:
    """Every bar that a committed study tests."""
    mnist_chips = unseen()
    pooled = kpp([x for chips in mnist_chips.values() for x in chips], k=5.0)
    yield Bar("MNIST, σ 0.4: mean, %", 0.992, seeds_interval(mnist_chips), 2)
    yield Bar("MNIST, σ 0.4: KPP5, %", 0.987, pooled, 2)
    words = "share of vanilla's clean accuracy, %"
    yield Bar(f"CIFAR-10, σ 0.2: {words}", 0.97, of_vanilla("bars-cifar10", 0.2))
    yield Bar(
        f"CIFAR-10, σ 0.4, batch norm corrected early: {words}", 0.80, of_vanilla("resilient-cifar10", 0.4)
    )
    yield from on_the_leaderboards()


def on_the_leaderboards() -> Iterator[Bar]:
    """The bars that hold resilient against rivals, the clean network and another device."""
    for cell in cells():
        if cell.device == "RRAM1" and (cell.study, cell.sigma) in ASKED:
            yield from list(against_rivals(cell))[:2]
    for board, data in BOARDS.items():
        clean = accuracies(board, "vanilla", trained=0.0, sigma=0.0)
        quiet = accuracies(board, "resilient", trained=0.1, sigma=0.0)
        if quiet:
            gain = above(quiet, clean)
            yield Bar(f"{data}, trained at σ 0.1: accuracy without noise to vanilla's, points", -0.01, gain)
    yield Bar("every leaderboard: trainings of resilient that converge, %", 1.0, every_training())
    for cell in cells():
        if cell.device == "FeFET6":
            fefet, rram = (rows(cell.study, device, cell.sigma)["resilient"] for device in DEVICES)
            yield Bar(f"{cell.data}, σ {cell.sigma:g}: FeFET6 to RRAM1, points", 0.0, above(fefet, rram))


def every_training() -> Interval:
    """How many trainings of resilient end above twice chance on their chips, over all leaderboards."""
    seen = [rows(cell.study, cell.device, cell.sigma)["resilient"] for cell in cells()]
    final = [sum(chips) / len(chips) for found in seen for chips in found.values()]
    return above_chance(dict(enumerate(final)), classes=10)


def against_rivals(cell: Cell) -> Iterator[Bar]:
    """Above every rival, above noise injection as published, and above resilient's own control."""
    found = rows(cell.study, cell.device, cell.sigma)
    mine, name = found.pop("resilient"), f"{cell.data}, σ {cell.sigma:g}"
    gains = {row: above(mine, chips) for row, chips in found.items() if row not in OWN}
    closest = min(gains, key=lambda row: gains[row].low or 0.0)
    yield Bar(f"{name}: above the closest rival, {closest}, points", 0.0, gains[closest])
    gain = above(mine, found["noise_injection (published)"])
    yield Bar(f"{name}: above noise injection as published, points", 0.125, gain)
    gain = above(mine, found["noise_injection + clip"])
    yield Bar(f"{name}: above noise injection with its ramp and a clip, points", 0.0, gain)


def above(one: Accuracies, other: Accuracies) -> Interval:
    """The paired difference of two methods over the same seeds and chips."""
    return compare_seeds(one, other).difference


def bars() -> str:
    """What was asked, what was reached, and whether it is shown."""
    return table(tested())


def boards() -> str:
    """Resilient against rivals and its own control in every cell of the leaderboards, on RRAM1."""
    return table(bar for cell in cells() if cell.device == "RRAM1" for bar in against_rivals(cell))


def per_chip() -> str:
    """What a calibration of each chip adds to the variant that has the bars, on the same chips."""
    bars = []
    for study, data in {"resilient-mnist": "MNIST", "bars-cifar10": "CIFAR-10", **BOARDS}.items():
        for device, sigma in measured_per_chip(study):
            calibrated = rows(study, device, sigma, per_chip=True)["resilient, per chip"]
            population = rows(study, device, sigma)["resilient"]
            same = {seed: population[seed][: len(chips)] for seed, chips in calibrated.items()}
            gain = above(calibrated, same)
            name = f"{data}, σ {sigma:g}: above the population variant, points"
            own = study not in BOARDS
            bars.append(Bar(f"{name} ({study})" if own else name, 0.0, gain, 2 if own else 1))
    return table(bars)


def table(shown: Iterable[Bar]) -> str:
    """One row for each bar."""
    return "\n".join(["| bar | asked | reached [95 %] | |", "|---|---:|---:|---|", *(b.row() for b in shown)])
