"""Write the plots of the documentation, each with a mark by which a test sees whether it is the latest."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from everychip.charts.style import STYLE
from everychip.report.chart_files import INK


def mark_of(kind: str, told: Any) -> str:
    """A comment that names what a plot shows by its hash."""
    text = json.dumps(told, sort_keys=True, ensure_ascii=False)
    return f"<!-- {kind} {hashlib.sha256(text.encode()).hexdigest()[:12]} -->"


def side_by_side(charts: Sequence[dict[str, Any]], *, columns: int, apart: bool = False) -> dict[str, Any]:
    """Charts as one specification, in the style of the reports; apart: each has colours of its own."""
    style = json.loads(json.dumps(STYLE).replace("currentColor", INK))
    return {
        "$schema": "https://vega.github.io/schema/vega-lite/v5.json",
        "concat": list(charts),
        "columns": columns,
        "spacing": 30,
        "resolve": {"scale": {"color": "independent" if apart else "shared"}},
        "config": {**style, "background": "white"},
    }


def write_plot(path: Path, specification: dict[str, Any], mark: str) -> None:
    """Draw a Vega-Lite specification as SVG, the mark on its last line."""
    import vl_convert

    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{vl_convert.vegalite_to_svg(specification)}\n{mark}\n", encoding="utf-8")
    shown = path.relative_to(Path(__file__).parent) if path.is_relative_to(Path(__file__).parent) else path
    print(f"{shown}: {path.stat().st_size:,} bytes")
