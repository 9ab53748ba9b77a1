"""The report as one HTML file that needs nothing but a browser: styles, scripts and numbers are inside."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from everychip.charts.style import STYLE
from everychip.config.arguments import a, number, optional, takes
from everychip.errors import StoreError
from everychip.evaluation.draws import Draws
from everychip.report.blocks import Block, Details, Figure, Table, Text, Yields
from everychip.report.engine import WORDS, starts
from everychip.report.markup import to_html, to_plain
from everychip.report.of_draws import results_of
from everychip.report.palette import looks
from everychip.report.reading import load
from everychip.report.results import Results
from everychip.report.sections import build
from everychip.report.setting import setting
from everychip.report.story import story
from everychip.storage.files import write_text

FILE = "report.html"
_PARTS = re.compile(r"[^][<>]+(?= \[)|\[[^][<>]*\]\S*|^[^][]+$")
"""A number and the interval behind it: a narrow page may put them on two lines, but cuts neither."""
_WHOLE = r'<span class="whole">\g<0></span>'
_JOINTS = re.compile(r"_|(?<=\w)\.(?=[^\W\d])")
"""Where a name may go on in the next line of a narrow page."""


@takes(
    source=a((str, Path, Draws), "the folder of a run or a study, or draws"),
    output=optional(a((str, Path), "a file or a folder")),
    target=optional(number()),
    title=a(str, "a text"),
)
def write_report(
    source: str | Path | Draws,
    *,
    output: str | Path | None = None,
    target: float | None = None,
    title: str = "",
) -> Path:
    """Write one HTML page about a run, a study, or the draws of one network; it needs nothing but a browser.

    Args:
        source: the folder of a run or a study, finished or not; or draws, as `evaluate` gives them.
        output: the page, or a folder for it; absent, report.html in the folder, of draws in this one.
        target: a score, 0 … 1 of an accuracy, at which the page begins with the yield: the share of chips
            that reach it.
        title: the heading of a page of draws.

    Returns:
        The file that was written.

    >>> import tempfile
    >>> from everychip.evaluation.draws import Draws
    >>> draws = Draws.of([{"accuracy": 0.9}, {"accuracy": 0.92}], seed=0, images=360)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_report(draws, output=folder).name
    'report.html'
    """
    results = results_of(source, title=title) if isinstance(source, Draws) else load(source)
    target = results.target if target is None else target
    file = Path(output) if output is not None else results.path / FILE
    if file.is_dir():
        file /= FILE
    text = page(results, target=target)
    try:
        write_text(file, text)
    except OSError as error:
        words = (error.strerror or "an unusable path").lower()
        raise StoreError(str(file), found=words, expected="a file that can be written") from None
    return file


def page(results: Results, *, target: float | None = None) -> str:
    """The report as HTML text."""
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=PackageLoader("everychip.report", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["markup"] = lambda text: Markup(to_html(text))
    environment.filters["plain"] = to_plain
    environment.filters["breakable"] = lambda text: Markup(_JOINTS.sub(r"\g<0><wbr>", str(text)))
    environment.filters["bounded"] = lambda text: Markup(_PARTS.sub(_WHOLE, str(text)))
    environment.filters["json"] = lambda value: Markup(_json(value))
    environment.filters["text"] = _text
    environment.tests.update({name: _is(kind) for name, kind in _KINDS.items()})
    sections, drawn = build(results, target=target), starts()
    if not drawn:
        sections = tuple(replace(section, blocks=_without_figures(section.blocks)) for section in sections)
    has_charts = any(isinstance(block, Figure) for section in sections for block in section.blocks)
    return environment.get_template("report.html.j2").render(
        results=results,
        sections=sections,
        setting=setting(results),
        story=story(results) if len(results.panels) == 1 else (),
        looks=looks(results.method_kinds),
        style=STYLE,
        script=Markup(_script()) if has_charts else "",
        remark="" if drawn else f"The charts are left out: {WORDS}.",
    )


def _without_figures(blocks: Iterable[Block]) -> tuple[Block, ...]:
    return tuple(block for block in blocks if not isinstance(block, Figure))


_KINDS: dict[str, type[Any]] = {
    "text": Text,
    "table": Table,
    "figure": Figure,
    "yields": Yields,
    "details": Details,
}


def _is(kind: type[Any]) -> Any:
    def test(block: Block) -> bool:
        return isinstance(block, kind)

    return test


def _text(value: Any) -> str:
    """JSON for an attribute, which the template escapes."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def _json(value: Any) -> str:
    """JSON that can stand inside a script element."""
    return _text(value).replace("<", "\\u003c")


@cache
def _script() -> str:
    """Vega, Vega-Lite and Vega-Embed, without a network."""
    import vl_convert

    bundle: Any = vl_convert.javascript_bundle  # typed as if its argument were required
    # A literal end tag inside a string of the script would end the element.
    return str(bundle()).replace("</script", "<\\/script").replace("<!--", "<\\!--")
