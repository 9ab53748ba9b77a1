"""A study in three sentences that anybody can repeat: what falls, what is published, what survives."""

from __future__ import annotations

from collections.abc import Sequence

from everychip.report.compared import Difference, differences
from everychip.report.method_kinds import method_of
from everychip.report.results import Group, Panel, Results
from everychip.report.tables import verdict_of
from everychip.report.wording import at_sigma, count, listing, mean_of, percent, points


def story(results: Results) -> tuple[str, ...]:
    """Up to three sentences a context: without noise in training, as published, and the survivor's lead.

    Args:
        results: of a study with a training without noise, one as published, and one of this project's own
            methods (`Method.own`); there is none of another.

    Returns:
        The sentences, every number of them computed from the draws.
    """
    return tuple(sentence for panel in results.panels for sentence in _told(panel))


def _told(panel: Panel) -> list[str]:
    unaware = next((group for group in panel.at_sigma if not method_of(group.kind).noisy), None)
    published = [group for group in panel.at_sigma if _as_published(group)]
    survivor = next((group for group in panel.at_sigma if method_of(group.kind).own), None)
    if unaware is None or survivor is None or not published:
        return []
    best = max(published, key=_mean)
    lead = next((d for d in differences([panel]) if (d.method, d.control) == (survivor, best)), None)
    return [
        _falls(panel, unaware),
        f"Trained under that noise as published, it keeps {listing(map(_kept, published))}.",
        _survives(panel, survivor, lead),
    ]


def _as_published(group: Group) -> bool:
    """Whether a method is somebody's paper's, and its label says of nothing that it differs from it."""
    method = method_of(group.kind)
    papers = method.role != "control" and method.noisy and not method.own
    return papers and group.method == group.kind


def _mean(group: Group) -> float:
    return verdict_of(group).mean.estimate


def _kept(group: Group) -> str:
    return f"{percent(_mean(group))} % ({group.method})"


def _falls(panel: Panel, group: Group) -> str:
    clean = panel.clean(group)
    before = (
        "" if clean is None or clean is group else f"is right {percent(_mean(clean))} % of the time, and "
    )
    return (
        f"Trained as usual, the network {before}keeps {percent(_mean(group))} % once it is programmed into "
        f"chips of {at_sigma(panel.sigma, [group])}; the worst of {count(group.chips, 'chip')} keeps "
        f"{_worst(group)} %."
    )


def _survives(panel: Panel, group: Group, lead: Difference | None) -> str:
    verdict = verdict_of(group)
    text = f"Trained by {group.method}, it keeps {mean_of(verdict.mean)} %, the worst chip {_worst(group)} %"
    if lead is not None:
        over = f"over {lead.control.method}, the best of those"
        shown = "" if lead.shows == "better" else ", which shows no lead"
        text += f"; that is {points(lead.interval)} points {over}{shown}"
    own = _controls(panel, group)
    return f"{text}. Its control keeps {listing(map(_kept, own))}." if own else f"{text}."


def _controls(panel: Panel, group: Group) -> Sequence[Group]:
    """The controls with the survivor's own ingredients, so that nobody takes it for more than they are."""
    published = {other.kind for other in panel.at_sigma if _as_published(other)}
    others = (other for other in panel.at_sigma if other is not group and not _as_published(other))
    return [other for other in others if other.kind in published]


def _worst(group: Group) -> str:
    worst = verdict_of(group).worst
    return "–" if worst is None else percent(worst)
