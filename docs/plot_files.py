"""Write the plots of the documentation, each with a mark by which a test sees whether it is the latest."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any


def mark_of(kind: str, told: Any) -> str:
    """A comment that names what a plot shows by its hash."""
    text = json.dumps(told, sort_keys=True, ensure_ascii=False)
    return f"<!-- {kind} {hashlib.sha256(text.encode()).hexdigest()[:12]} -->"


def write_plot(path: Path, specification: dict[str, Any], mark: str) -> None:
    """Draw a Vega-Lite specification as SVG, the mark on its last line."""
    import vl_convert

    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{vl_convert.vegalite_to_svg(specification)}\n{mark}\n", encoding="utf-8")
    print(f"{path.relative_to(Path(__file__).parent)}: {path.stat().st_size:,} bytes")
