"""The answer in the first lines: which method keeps how much at which σ, and what to know first."""

from __future__ import annotations

from everychip.report.blocks import Block, Section, Text
from everychip.report.compared import differences
from everychip.report.method_kinds import method_of
from everychip.report.results import Group, Panel, Results
from everychip.report.tables import verdict_of
from everychip.report.wording import at_sigma, count, listing, mean_of, percent
from everychip.scores import ACCURACY
from everychip.statistics.outcome import words_of


def section(results: Results, *, target: float | None) -> Section:
    """What was found, a sentence or three for each context and training σ."""
    blocks: list[Block] = [Text(tuple(_finding(results, panel, target) for panel in results.panels), "lead")]
    warnings = _warnings(results)
    if warnings:
        blocks.append(Text(warnings, style="warning"))
    return Section("answer", 10, "", tuple(blocks))


def _finding(results: Results, panel: Panel, target: float | None) -> str:
    ranked = sorted(panel.at_sigma, key=lambda group: -group.score.sign * verdict_of(group).mean.estimate)
    heading = results.heading(panel.context)
    where = at_sigma(panel.sigma, panel.at_sigma) + (f", {heading}" if heading else "")
    where = f"At {where}" if panel.sigma is None and panel.time is not None else where
    best, *others = ranked
    kept = _kept(panel, best, _digital(results, best))
    named = best.method if results.trained else "The network as it is"
    text = f"**{where}.** {named} {_best(best) if others else 'keeps'} {kept}."
    told = [
        f"{g.method} {_text(g, verdict_of(g).mean.estimate)}"
        for g in others
        if method_of(g.kind).role == "baseline"
    ]
    if told:
        text += f" For comparison: {listing(told)}."
    return " ".join(part for part in (text, _reached(best, target), _claims(panel)) if part)


def _digital(results: Results, group: Group) -> float | None:
    """The mean digital accuracy of a group's networks, where all of their runs say it."""
    known = [run.digital for run in results.runs if run.id in group.runs]
    said = [value for value in known if value is not None]
    return sum(said) / len(said) if said and len(said) == len(known) else None


def digital_words(results: Results) -> tuple[str, ...]:
    """What the network that a run trained scores without noise, where no row of its table says so.

    Args:
        results: of a run or a study.

    Returns:
        One line, or none.
    """
    if results.is_study or not results.trained or 0.0 in results.sigmas or not results.groups:
        return ()
    digital = _digital(results, results.groups[0])
    return (
        () if digital is None else (f"Digital network, without noise: {_text(results.groups[0], digital)}.",)
    )


def _best(group: Group) -> str:
    return "has the highest mean:" if group.score.higher_is_better else "has the lowest mean:"


def _text(group: Group, value: float) -> str:
    """A value with its unit."""
    return f"{percent(value, score=group.score)} {group.score.unit}".rstrip()


def _kept(panel: Panel, group: Group, digital: float | None) -> str:
    clean, worst = panel.clean(group), verdict_of(group).worst
    known = [] if digital is None else [f"digital network {_text(group, digital)}"]
    if clean is not None and clean is not group:
        known.append(f"{_text(clean, verdict_of(clean).mean.estimate)} at σ = 0")
    if worst is not None:
        known.append(f"worst of {count(group.chips, 'chip')} {_text(group, worst)}")
    tail = f" ({'; '.join(known)})" if known else ""
    name = "" if group.score == ACCURACY else f"{group.score.name} "
    return f"**{name}{mean_of(verdict_of(group).mean)} {group.score.unit}".rstrip() + f"**{tail}"


def _reached(group: Group, target: float | None) -> str:
    reached = verdict_of(group, target=target).yield_
    if reached is None or target is None:
        return ""
    return f"{percent(reached.estimate)} % of its chips reach {group.score.goal(target)}."


def _claims(panel: Panel) -> str:
    """How the methods that claim something stand to the control that tests their claim."""
    told = [
        f"{d.sentence}."
        for d in differences([panel])
        if d.control.kind == method_of(d.method.kind).claim_control
    ]
    return " ".join(told)


def _warnings(results: Results) -> tuple[str, ...]:
    warnings = []
    if not results.trained:
        warnings.append("Over chips of one trained network: not a claim about a way to train it.")
    elif results.one_seed():
        warnings.append("Over chips, one training seed: not a claim about a method.")
    elif min(group.seeds for group in results.groups) < 3:
        warnings.append("Some methods were trained from fewer than three seeds: no claim about those.")
    if results.unfinished:
        warnings.append(
            f"Unfinished: {len(results.unfinished)} of {count(len(results.runs), 'run')} are still to come."
        )
    failed = {run.id: run for group in results.groups for run in results.failed(group)}
    if failed:
        names = listing(f"{run.name} ({words_of(run.status)})" for run in failed.values())
        warnings.append(f"Training went wrong: {names}. See how training ended, below.")
    return tuple(warnings)
