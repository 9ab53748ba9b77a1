"""One colour for each method, the same in every chart and table; distinguished by the colour-blind.

Colours: Okabe & Ito, Color Universal Design (2008). Baselines and controls are dashed, what
is trained without noise is dotted, methods are solid.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from everychip.report.method_kinds import method_of

OTHERS = (
    "#8c6bb1",
    "#7a5c3e",
    "#00868b",
    "#b8b000",
    "#a50f3a",
    "#4b4b9b",
    "#6b8e23",
    "#c71585",
    "#2f6f8f",
    "#b06a00",
)
"""For methods without a colour of their own, in the order in which a study has them."""
DASHED, DOTTED = (6, 3), (2, 3)
SHAPES = ("circle", "square", "triangle-up", "diamond", "cross", "triangle-down", "stroke")


@dataclass(frozen=True)
class Look:
    """How a method is drawn: its colour, its dashes (none: solid) and the shape of its points."""

    colour: str
    dash: tuple[int, int] | tuple[()]
    shape: str


def looks(methods: Sequence[str]) -> dict[str, Look]:
    """A look for each method; two labels of one kind never share a colour.

    >>> looks(["vanilla", "irs"])["irs"].colour
    '#0072b2'
    >>> len({look.colour for look in looks(["irs(beta=0.1)", "irs(beta=0.01)"]).values()})
    2
    """
    taken: set[str] = set()
    spare = iter(OTHERS * (1 + len(methods) // len(OTHERS)))
    found = {}
    for place, method in enumerate(methods):
        colour = method_of(method).colour
        if not colour or colour in taken:
            colour = next(spare)
        taken.add(colour)
        shape = SHAPES[place % len(SHAPES)]
        found[method] = Look(colour=colour, dash=_dash(method), shape=shape)
    return found


def _dash(method: str) -> tuple[int, int] | tuple[()]:
    one = method_of(method)
    if not one.noisy:
        return DOTTED
    return () if one.role == "method" else DASHED
