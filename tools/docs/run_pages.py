"""Run the documentation: every Python block, every `everychip` command, in a scratch folder for each page.

    python tools/docs/run_pages.py [PAGE ...]

writes what the blocks print under them, in the blocks that follow `<!-- prints -->`. A block that follows
`<!-- file: NAME -->` is written to that file instead of run. The tests compare instead of writing.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import shlex
import sys
import tempfile
import types
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markdown_it import MarkdownIt

from everychip.cli import call
from everychip.config.component import Component
from everychip.rng import seeded_global_generator

ROOT = Path(__file__).parents[2]
PRINTS = "<!-- prints -->"
FILE = re.compile(r"<!-- file: (\S+) -->")


def all_pages() -> list[Path]:
    """Every page with blocks to run."""
    return [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]


@dataclass(frozen=True)
class Block:
    """One fenced block: its language, its text, its first line in the page, and the comment before it."""

    language: str
    text: str
    line: int
    comment: str


@dataclass(frozen=True)
class Output:
    """What a page says that its last block prints, and what it prints."""

    block: Block
    printed: str


def blocks(page: Path) -> list[Block]:
    """The fenced blocks of a page."""
    found, comment = [], ""
    for token in MarkdownIt().parse(page.read_text(encoding="utf-8")):
        if token.type == "fence":
            line = (token.map or [0])[0] + 1
            found.append(Block(token.info.strip(), token.content, line, comment))
        comment = token.content.strip() if token.type == "html_block" else ""
    return found


def play(page: Path) -> Iterator[Output]:
    """Run a page from top to bottom in the working directory; yield what it says and what it prints."""
    module, printed = types.ModuleType("page"), ""
    sys.modules["page"] = module  # where pydantic looks for the names that annotations use
    with seeded_global_generator(0, "page", page.name), _registries_restored():
        for block in blocks(page):
            file = FILE.fullmatch(block.comment)
            if file:
                Path(file[1]).write_text(block.text, encoding="utf-8")
            elif block.comment == PRINTS:
                yield Output(block, printed)
            else:
                printed = _printed_by(block, page, vars(module))


def _printed_by(block: Block, page: Path, names: dict[str, Any]) -> str:
    """Run Python where it stands, so that a traceback points into the page, or commands of everychip."""
    output = io.StringIO()
    with contextlib.redirect_stdout(output):
        if block.language == "python":
            exec(compile("\n" * block.line + block.text, str(page), "exec"), names)  # noqa: S102
        for line in block.text.splitlines() if block.language == "sh" else []:
            if line.startswith("everychip ") and call(shlex.split(line)[1:]) != 0:
                raise AssertionError(f"{page.name}:{block.line}: this command failed: {line}")
    return output.getvalue()


@contextlib.contextmanager
def _registries_restored() -> Iterator[None]:
    """Kinds that a page defines are gone after it."""
    before = {family: dict(family.registry) for family in Component.__subclasses__()}
    try:
        yield
    finally:
        for family, registry in before.items():
            family.registry.clear()
            family.registry.update(registry)


def refresh(page: Path) -> bool:
    """Write what the blocks print under them; whether that changed the page."""
    lines = page.read_text(encoding="utf-8").splitlines(keepends=True)
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        outputs = list(play(page))
    for output in reversed(outputs):
        start = output.block.line
        lines[start : start + output.block.text.count("\n")] = [output.printed.rstrip() + "\n"]
    changed = "".join(lines) != page.read_text(encoding="utf-8")
    page.write_text("".join(lines), encoding="utf-8")
    return changed


def main() -> None:
    """Refresh the pages named on the command line, or all."""
    os.environ.setdefault("COLUMNS", "110")
    for page in [Path(name).resolve() for name in sys.argv[1:]] or all_pages():
        print(f"{page.relative_to(ROOT)}{' changed' if refresh(page) else ''}", flush=True)


if __name__ == "__main__":
    main()
