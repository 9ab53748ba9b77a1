"""The tables of docs/explanation/leaderboards.md and the settings that tuning chose, from committed results.

python docs/leaderboards.py
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from everychip.intervals import seeds_interval
from everychip.paired import compare_seeds
from everychip.report.wording import percent, points
from everychip.study.table import query

RESULTS = Path(__file__).parents[1] / "results"
PER_CHIP = ", per chip"
REFERENCES = ("noise_injection", "temperature", "resilient")

Cell = tuple[str, float]
Accuracies = dict[int, list[float]]


def chosen(name: str) -> dict[str, tuple[str, float]]:
    """The best of the settings of every row of a tuning study: `knob = value` and its validation accuracy."""
    record = json.loads((RESULTS / f"tuning-{name}" / "study.json").read_text(encoding="utf-8"))
    best: dict[str, tuple[str, float]] = {}
    for run in record["runs"]:
        row, _, setting = run["labels"]["method"].partition(": ")
        score = run.get("validation_accuracy")
        if score is not None and (row not in best or score > best[row][1]):
            best[row] = (setting, score)
    return best


def cells(name: str, *, per_chip: bool = False) -> dict[Cell, dict[str, Accuracies]]:
    """Accuracies at the σ of training (vanilla: at every σ), by device and σ, then by method and seed."""
    words = f"""
        select device, sigma::double, method, seed, accuracy from draws
        where sigma > 0 and (sigma = sigma_train or sigma_train = 0) and per_chip = {per_chip}
        order by device, sigma desc, seed, chip
    """
    found: dict[Cell, dict[str, Accuracies]] = {}
    for device, sigma, method, seed, accuracy in query(RESULTS / name / "draws.parquet", words)[1]:
        rows = found.setdefault((device, sigma), {})
        rows.setdefault(method, {}).setdefault(int(seed), []).append(accuracy)
    return found


def table(rows: dict[str, Accuracies]) -> str:
    """One row for each method, the best mean first: mean over seeds, worst chip, paired differences."""

    def mean(row: str) -> float:
        return seeds_interval(rows[row]).estimate

    head = " | ".join(f"to {reference} [95 %]" for reference in REFERENCES)
    lines = [f"| method | mean [95 %] | worst chip | {head} |", "|---|---:|---:|" + "---:|" * len(REFERENCES)]
    for row in sorted(rows, key=mean, reverse=True):
        whole, chips = seeds_interval(rows[row]), [x for values in rows[row].values() for x in values]
        against = [
            "–" if reference == row else points(compare_seeds(rows[row], rows[reference]).difference)
            for reference in REFERENCES
        ]
        value = f"{percent(whole.estimate)} {whole.bounds()}"
        lines.append(f"| {row} | {value} | {percent(min(chips))} | {' | '.join(against)} |")
    return "\n".join(lines)


def calibrated(name: str) -> str:
    """What a calibration of every chip adds, on the same trainings and chips."""
    lines = ["| device | σ | method | per chip [95 %] | to the same without [95 %] |"]
    lines.append("|---|---:|---|---:|---:|")
    population = cells(name)
    for (device, sigma), rows in cells(name, per_chip=True).items():
        for row, accuracies in rows.items():
            whole, plain = seeds_interval(accuracies), row.removesuffix(PER_CHIP)
            more = points(compare_seeds(accuracies, population[device, sigma][plain]).difference)
            value = f"{percent(whole.estimate)} {whole.bounds()}"
            lines.append(f"| {device} | {sigma:g} | {plain} | {value} | {more} |")
    return "\n".join(lines)


def settings(name: str) -> str:
    """What tuning chose for every row, with the validation accuracy it was chosen by."""
    lines = ["| method | setting | on validation |", "|---|---|---:|"]
    lines += [f"| {row} | {setting} | {percent(score)} |" for row, (setting, score) in chosen(name).items()]
    return "\n".join(lines)


def parts() -> Iterator[str]:
    """Every table of the page, those of one leaderboard after those of another."""
    for folder in sorted(RESULTS.glob("leaderboard-*")):
        for rows in cells(folder.name).values():
            yield table(rows)
        yield calibrated(folder.name)
        yield settings(folder.name.removeprefix("leaderboard-"))


if __name__ == "__main__":
    print("\n\n".join(parts()))
