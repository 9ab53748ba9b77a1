"""Write docs/results/which-network.md and its plot: `python tools/docs/which_network.py`.

Nothing is written while there are no results. A network is a row, a device σ a
column: mean accuracy of the chips of networks trained at that σ, over seeds where there are three or more,
else over the chips of one.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))  # the scripts stand beside this one, whoever runs it

from plot_files import mark_of, side_by_side, write_plot

from everychip.charts.style import Rows, chart_of, percent, spec_of
from everychip.report.wording import mean_of
from everychip.statistics.intervals import HEADLINE_SEEDS, Interval, mean_interval, seeds_interval
from everychip.storage.table import query

ROOT = Path(__file__).parents[2]
UNFINISHED = ROOT / "results" / "unfinished" / "which-network.parquet"
RESULTS, PAGE = ROOT / "results" / "which-network", ROOT / "docs" / "results" / "which-network.md"
EXITS = ", exits"
COLOURS = ("#000000", "#0072b2", "#009e73", "#e69f00", "#d55e00")
HEAD = """# Which network for a device?

Deeper networks compute more from the same cells, and every layer adds the noise of its own. So which depth
and width should one choose for a device of a given σ? Convolutional networks of 3 to 10 layers, plain and
residual, with the same number of cells within 3 %, each trained by ramp + clip at the σ it is evaluated at,
on CIFAR-10 at 16 × 16 pixels for 20 epochs (`everychip study which-network`, then
`python tools/docs/which_network.py`, which writes this page).
"""
UNFINISHED_WORDS = """**Read it for the large steps only**: the plain networks, one training each
([draws](../../results/unfinished/README.md)). Residual networks, exits and two more seeds were left out when
the hours were spent, so that close networks are not told apart; the recipe asks for them, and goes on.
"""
TAIL = """
Layers are the convolutions, one hidden linear layer and the output. "Exits": two exits stay, and all outputs
are combined; their heads are paid for with width. σ is the nominal σ of RRAM1 before the mapping; the clip is
the one that `resilient` chooses for it, and none at σ = 0.
"""

Found = dict[tuple[str, float], dict[int, list[float]]]


def draws_of(results: Path) -> Path:
    """The draws of the finished study, or until then those of its complete runs."""
    finished = results / "draws.parquet"
    return UNFINISHED if results == RESULTS and not finished.exists() else finished


def measured(results: Path = RESULTS) -> Found:
    """The accuracies of every network at the σ it was trained for, by seed."""
    words = """
        select model, sigma::double, seed, accuracy from draws
        where abs(sigma - sigma_train) < 1e-9 order by seed, chip
    """
    found: Found = {}
    for model, sigma, seed, accuracy in query(draws_of(results), words)[1]:
        found.setdefault((model, round(sigma, 6)), {}).setdefault(int(seed), []).append(accuracy)
    return found


def interval(seeds: Mapping[int, list[float]]) -> Interval:
    """Over seeds where there are enough of them, else over all chips."""
    if len(seeds) >= HEADLINE_SEEDS:
        return seeds_interval(seeds)
    return mean_interval([accuracy for chips in seeds.values() for accuracy in chips])


def order(model: str) -> tuple[int, bool, bool]:
    """Shallow before deep, plain before residual, without exits before with them."""
    return int(model.split(maxsplit=1)[0]), "residual" in model, EXITS in model


def table(results: Path = RESULTS) -> str:
    """A row for each network, a column for each σ; the best of a column is strong."""
    found = measured(results)
    sigmas = sorted({sigma for _, sigma in found})
    best = {sigma: winner(found, sigma) for sigma in sigmas}
    lines = ["| network | " + " | ".join(f"σ {s:g}" for s in sigmas) + " |", "|---|" + "---:|" * len(sigmas)]
    for model in sorted({model for model, _ in found}, key=order):
        cells = []
        for sigma in sigmas:
            seeds = found.get((model, sigma))
            text = "–" if seeds is None else mean_of(interval(seeds))
            told = seeds is not None and len(seeds) >= HEADLINE_SEEDS and best[sigma] == model
            cells.append(f"**{text}**" if told else text)
        lines.append(f"| {model} | {' | '.join(cells)} |")
    return "\n".join(lines)


def winner(found: Found, sigma: float) -> str:
    """The network of the highest mean at a σ."""
    here = {model: interval(seeds).estimate for (model, at), seeds in found.items() if at == sigma}
    return max(here, key=lambda model: here[model])


def reading(results: Path = RESULTS) -> str:
    """A sentence for each σ, and over what the intervals are."""
    found = measured(results)
    told = []
    for sigma in sorted({sigma for _, sigma in found}):
        model = winner(found, sigma)
        told.append(
            f"- σ {sigma:g}: {model} has the highest mean, {mean_of(interval(found[model, sigma]))} %."
        )
    seeds = {len(by_seed) for by_seed in found.values()}
    few = min(seeds) < HEADLINE_SEEDS
    if few:  # one training is no result: no network is named
        return (
            "In %, with 95 % intervals over the chips of one or two trainings each. **No network is named**: "
            "what another training of the same network would change is not in them."
        )
    return "\n".join(
        [*told, "", "In %, with 95 % intervals over seeds; the best of a column is in bold type."]
    )


def panels(results: Path = RESULTS) -> dict[str, Rows]:
    """The points of the plot: accuracy by depth, without exits and with them."""
    found: dict[str, Rows] = {}
    for (model, sigma), seeds in sorted(measured(results).items(), key=lambda item: order(item[0][0])):
        one = interval(seeds)
        point = {
            "layers": order(model)[0],
            "kind": "residual" if order(model)[1] else "plain",
            "σ": f"{sigma:g}",
            "mean": percent(one.estimate),
            "low": percent(one.estimate if one.low is None else one.low),
            "high": percent(one.estimate if one.high is None else one.high),
        }
        found.setdefault("with exits that stay" if order(model)[2] else "without exits", []).append(point)
    return found


def chart(title: str, rows: Rows, *, domain: list[float]) -> dict[str, Any]:
    """A line for each σ, dashed for residual networks, with intervals."""
    import altair as alt

    sigmas = sorted({row["σ"] for row in rows}, key=float)
    depths = sorted({row["layers"] for row in rows})
    scale = alt.Scale(domain=domain, nice=False, zero=False)
    colours = alt.Scale(domain=sigmas, range=list(COLOURS[: len(sigmas)]))
    base = chart_of("points").encode(
        x=alt.X("layers:Q", title="layers", axis=alt.Axis(values=depths), scale=alt.Scale(zero=False)),
        color=alt.Color("σ:N", title="σ", scale=colours, sort=sigmas),
    )
    dashes = alt.Scale(domain=["plain", "residual"], range=[[1, 0], [5, 4]])
    dashed = alt.StrokeDash("kind:N", title=None, scale=dashes)
    y = alt.Y("mean:Q", title="accuracy of chips in %", scale=scale)
    layers = [
        base.mark_line(strokeWidth=2).encode(y=y, strokeDash=dashed),
        base.mark_rule(strokeWidth=1.6).encode(y=alt.Y("low:Q", scale=scale), y2="high:Q"),
        base.mark_point(filled=True, size=45, opacity=1).encode(y=y),
    ]
    spec = spec_of(layers, height=300, points=rows)
    spec.pop("$schema", None)
    return {**spec, "width": 330, "title": title}


def write(results: Path = RESULTS, page: Path = PAGE) -> bool:
    """Write the page and its plot; whether there were results to write from."""
    if not draws_of(results).exists():
        print(f"{results}: no results yet; nothing was written")
        return False
    shown = panels(results)
    every = [bound for rows in shown.values() for row in rows for bound in (row["low"], row["high"])]
    domain = [max(0.0, 10 * (min(every) // 10)), min(100.0, 10 * (max(every) // 10 + 1))]
    charts = [chart(title, rows, domain=domain) for title, rows in shown.items()]
    plot = page.parent / "plots" / "which-network.svg"
    write_plot(plot, side_by_side(charts, columns=2), mark_of("points", shown))
    words = f"![Accuracy against depth at equal cells, for five σ](plots/{plot.name})"
    shown_table = f"<!-- table: which_network table -->\n{table(results)}"
    unfinished = "" if draws_of(results) != UNFINISHED else f"\n{UNFINISHED_WORDS}"
    text = f"{HEAD}{unfinished}\n{words}\n\n{reading(results)}\n\n{shown_table}\n{TAIL}"
    page.write_text(text, encoding="utf-8")
    return True


if __name__ == "__main__":
    write()
