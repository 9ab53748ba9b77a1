"""JSON on standard output, and letters for streams that lack some of ours."""

from __future__ import annotations

import codecs
import io
import json
import sys
from typing import Any, TextIO

SPELT = {
    "σ": "sigma",
    "±": "+-",
    "−": "-",
    "–": "-",
    "—": "-",
    "…": "...",
    "≥": ">=",
    "≤": "<=",
    "≈": "~",
    "×": "x",
    "·": ".",
    "µ": "u",
    "μ": "u",
    "Ω": "Ohm",
    "²": "2",
    "⁻": "-",
    "¹": "1",
    "√": "sqrt",
    "β": "beta",
    "θ": "theta",
    "Θ": "Theta",
    "λ": "lambda",
    "ε": "epsilon",
    "ρ": "rho",
    "α": "alpha",
    "χ": "chi",
    "°": "*",
    "†": "+",
    "✓": "ok",
    "✗": "no",
    "→": "->",
    "‖": "||",
    "─": "-",
    "\N{NARROW NO-BREAK SPACE}": " ",
    "\N{NO-BREAK SPACE}": " ",
    "“": '"',
    "”": '"',
    "’": "'",
}
"""How to write what cp1252 or ASCII lack; whatever else they lack is a question mark."""


def print_json(data: Any) -> int:
    """Print a value as JSON, escaped where the stream could not hold its letters.

    Args:
        data: what JSON can hold.

    Returns:
        0, the exit code.
    """
    utf = (getattr(sys.stdout, "encoding", None) or "utf-8").lower().startswith("utf")
    print(json.dumps(data, indent=1, ensure_ascii=not utf, allow_nan=False))  # noqa: T201
    return 0


def tolerate(*streams: TextIO) -> None:
    """Let a stream spell out a letter that its encoding lacks, as cp1252 lacks σ, rather than fail.

    Args:
        streams: standard output and standard error.
    """
    codecs.register_error("everychip", _spelt)
    for stream in streams:
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="everychip")


def _spelt(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    lacking = error.object[error.start : error.end]
    return "".join(_in(letter, error.encoding) for letter in lacking), error.end


def _in(letter: str, encoding: str) -> str:
    spelt = SPELT.get(letter, "?")
    try:
        spelt.encode(encoding)
    except UnicodeEncodeError:
        return "?"
    return spelt
