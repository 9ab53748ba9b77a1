"""A study told in three sentences that anybody can repeat: what falls, what is published, what survives."""

from __future__ import annotations

from collections.abc import Sequence

from everychip.report.compared import Difference, differences
from everychip.report.results import Group, Panel, Results
from everychip.report.tables import verdict_of
from everychip.report.wording import at_sigma, count, kind_of, listing, mean_of, percent, points

UNAWARE, SURVIVOR = "vanilla", "resilient"
PUBLISHED = ("noise_injection", "irs", "ovf")
"""The labels of trainings as their papers have them; in brackets behind one stands what differs."""


def story(results: Results) -> tuple[str, ...]:
    """Up to three sentences a context: without noise in training, as published, and the survivor's lead.

    Args:
        results: of a study with `vanilla`, a published method and `resilient`; there is none of another.

    Returns:
        The sentences, every number of them computed from the draws.
    """
    return tuple(sentence for panel in results.panels for sentence in _told(panel))


def _told(panel: Panel) -> list[str]:
    at = {group.method: group for group in panel.at_sigma}
    published = [at[name] for name in PUBLISHED if name in at]
    if UNAWARE not in at or SURVIVOR not in at or not published:
        return []
    best = max(published, key=_mean)
    lead = next((d for d in differences([panel]) if (d.method, d.control) == (at[SURVIVOR], best)), None)
    return [
        _falls(panel, at[UNAWARE]),
        f"Trained under that noise as published, it keeps {listing(map(_kept, published))}.",
        _survives(panel, at[SURVIVOR], lead),
    ]


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
    others = (other for other in panel.at_sigma if other is not group and other.method not in PUBLISHED)
    return [other for other in others if kind_of(other.method) in PUBLISHED]


def _worst(group: Group) -> str:
    worst = verdict_of(group).worst
    return "–" if worst is None else percent(worst)
