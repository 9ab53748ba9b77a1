"""The site of the documentation: `make site` builds it, with warnings as errors."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "src"))

import everychip

project = "everychip"
author = "The everychip authors"
release = version = everychip.__version__
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx_design"]
html_theme = "furo"
html_title = f"everychip {version}"
html_static_path = ["_static"]
html_css_files = ["wide.css"]
html_extra_path = ["_extra"]  # who opens the site at its root is led to the first page
html_show_copyright = False  # the licence is in README; an empty line says nothing
root_doc = "docs/index"
# The source is the repository, so that pages may link to results and recipes; only these are pages.
include_patterns = ["docs/**.md", "results/*/README.md", "README.md", "CONTRIBUTING.md", "CHANGELOG.md"]
myst_enable_extensions = ["dollarmath", "colon_fence"]
myst_heading_anchors = 4
# A result stands in the repository and is reached from the page that reads it.
suppress_warnings = ["toc.not_included", "myst.header"]
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
napoleon_google_docstring = True
napoleon_numpy_docstring = False
python_use_unqualified_type_names = True

_CODE = re.compile(r"(`+)(.+?)\1")


def as_rst(app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Docstrings here are plain text with `code`: bars and stars are formulas, not markup."""
    in_example = False
    for i, line in enumerate(lines):
        in_example = line.lstrip().startswith((">>>", "...")) or (in_example and bool(line.strip()))
        if in_example:
            continue
        parts = _CODE.split(line)
        texts = [re.sub(r"([|*_])", r"\\\1", part) for part in parts[0::3]]
        codes = [f"``{code}``" for code in parts[2::3]]
        lines[i] = "".join(t + c for t, c in zip(texts, [*codes, ""], strict=True))


def setup(app: Any) -> None:
    """Before napoleon reads the sections, which it does at the default priority of 500."""
    app.connect("autodoc-process-docstring", as_rst, priority=100)
