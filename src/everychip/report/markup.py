"""The report's small markup, `code` and **strong**, as HTML and as bare text; it is Markdown already."""

from __future__ import annotations

import html
import re

_CODE = re.compile(r"`([^`]+)`")
_OPTION = re.compile(r"(?<=\s)(--?[a-z][\w-]*(?: [^\s-]\S{0,15}(?!\S))?)")
"""An option of a command, and its value if that is short: a line must break neither within nor between."""
_GLUED = re.compile(r"(?<=[\d\]]) %| ± |σ = | − |(?<=\d), (?=[−+\d.]+\])")
"""Where a line must not break."""
_STRONG = re.compile(r"\*\*([^*]+)\*\*")


def to_html(text: str) -> str:
    """Escaped HTML.

    >>> to_html("**irs** at σ_W/rms(W) < 1")
    '<strong>irs</strong> at σ<sub>W</sub>/rms(W) &lt; 1'
    """
    escaped = html.escape(text, quote=True)
    marked = _STRONG.sub(r"<strong>\1</strong>", _CODE.sub(_code, escaped))
    return _GLUED.sub(lambda match: match[0].replace(" ", "&nbsp;"), marked.replace("σ_W", "σ<sub>W</sub>"))


def _code(match: re.Match[str]) -> str:
    whole = _OPTION.sub(r'<span class="whole">\1</span>', match[1])
    return f"<code>{whole}</code>"


def to_plain(text: str) -> str:
    """Bare text.

    >>> to_plain("**irs** and `ovf`")
    'irs and ovf'
    """
    return _STRONG.sub(r"\1", _CODE.sub(r"\1", text))
