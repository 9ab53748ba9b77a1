"""The ladder of docs/results/does-feedback-help.md, from the complete runs of a study that still runs."""

from __future__ import annotations

from pathlib import Path

from everychip.report.wording import percent, points
from everychip.statistics.intervals import HEADLINE_SEEDS
from everychip.statistics.paired_comparison import compare_seeds
from everychip.storage.table import query

DRAWS = Path(__file__).parents[2] / "results" / "unfinished" / "feedback-ladder.parquet"
LENGTHS = ("3 epochs", "10 epochs", "30 epochs", "100 epochs", "300 epochs")
CONTROL = "temperature"
ARMS = (
    "noise_injection",
    CONTROL,
    "T+BN",
    "irs β 0.01",
    "irs β 0.1",
    "irs β 0.1, frozen exits",
    "ovf (backbone)",
    "ovf (all)",
    "deep_supervision, T = 4",
)


def accuracies(variant: str) -> dict[str, dict[int, list[float]]]:
    """The accuracy of every chip by arm and seed."""
    words = (
        f"select method, seed, accuracy from draws where variant = '{variant}' order by method, seed, chip"
    )
    found: dict[str, dict[int, list[float]]] = {}
    for method, seed, accuracy in query(DRAWS, words)[1]:
        found.setdefault(str(method), {}).setdefault(int(seed), []).append(accuracy)
    return found


def table(suffix: str = ", ramp + clip") -> str:
    """One row for each arm: its mean at every length, and the paired difference to temperature."""
    shown = [name for name in LENGTHS if accuracies(name + suffix)]
    lines = [f"| arm | {' | '.join(shown)} | seeds | to {CONTROL} [95 %], at its longest |"]
    lines.append("|---|" + "---:|" * (len(shown) + 2))
    by_length = {name: accuracies(name + suffix) for name in shown}
    for arm in ARMS:
        cells = [mean(by_length[name].get(arm, {})) for name in shown]
        seeds = [str(len(by_length[name].get(arm, {}))) for name in shown]
        lines.append(f"| {arm} | {' | '.join(cells)} | {', '.join(seeds)} | {difference(arm, by_length)} |")
    return "\n".join(lines)


def as_published() -> str:
    """The same without ramp and clip."""
    return table("")


def mean(by_seed: dict[int, list[float]]) -> str:
    """The mean over seeds and chips, in %."""
    chips = [value for values in by_seed.values() for value in values]
    return percent(sum(chips) / len(chips)) if chips else "–"


def difference(arm: str, by_length: dict[str, dict[str, dict[int, list[float]]]]) -> str:
    """The arm less temperature, over the seeds that both have, where these are enough."""
    for length in reversed(list(by_length)):
        mine, control = by_length[length].get(arm, {}), by_length[length].get(CONTROL, {})
        both = mine.keys() & control.keys()
        if arm != CONTROL and len(both) >= HEADLINE_SEEDS:
            pair = ({seed: one[seed] for seed in both} for one in (mine, control))
            return f"{points(compare_seeds(*pair).difference)} ({length}, {len(both)} seeds)"
    return "–"
