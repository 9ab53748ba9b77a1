"""The board of CIFAR-10 at 32 × 32, from the complete runs of `board-cifar10-32` and `multi-exit-cifar10`.

Rows that both studies ask for have one run, made in the second: the same recipe, the same chips.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from statistics import fmean, quantiles

from everychip.report.wording import percent
from everychip.statistics.intervals import HEADLINE_SEEDS, seeds_interval
from everychip.storage.table import query

UNFINISHED = Path(__file__).parents[2] / "results" / "unfinished"
OWN, SHARED = UNFINISHED / "board-cifar10-32.parquet", UNFINISHED / "multi-exit-cifar10.parquet"
SAME = {
    "noise_injection": ("noise_injection (published)", "vgg8"),
    "noise_injection(clip)": ("ramp + clip", "vgg8"),
    "multi_exit(clip)": ("ramp + clip", "vgg8 with exits"),
}
CONTROL = "noise_injection(clip)"

Chips = dict[int, list[float]]


def accuracies(sigma: float, trained_at: float) -> dict[str, Chips]:
    """The accuracy of every chip by method and seed, in the order of the chips."""
    found: dict[str, Chips] = {}
    at = f"abs(sigma - {sigma}) < 1e-9 and abs(sigma_train::double - {trained_at}) < 1e-9"
    if OWN.exists():
        words = f"select method, seed, accuracy from draws where {at} order by method, seed, chip"
        for method, seed, accuracy in query(OWN, words)[1]:
            found.setdefault(str(method), {}).setdefault(int(seed), []).append(accuracy)
    for method, (theirs, model) in SAME.items():
        chosen = f"method = '{theirs}' and model = '{model}' and {at}"
        words = f"select seed, accuracy from draws where {chosen} order by seed, chip"
        for seed, accuracy in query(SHARED, words)[1]:
            found.setdefault(method, {}).setdefault(int(seed), []).append(accuracy)
    return found


def table(sigma: str) -> str:
    """A row for each method, the best mean first: all its trainings, and the first beside the control's."""
    at = float(sigma)
    noisy, clean = accuracies(at, at), accuracies(0.0, at)
    head = f"| method | trainings | σ 0 | σ {sigma} | 5th percentile | worst chip | less {CONTROL}, seed 0 |"
    lines = [head, "|---|" + "---:|" * 6]
    for method in sorted(noisy, key=lambda one: -_over(fmean, noisy[one])):
        mean = percent(_over(fmean, noisy[method]))
        if len(noisy[method]) >= HEADLINE_SEEDS:
            mean += f" {seeds_interval(noisy[method]).bounds(scale=100, digits=1)}"
        first = _over(fmean, {0: noisy[method][0]}) - fmean(noisy[CONTROL][0])
        cells = [
            method,
            str(len(noisy[method])),
            percent(_over(fmean, clean[method])),
            mean,
            percent(_over(_fifth, noisy[method])),
            percent(_over(min, noisy[method])),
            "–" if method == CONTROL else f"{100 * first:+.1f}".replace("-", "−"),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _over(of: Callable[[list[float]], float], chips: Chips) -> float:
    """A number of each training's chips, its mean over trainings; the worst chip is that of all."""
    each = [of(values) for values in chips.values()]
    return min(each) if of is min else fmean(each)


def _fifth(values: list[float]) -> float:
    return quantiles(values, n=20, method="inclusive")[0]
