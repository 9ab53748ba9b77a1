"""The tables of docs/results/leaderboards.md, and the settings that tuning chose."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from everychip.report.wording import percent, points
from everychip.statistics.intervals import seeds_interval
from everychip.statistics.paired_comparison import compare_seeds
from everychip.storage.table import query

RESULTS = Path(__file__).parents[2] / "results"
PER_CHIP = ", per chip"
PARTS = ("noise_injection", "temperature", "deep_supervision", "over_noise", "vant", "irs", "ovf")
REFERENCES = ("noise_injection", "temperature", "resilient")
QUESTIONS = {
    "dividing the logits": ("temperature", "noise_injection"),
    "training exits": ("deep_supervision", "noise_injection"),
    "a larger σ": ("over_noise", "noise_injection"),
    "a varying σ": ("vant", "noise_injection"),
    "feedback of exits": ("irs", "temperature"),
    "feedback of noisier forwards": ("ovf", "temperature"),
}
"""The parts of negative feedback training, each with the method that has it and the one that lacks it."""

BOARDS = {
    "leaderboard-mnist": "MNIST",
    "leaderboard-fashion": "Fashion-MNIST",
    "leaderboard-cifar10": "CIFAR-10",
    "leaderboard-cifar10-resnet18": "CIFAR-10, ResNet-18",
}
"""The leaderboards that were run, in the order of the page; VGG-8 where no network is named."""

Accuracies = dict[int, list[float]]


class Cell(NamedTuple):
    """One table: the methods of a leaderboard on one device at one σ."""

    study: str
    data: str
    device: str
    sigma: float

    @property
    def title(self) -> str:
        """As a column or a row of another table is headed."""
        return f"{self.data}, {self.device}, σ {self.sigma:g}"


def cells() -> Iterator[Cell]:
    """Every cell of every leaderboard that compares the parts of negative feedback, severe σ first."""
    words = """
        select device, sigma_train::double as met from draws where method = 'irs' group by device, sigma_train
        order by device desc, met desc
    """
    for study, data in BOARDS.items():
        for device, sigma in query(RESULTS / study / "draws.parquet", words)[1]:
            yield Cell(study, data, device, round(sigma, 6))


def chosen() -> dict[str, tuple[str, float]]:
    """The best of the settings of every row of the tuning: `knob = value` and its validation accuracy."""
    record = json.loads((RESULTS / "tuning-mnist" / "study.json").read_text(encoding="utf-8"))
    best: dict[str, tuple[str, float]] = {}
    for run in record["runs"]:
        row, _, setting = run["labels"]["method"].partition(": ")
        score = run.get("validation_accuracy")
        if score is not None and (row not in best or score > best[row][1]):
            best[row] = (setting, score)
    return best


def rows(
    name: str, device: str, sigma: float, *, trained: float | None = None, per_chip: bool = False
) -> dict[str, Accuracies]:
    """The accuracy of every chip at a σ, of what was trained at it or at another, by method and seed.

    Vanilla, which never meets a device, stands in every cell.
    """
    met = sigma if trained is None else trained
    words = f"""
        select method, seed, accuracy from draws where device = '{device}' and per_chip = {per_chip}
        and abs(sigma - {sigma}) < 1e-9 and (abs(sigma_train - {met}) < 1e-9 or sigma_train = 0)
        order by seed, chip
    """
    found: dict[str, Accuracies] = {}
    for method, seed, accuracy in query(RESULTS / name / "draws.parquet", words)[1]:
        found.setdefault(method, {}).setdefault(int(seed), []).append(accuracy)
    return found


def mean(accuracies: Accuracies) -> float:
    """Over the seeds, each with as many chips."""
    return seeds_interval(accuracies).estimate


def bounded(accuracies: Accuracies) -> str:
    """The mean over seeds in percent, with its interval."""
    whole = seeds_interval(accuracies)
    return f"{percent(whole.estimate)} {whole.bounds()}"


def difference(one: Accuracies, other: Accuracies) -> str:
    """In points, paired over the same seeds and chips."""
    return "–" if one is other else points(compare_seeds(one, other).difference)


def board(name: str, device: str, sigma: str) -> str:
    """One row for each method, the best mean first: without noise, on chips, paired differences."""
    found = rows(name, device, float(sigma))
    clean = rows(name, device, 0.0, trained=float(sigma))
    head = " | ".join(f"to {reference} [95 %]" for reference in REFERENCES)
    lines = [f"| method | σ 0 | σ {sigma} [95 %] | {head} |", "|---|---:|---:|" + "---:|" * len(REFERENCES)]
    for row in sorted(found, key=lambda row: mean(found[row]), reverse=True):
        against = " | ".join(difference(found[row], found[reference]) for reference in REFERENCES)
        lines.append(f"| {row} | {percent(mean(clean[row]))} | {bounded(found[row])} | {against} |")
    return "\n".join(lines)


def calibrated(name: str) -> str:
    """The methods with a calibration of every chip, which stand in no table with the others."""
    lines = ["| device | σ | method | per chip [95 %] |", "|---|---:|---|---:|"]
    for device, sigma in measured_per_chip(name):
        for row, accuracies in rows(name, device, sigma, per_chip=True).items():
            lines.append(f"| {device} | {sigma:g} | {row.removesuffix(PER_CHIP)} | {bounded(accuracies)} |")
    return "\n".join(lines)


def gained(name: str) -> str:
    """What that calibration adds, in points, on the same trainings and chips."""
    lines = ["| device | σ | method | gained by calibrating each chip [95 %] |", "|---|---:|---|---:|"]
    for device, sigma in measured_per_chip(name):
        plain = rows(name, device, sigma)
        for row, accuracies in rows(name, device, sigma, per_chip=True).items():
            method = row.removesuffix(PER_CHIP)
            lines.append(f"| {device} | {sigma:g} | {method} | {difference(accuracies, plain[method])} |")
    return "\n".join(lines)


def measured_per_chip(name: str) -> list[tuple[str, float]]:
    """The devices and σ at which chips were calibrated one by one."""
    words = "select distinct device, sigma::double from draws where per_chip and sigma > 0 order by all desc"
    return [(device, round(sigma, 6)) for device, sigma in query(RESULTS / name / "draws.parquet", words)[1]]


def settings() -> str:
    """What tuning chose for every row, with the validation accuracy it was chosen by."""
    lines = ["| method | setting | on validation |", "|---|---|---:|"]
    lines += [f"| {row} | {setting} | {percent(score)} |" for row, (setting, score) in chosen().items()]
    return "\n".join(lines)


def feedback(name: str, *sigmas: str) -> str:
    """The parts of IRS and OVF against noise injection and temperature, on RRAM1."""
    lines = ["| σ | method | mean [95 %] | to noise_injection [95 %] | to temperature [95 %] |"]
    lines.append("|---:|---|---:|---:|---:|")
    for sigma in sigmas:
        found = rows(name, "RRAM1", float(sigma))
        for row in PARTS:
            against = " | ".join(difference(found[row], found[reference]) for reference in PARTS[:2])
            lines.append(f"| {sigma} | {row} | {bounded(found[row])} | {against} |")
    return "\n".join(lines)


def parts() -> str:
    """What each part of negative feedback training gains, in every cell of every leaderboard."""
    lines = ["| cell | " + " | ".join(QUESTIONS) + " |", "|---|" + "---:|" * len(QUESTIONS)]
    for cell in cells():
        found = rows(cell.study, cell.device, cell.sigma)
        gains = [
            difference(found[one], found[other]) if one in found and other in found else ""
            for one, other in QUESTIONS.values()
        ]
        lines.append(f"| {cell.title} | " + " | ".join(gains) + " |")
    return "\n".join(lines)


def summary(device: str) -> str:
    """The cells of a device side by side: the mean of every method, the best of the first cell first."""
    shown = [cell for cell in cells() if cell.device == device]
    seen = [rows(cell.study, cell.device, cell.sigma) for cell in shown]
    lines = ["| method | " + " | ".join(f"{cell.data}, σ {cell.sigma:g}" for cell in shown) + " |"]
    lines.append("|---|" + "---:|" * len(seen))
    for row in sorted(seen[0], key=lambda row: mean(seen[0][row]), reverse=True):
        means = (percent(mean(found[row])) if row in found else "" for found in seen)
        lines.append(f"| {row} | " + " | ".join(means) + " |")
    return "\n".join(lines)


def spent() -> str:
    """What the boards and their tuning took: trainings, and minutes of one core as the runs recorded them."""
    lines = ["| study | network and data | trainings | minutes of one core |", "|---|---|---:|---:|"]
    for study, data in {"tuning-mnist": "MNIST", **BOARDS}.items():
        record = json.loads((RESULTS / study / "study.json").read_text(encoding="utf-8"))
        trained = {run["training_id"] for run in record["runs"]}
        minutes = sum(run["seconds"] for run in record["runs"]) / 60
        lines.append(f"| {study} | {data} | {len(trained)} | {minutes:.0f} |")
    return "\n".join(lines)
