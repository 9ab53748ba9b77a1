"""Fill the pages with tables of committed results: the number stands below the call that made it.

    python tools/docs/fill_tables.py [PAGE ...]

writes, under every `<!-- table: SCRIPT FUNCTION ARGUMENTS -->`, what that function of the script returns.
The table that stood there goes; text stays. The tests compare instead of writing.
"""

from __future__ import annotations

import re
import sys
from importlib import import_module
from pathlib import Path

ROOT = Path(__file__).parents[2]
MARK = re.compile(r"(?m)^<!-- table: (\w+) (\w+)((?: [\w.+-]+)*) -->\n((?:\|.*(?:\n|\Z))*)")

sys.path.insert(0, str(ROOT / "tools" / "docs"))  # the scripts stand beside this one, whoever runs it


def pages() -> list[Path]:
    """Every page that asks for a table."""
    found = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    return [page for page in found if MARK.search(page.read_text(encoding="utf-8"))]


def filled(words: str) -> str:
    """A page with its tables as the committed results have them."""

    def table(mark: re.Match[str]) -> str:
        script, function, arguments, _ = mark.groups()
        made = getattr(import_module(script), function)(*arguments.split())
        return f"<!-- table: {script} {function}{arguments} -->\n{made}\n"

    return MARK.sub(table, words)


def main(names: list[str]) -> None:
    for page in [Path(name).resolve() for name in names] or pages():
        page.write_text(filled(page.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
