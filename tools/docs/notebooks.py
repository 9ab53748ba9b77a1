"""Notebooks from pages: `python tools/docs/notebooks.py [--check]` writes docs/notebooks/*.ipynb.

Text stays text, a block of Python or of commands is a cell, what a block prints is its output, and a file
that a page shows is written by a cell. The first cell installs everychip where it is missing.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

import nbformat
from markdown_it import MarkdownIt
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

ROOT = Path(__file__).resolve().parents[2]
TARGET = ROOT / "docs" / "notebooks"
PAGES = {
    "first-day": ROOT / "docs" / "tutorial" / "first-day.md",
    "my-device": ROOT / "docs" / "how-to" / "my-device.md",
    "my-model": ROOT / "docs" / "how-to" / "my-model.md",
    "leaderboard-entry": ROOT / "docs" / "explanation" / "leaderboard-rules.md",
}
INSTALL = """\
import importlib.util, sys

if importlib.util.find_spec("everychip") is None:
    !{sys.executable} -m pip install -q "everychip[hub,pandas]"
"""


def notebook(page: Path) -> nbformat.NotebookNode:
    """The cells of a page, in its order."""
    lines = page.read_text(encoding="utf-8").splitlines()
    cells, start, file = [new_code_cell(INSTALL.strip(), id="install")], 0, ""
    for token in MarkdownIt().parse("\n".join(lines)):
        if token.type == "html_block":
            file = token.content.strip()
        if token.type != "fence" or token.map is None or token.level:
            continue
        begin, end = token.map
        text = _text(lines[start:begin])
        printed = file == "<!-- prints -->" and token.info.strip() in ("text", "")
        if text:
            cells.append(new_markdown_cell(text, id=f"c{len(cells)}"))
        if printed and cells[-1].cell_type == "code":
            cells[-1].outputs = [new_output("stream", name="stdout", text=token.content)]
        else:
            cells.append(_cell(token.info.strip(), token.content, file, f"c{len(cells)}"))
        start, file = end, ""
    text = _text(lines[start:])
    if text:
        cells.append(new_markdown_cell(text, id=f"c{len(cells)}"))
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    return new_notebook(cells=cells, metadata={"kernelspec": kernel, "language_info": {"name": "python"}})


def _text(lines: list[str]) -> str:
    return "\n".join(line for line in lines if not line.startswith("<!--")).strip()


def _cell(language: str, text: str, comment: str, cell: str) -> nbformat.NotebookNode:
    named = re.fullmatch(r"<!-- (?:file: ?)?([\w./-]+\.\w+) -->", comment)
    if named:
        return new_code_cell(f"%%writefile {named[1]}\n{text.rstrip()}", id=cell)
    if language == "python":
        return new_code_cell(text.rstrip(), id=cell)
    if language == "sh":
        return new_code_cell("\n".join(f"!{line}" for line in text.splitlines() if line.strip()), id=cell)
    return new_markdown_cell(f"```{language}\n{text}```", id=cell)


def made() -> dict[Path, str]:
    """The text of every notebook by its path."""
    return {TARGET / f"{name}.ipynb": nbformat.writes(notebook(page)) + "\n" for name, page in PAGES.items()}


def main() -> int:
    """Write the notebooks, or with --check name those that their pages have left behind."""
    TARGET.mkdir(exist_ok=True)
    drifted = [p for p, text in made().items() if not p.exists() or p.read_text(encoding="utf-8") != text]
    if "--check" in sys.argv:
        print(*[f"{path.name} differs from its page; run `make docs`" for path in drifted], sep="\n")
        return 1 if drifted else 0
    for path in drifted:
        path.write_text(made()[path], encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
