"""Sentences in lines of a width, for terminals and pipes: a number keeps its unit, an interval its middle."""

from __future__ import annotations

import re
import textwrap

_JOINED = re.compile(
    r"(?<=[\d–\]]) (?=%|[±×]|points?\b|[fpnµmkMGT]?(?:J|s|W|V|Ω|Hz)\b|mm²|TOPS|G_max)"
    r"|(?<=[±≥≤=]) (?=[\d+−.])|(?<=[σβεα]) (?==)"
    r"|(?<=[\d%]) (?=\[)|(?<=,) (?=[\d+−.]+\])"
)
_BLANK = "\N{NO-BREAK SPACE}"


def paragraph(text: str, width: int, *, first: str = "", hanging: str = "") -> list[str]:
    """The lines of a paragraph, none of which ends between a number and what belongs to it.

    Args:
        text: one paragraph, without line breaks.
        width: characters of a line; a longer word is cut.
        first: what the first line begins with.
        hanging: what each other line begins with.

    Returns:
        Lines without a line break.

    >>> paragraph("Its control keeps 97.0 % (clip).", 23)
    ['Its control keeps', '97.0 % (clip).']
    >>> paragraph("it keeps 97.0 ± 0.9 % at σ = 0.3", 16)
    ['it keeps', '97.0 ± 0.9 % at', 'σ = 0.3']
    """
    joined = _JOINED.sub(_BLANK, text)
    lines = textwrap.wrap(
        joined,
        width,
        initial_indent=first,
        subsequent_indent=hanging,
        break_on_hyphens=False,
    )
    return [line.replace(_BLANK, " ") for line in lines]
