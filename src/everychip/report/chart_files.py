"""The report's charts as files, for a paper or a README: SVG, PNG or PDF from the same specifications."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from everychip.charts.style import STYLE
from everychip.errors import ConfigError, known_names
from everychip.report.blocks import Figure
from everychip.report.engine import must_start
from everychip.report.results import Results
from everychip.report.sections import figures
from everychip.storage.files import make_folder, write_whole

FORMATS = ("svg", "png", "pdf")
WIDTH, COLUMNS, INK = 360, 2, "#222222"


def write_charts(
    results: Results, folder: str | Path, *, formats: Sequence[str] = ("svg",)
) -> tuple[Path, ...]:
    """Write every figure of the report into `folder`, once in each format, and return the files."""
    for form in formats:
        if form not in FORMATS:
            raise ConfigError("formats", found=f"unknown format {form!r}", remedy=known_names(form, FORMATS))
    return write_figures(figures(results), folder, formats=formats)


def write_figures(
    shown: Sequence[Figure], folder: str | Path, *, formats: Sequence[str] = ("svg",)
) -> tuple[Path, ...]:
    """Write these figures into `folder` under their names, once in each format, and return the files."""
    must_start()
    target = Path(folder)
    make_folder(target)
    written = []
    for figure in shown:
        spec = still(figure)
        for form in formats:
            path = target / f"{figure.name}.{form}"
            _write(path, spec, form)
            written.append(path)
    return tuple(written)


def still(figure: Figure) -> dict[str, Any]:
    """All panels of a figure as one Vega-Lite specification, with titles and style, without interaction."""
    panels = [{**_unmoved(dict(panel.spec)), "title": panel.title, "width": WIDTH} for panel in figure.panels]
    for panel in panels:
        panel.pop("$schema", None)
    style = json.loads(json.dumps(STYLE).replace("currentColor", INK))
    return {
        "$schema": figure.panels[0].spec["$schema"],
        "concat": panels,
        "columns": COLUMNS,
        "spacing": 30,
        "config": {**style, "background": "white"},
    }


def _unmoved(node: Any) -> Any:
    """The specification as it looks untouched: of every condition the value where it holds, no parameters.

    Names of views go, too: two views of one name would share their marks.
    """
    if isinstance(node, list):
        return [_unmoved(item) for item in node]
    if not isinstance(node, dict):
        return node
    condition = node.get("condition")
    if isinstance(condition, dict) and "param" in condition:
        return {"value": condition["value"]}
    return {key: _unmoved(value) for key, value in node.items() if key not in ("params", "name")}


def _write(path: Path, spec: dict[str, Any], form: str) -> None:
    import vl_convert

    if form == "svg":
        content = vl_convert.vegalite_to_svg(spec).encode()
    elif form == "png":
        content = vl_convert.vegalite_to_png(spec, scale=2)
    else:
        content = vl_convert.vegalite_to_pdf(spec)

    def write(draft: Path) -> None:
        draft.write_bytes(content)

    write_whole(path, write)
