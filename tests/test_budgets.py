"""The code stays readable in one evening: budgets of DESIGN, checked on the syntax tree."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from statistics import median

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "everychip"
FILES = sorted(SOURCE.rglob("*.py"))


def lines(path: Path) -> int:
    return len(path.read_text(encoding="utf-8").splitlines())


def functions(path: Path) -> Iterator[tuple[str, int]]:
    """Every function of a file with its length in lines, its docstring not counted."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or 0) - node.lineno + 1
            if ast.get_docstring(node) is not None:
                length -= (node.body[0].end_lineno or 0) - node.body[0].lineno + 1
            yield node.name, length


def test_the_median_file_has_at_most_130_lines() -> None:
    assert len(FILES) > 20
    assert median(lines(path) for path in FILES) <= 130


def test_no_file_has_more_than_400_lines() -> None:
    assert {str(path): n for path in FILES if (n := lines(path)) > 400} == {}


def test_no_function_has_more_than_40_lines() -> None:
    long = {f"{path.name}:{name}": n for path in FILES for name, n in functions(path) if n > 40}
    assert long == {}


def test_the_function_counter_counts_lines_without_the_docstring(tmp_path: Path) -> None:
    file = tmp_path / "example.py"
    file.write_text('def f(\n    x,\n):\n    """One.\n\n    Two.\n    """\n    y = x\n    return y\n')
    assert list(functions(file)) == [("f", 5)]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_nothing_happens_at_import_but_definitions(path: Path) -> None:
    allowed = (
        ast.Import, ast.ImportFrom, ast.FunctionDef, ast.ClassDef, ast.Assign, ast.AnnAssign, ast.If, ast.Try,
        ast.TypeAlias if hasattr(ast, "TypeAlias") else ast.Pass,
    )  # fmt: skip
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        text = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        assert text or isinstance(node, allowed), f"{path.name}:{node.lineno} runs at import"
