"""One colour for each method, the same in every chart and table; distinguished by the colour-blind.

Colours: Okabe & Ito, Color Universal Design (2008). Baselines and controls are dashed, what
is trained without noise is dotted, methods are solid.
"""

from __future__ import annotations

from collections.abc import Mapping
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


def looks(methods: Mapping[str, str]) -> dict[str, Look]:
    """A look for each label by the kind of its method; two labels of one kind never share a colour.

    >>> looks({"plain": "vanilla", "ours": "irs"})["ours"].colour
    '#0072b2'
    >>> len({look.colour for look in looks({"β 0.1": "irs", "β 0.01": "irs"}).values()})
    2
    """
    taken: set[str] = set()
    spare = iter(OTHERS * (1 + len(methods) // len(OTHERS)))
    found = {}
    for place, (method, kind) in enumerate(methods.items()):
        colour = method_of(kind).colour
        if not colour or colour in taken:
            colour = next(spare)
        taken.add(colour)
        shape = SHAPES[place % len(SHAPES)]
        found[method] = Look(colour=colour, dash=_dash(kind), shape=shape)
    return found


def _dash(kind: str) -> tuple[int, int] | tuple[()]:
    one = method_of(kind)
    if not one.noisy:
        return DOTTED
    return () if one.role == "method" else DASHED
