"""The tables of docs/results/analog-foundation.md, from committed results."""

from __future__ import annotations

from pathlib import Path

from everychip.statistics.paired_comparison import compare_seeds
from everychip.storage.table import query
from everychip.tasks import Tokens

FOLDER = Path(__file__).parents[2] / "results" / "analog-foundation"
SIGMAS = (0.0, 0.03, 0.06, 0.1)
WHOLE = "the recipe"
EIGHT = (
    WHOLE,
    "without noise",
    "without clip",
    "without learned inputs",
    "without distillation",
    "trained on, no part",
)
FOUR = tuple(f"4-bit inputs, {label}" for label in (WHOLE, "without learned inputs", "trained on, no part"))
PERPLEXITY = Tokens(causal=True).headline


def perplexities(variant: str, sigma: float) -> dict[int, list[float]]:
    """The perplexity of every chip at one σ, by seed."""
    chosen = f"variant = '{variant}' and sigma = {sigma}"
    words = f"select seed, perplexity from draws where {chosen} order by seed, chip"
    found: dict[int, list[float]] = {}
    for seed, value in query(FOLDER / "draws.parquet", words)[1]:
        found.setdefault(int(seed), []).append(value)
    return found


def table(bits: str) -> str:
    """One row for each variant at 8- or 4-bit inputs: means at every σ, and how much the recipe is below."""
    variants, start = (EIGHT, _start()) if bits == "8" else (FOUR, [])
    heads = [f"σ = {sigma:g}" for sigma in SIGMAS]
    shown = (0.03, 0.1)
    more = [f"to the recipe at {sigma:g} [95 %]" for sigma in shown]
    lines = [f"| | {' | '.join([*heads, *more])} |", "|---|" + "---:|" * (len(heads) + len(more))]
    lines += start
    for variant in variants:
        by_sigma = {sigma: perplexities(variant, sigma) for sigma in SIGMAS}
        means = [f"{_mean(by_seed):.2f}" for by_seed in by_sigma.values()]
        lacks = [_lack(by_sigma[sigma], perplexities(variants[0], sigma)) for sigma in shown]
        own = lacks if variant != variants[0] else ["–"] * len(shown)
        label = variant.removeprefix("4-bit inputs, ")
        lines.append(f"| {label} | {' | '.join([*means, *own])} |")
    return "\n".join(lines)


def _start() -> list[str]:
    """The digital network that all start from, one training."""
    words = "select sigma, avg(perplexity) from draws group by sigma order by sigma"
    found = {float(sigma): value for sigma, value in query(FOLDER / "start" / "draws.parquet", words)[1]}
    cells = [f"{found[sigma]:.2f}" for sigma in SIGMAS]
    return [f"| the start network, one training | {' | '.join([*cells, '', ''])} |"]


def _mean(by_seed: dict[int, list[float]]) -> float:
    values = [value for one in by_seed.values() for value in one]
    return sum(values) / len(values)


def _lack(here: dict[int, list[float]], whole: dict[int, list[float]]) -> str:
    """How much higher the perplexity is than the recipe's: paired by chip, then over the seeds."""
    found = compare_seeds(here, whole, score=PERPLEXITY).difference
    return f"{found.estimate:+.2f} [{found.low:+.2f}, {found.high:+.2f}]".replace("-", "−")
