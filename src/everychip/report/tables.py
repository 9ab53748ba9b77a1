"""The tables of a report: accuracy over σ, the verdict at the training σ, differences, and every number."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import lru_cache

from everychip.report.blocks import Column, Row, Table
from everychip.report.compared import Difference
from everychip.report.converged import counted
from everychip.report.results import CONTEXT, KINDS, Context, Group, Panel, Results
from everychip.report.wording import (
    at_sigma,
    bounds_of,
    effective,
    mean_of,
    percent,
    points,
    sigma_text,
    spread,
    time_text,
)
from everychip.scores import ACCURACY
from everychip.statistics.percentiles import unseen
from everychip.statistics.verdict import RARE, Verdict, summarize

KPP_WORDS = " KPP5: 95 % of chips do better."
POOLED = " It, worst and yield pool the chips of a method's networks, one for each seed."
PART, FAILED = "°", "†"
"""Marks of a mean over parts of the test set, and of a group with a training that failed."""


@lru_cache(maxsize=4096)
def verdict_of(group: Group, *, target: float | None = None) -> Verdict:
    """The verdict on a group; the same group is judged once."""
    return summarize(
        group.by_seed,
        target=target,
        whole_test=group.whole_test,
        images=None if group.whole_test else group.images,
        score=group.score,
    )


PER_CHIP_WORDS = "Per-chip: each chip was calibrated by itself after it was programmed, at a cost for each."


def apart(results: Results, make: Callable[[Results], Table]) -> tuple[Table, ...]:
    """The table of each kind of result, population and per-chip, for none mixes them."""
    return tuple(headed(make(part), kind) for kind, part in results.kinds.items())


def headed(table: Table, kind: str) -> Table:
    """The table under the name of its kind; as it is where there is no name."""
    if not kind:
        return table
    notes = (PER_CHIP_WORDS,) if kind == KINDS[True] else ()
    return replace(table, title=f"{table.title}, {kind}", notes=(*table.notes, *notes))


def chosen_sigmas(results: Results, *, limit: int = 4) -> tuple[float, ...]:
    """At most `limit` of the evaluated σ: the training σ first, then 0, the largest, what lies between."""
    every = results.sigmas
    trained = [panel.sigma for panel in results.panels if panel.sigma is not None]
    between = [every[round(i * (len(every) - 1) / 4)] for i in (2, 1, 3)] if every else []
    wanted = dict.fromkeys([*trained, *every[:1], *every[-1:], *between])
    return tuple(sorted(list(wanted)[:limit]))


def overview(
    results: Results, *, panels: Sequence[Panel] | None = None, sigmas: Sequence[float] | None = None
) -> Table:
    """Mean accuracy ± its interval: a row per trained method, a column per σ, effective σ in the header."""
    panels = results.panels if panels is None else panels
    sigmas = chosen_sigmas(results) if sigmas is None else sigmas
    groups = list(dict.fromkeys(group for panel in panels for group in panel.over_sigma))
    columns = [*_context_columns(), Column("trained", "context", below="at σ"), Column("method", "key")]
    for sigma in sigmas:
        noise = spread(group.of_rms for group in groups if group.sigma == sigma)
        columns.append(Column(f"σ {sigma_text(sigma)}", below=noise))
    cell = {(g.context, g.sigma_train, g.method, g.sigma): g for g in groups}
    curves = list(dict.fromkeys(key[:3] for key in cell))
    rows = []
    for context, sigma_train, method in sorted(curves, key=lambda curve: _block(curve, curves)):
        cells = []
        for sigma in sigmas:
            found = cell.get((context, sigma_train, method, sigma))
            cells.append(mean_cell(results, found) if found else "")
        trained = "–" if sigma_train == 0 else sigma_text(sigma_train)
        rows.append(Row((*context.words, trained, method, *cells), method))
    note = (
        f"Mean {results.score.label} ± half its 95 % interval{results.score.remark}. "
        "Below each nominal device σ: the effective weight noise σ_W/rms(W) of the rows."
    )
    notes = (note, *footnotes(results, groups))
    return Table(f"{results.score.title} over σ", tuple(columns), tuple(rows), notes).without_constants()


def _block(
    curve: tuple[Context, float | None, str], curves: Sequence[tuple[Context, float | None, str]]
) -> tuple[int, float, int]:
    context, sigma_train, _ = curve
    contexts = list(dict.fromkeys(c for c, _, _ in curves))
    return contexts.index(context), -1.0 if sigma_train is None else sigma_train, curves.index(curve)


def at_training_sigma(
    results: Results, *, panels: Sequence[Panel] | None = None, target: float | None = None
) -> Table:
    """The verdict on every method at the σ it was trained for (the worst σ where none was)."""
    panels = results.panels if panels is None else panels
    groups = [group for panel in panels for group in panel.at_sigma]
    rows = []
    for g in groups:
        head = (*g.context.words, sigma_text(g.sigma), time_text(g.time), g.method)
        rows.append(Row((*head, *_verdict_cells(results, g, target)), g.method))
    head_columns = (*_context_columns(), *_condition_columns(), Column("method", "key"))
    columns = (*head_columns, *_verdict_columns(groups, target))
    whole = any(group.whole_test for group in groups)
    pooled = any(group.whole_test and group.seeds > 1 for group in groups)
    nominal = any(group.sigma is not None for group in groups)
    first = (
        "Nominal device σ, then the effective weight noise."
        if nominal
        else "σ_W: the effective weight noise."
    )
    notes = (first + (KPP_WORDS if whole else "") + (POOLED if pooled else ""), *footnotes(results, groups))
    one = _only_sigma(groups)
    trained = nominal and results.trained
    title = f"At the training {one or 'σ'}" if trained else f"On the device{one and ' at '}{one}"
    table = Table(title, columns, tuple(rows), notes).without_constants().without_empty()
    return table.roomier("σ_W/rms")


def everything(results: Results, *, target: float | None = None) -> Table:
    """Every method at every σ and time, with all intervals."""
    conditions = [Column("σ", "key")] if results.sigmas or not results.times else []
    conditions += [Column("time", "key")] if results.times else []
    columns = (
        *_context_columns(),
        Column("trained at σ", "context"),
        Column("method", "context"),
        *conditions,
        *_verdict_columns(results.groups, target),
        Column("KPP5 [95 %]", minor=True),
        Column("NLL", minor=True),
        Column("ECE", minor=True),
        Column("chips", minor=True),
    )
    rows = []
    for g in results.groups:
        verdict = verdict_of(g, target=target)
        kpp = bounds_of(verdict.kpp) if verdict.kpp else ""
        trained = "–" if g.sigma_train == 0 else sigma_text(g.sigma_train)
        where = {"σ": sigma_text(g.sigma), "time": time_text(g.time)}
        head = (*g.context.words, trained, g.method, *(where[column.name] for column in conditions))
        tail = (kpp, *("" if math.isnan(one) else f"{one:.3f}" for one in (g.nll, g.ece)), str(g.chips))
        rows.append(Row((*head, *_verdict_cells(results, g, target), *tail), g.method))
    table = Table("Every number", columns, tuple(rows), footnotes(results, results.groups))
    return table.without_constants().without_empty()


def against_controls(found: Sequence[Difference]) -> Table:
    """Paired differences in points of percent, each with its interval and its finding in words."""
    columns = (
        *_context_columns(),
        *_condition_columns(below="σ_W/rms"),
        Column("method", "key"),
        Column("against", "key"),
        Column(f"{found[0].interval.score.step if found else 'points'} [95 %]"),
        Column("shown", role="brief"),
        Column("finding", "remark"),
    )
    rows = [
        Row(
            (
                *d.panel.context.words,
                f"{sigma_text(d.panel.sigma)} ({spread(g.of_rms for g in d.panel.at_sigma)})",
                time_text(d.panel.time),
                d.method.method,
                d.control.method,
                points(d.interval),
                d.shows,
                d.finding,
            ),
            d.method.method,
            d.shows,
        )
        for d in found
    ]
    groups = [group for d in found for group in (d.method, d.control)]
    notes = ["Paired over the same seeds and chips, evaluated at the training σ.", _sample_words(groups)]
    if all(group.sigma is None for group in groups):
        notes[0] = "Paired over the same seeds and chips, evaluated on the same device."
    if len(found) > 1:
        notes.append(f"{len(found)} intervals of 95 % each: about one in twenty excludes 0 by chance alone.")
    one = _only_sigma(groups)
    title = f"Against the controls, at {one}" if one else "Against the controls"
    return Table(title, columns, tuple(rows), tuple(notes)).without_constants()


def controls_apart(results: Results, found: Sequence[Difference]) -> tuple[Table, ...]:
    """The differences of each kind of result in a table of their own."""
    tables = []
    for kind in results.kinds:
        own = [d for d in found if kind in ("", d.panel.context.kind)]
        if own:
            tables.append(headed(against_controls(own), kind))
    return tuple(tables)


def _only_sigma(groups: Sequence[Group]) -> str:
    """The one σ and time of all these groups with their effective noise; empty where there is no such one."""
    every = {(group.sigma, group.time) for group in groups}
    return at_sigma(groups[0].sigma, groups) if len(every) == 1 and every != {(None, None)} else ""


def footnotes(results: Results, groups: Sequence[Group]) -> tuple[str, ...]:
    """What a reader must know about these groups before believing them."""
    notes = [_sample_words(groups, trained=results.trained)]
    parts = sorted({group.images for group in groups if not group.whole_test})
    if parts:
        seen = " or ".join(f"{images:,}" for images in parts)
        mark = f"{PART} " if any(group.whole_test for group in results.groups) else ""
        notes.append(
            f"{mark}Each chip met its own random {seen} test images: the mean holds, "
            "percentiles, worst and yield are not given."
        )
    if any(results.failed(group) for group in groups):
        notes.append(
            f"{FAILED} Some of its trainings stayed at chance on validation data, diverged or failed."
        )
    return tuple(notes)


def _sample_words(groups: Sequence[Group], *, trained: bool = True) -> str:
    seeds = sorted({group.seeds for group in groups})
    chips = sorted({len(values) for group in groups for values in group.by_seed.values()})
    many = "–".join(str(number) for number in dict.fromkeys((chips[0], chips[-1]))) if chips else "0"
    rare = unseen(chips[0]) if chips and chips[0] else 0.0
    hidden = f" Failures of up to {100 * rare:.2g} % of chips may be unseen." if rare > RARE else ""
    if not trained:
        return f"Intervals are over {many} chips of one network.{hidden}"
    if seeds == [1]:
        return f"Intervals are over {many} chips, one training seed: not a claim about a method.{hidden}"
    if seeds and seeds[0] == 1:
        return f"Intervals are over {many} chips, in part of one training seed: no claim there.{hidden}"
    if seeds and seeds[0] < 3:
        of = f"{many} chips of each of {seeds[0]} seeds"
        return f"Intervals are over {of}: not a claim about a method.{hidden}"
    return f"Intervals are over {seeds[0]} training seeds, {many} chips for each." if seeds else ""


def _context_columns() -> tuple[Column, ...]:
    return tuple(Column(name, "context") for name in CONTEXT)


def _condition_columns(*, below: str = "") -> tuple[Column, ...]:
    return Column("σ", "context", below=below), Column("time", "context")


def _verdict_columns(groups: Sequence[Group], target: float | None) -> tuple[Column, ...]:
    chips = sorted({group.chips for group in groups if group.whole_test})
    of = f"of {chips[0]}" if len(chips) == 1 else "of n"
    whose = _whose(groups)
    return (
        Column("σ_W/rms"),
        Column("σ_W/max", minor=True),
        Column("mean ± CI"),
        Column("KPP5", below=whose),
        Column("worst", below=of),
        Column(_yield_words(groups, target)),
        Column("above chance", minor=True),
    )


def _yield_words(groups: Sequence[Group], target: float | None) -> str:
    score = groups[0].score if groups else ACCURACY
    if target is None:
        return "yield"
    return f"≥ {100 * target:g} %" if score == ACCURACY else score.goal(target)


def _whose(groups: Sequence[Group]) -> str:
    """Of how many trained networks a row pools the chips, where that is more than one."""
    seeds = sorted({group.seeds for group in groups if group.whole_test})
    if not seeds or seeds[-1] == 1:
        return ""
    return f"of {seeds[0]} nets" if len(seeds) == 1 else "of n nets"


def _verdict_cells(results: Results, group: Group, target: float | None) -> tuple[str, ...]:
    verdict, score = verdict_of(group, target=target), group.score
    digits = 1 if score.unit == "%" else verdict.mean.digits
    return (
        effective(group.of_rms),
        effective(group.of_max),
        mean_cell(results, group),
        percent(verdict.kpp.estimate, digits=digits, score=score) if verdict.kpp else "",
        percent(verdict.worst, digits=digits, score=score) if verdict.worst is not None else "",
        percent(verdict.yield_.estimate) if verdict.yield_ else "",
        counted(results, group),
    )


def mean_cell(results: Results, group: Group) -> str:
    """The mean of a group with half its interval, and the marks of what limits it."""
    differs = not group.whole_test and any(other.whole_test for other in results.groups)
    marks = (PART if differs else "") + (FAILED if results.failed(group) else "")
    return mean_of(verdict_of(group).mean) + marks
