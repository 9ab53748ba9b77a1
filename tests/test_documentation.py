"""The documentation is true: every block runs and prints what stands under it, every link leads somewhere."""

from __future__ import annotations

import importlib.util
import inspect
import pkgutil
import re
import runpy
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import everychip as ec
from everychip.config.component import Component

pytestmark = pytest.mark.slow  # it runs every page
ROOT = Path(__file__).parents[1]
NUMBER = re.compile(r"[-+]?\d+(?:\.\d+)?(?:e[-+]?\d+)?")
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


def runner() -> Any:
    """tools/docs/run_pages.py, which is a script and no part of the package."""
    spec = importlib.util.spec_from_file_location("run_pages", ROOT / "tools" / "docs" / "run_pages.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


PAGES: list[Path] = runner().all_pages()


def same(shown: str, printed: str) -> bool:
    """The same words, and numbers that another processor's last bits may move by a tenth (or by 0.05)."""
    if NUMBER.sub("#", shown).split() != NUMBER.sub("#", printed).split():
        return False
    pairs = zip(map(float, NUMBER.findall(shown)), map(float, NUMBER.findall(printed)), strict=True)
    return all(abs(a - b) <= max(0.05, 0.1 * abs(b)) for a, b in pairs)


def relative(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.mark.parametrize("page", PAGES, ids=relative)
def test_every_block_runs_and_prints_what_stands_under_it(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for output in runner().play(page):
        where = f"{relative(page)}:{output.block.line} prints (and `make docs` writes)"
        assert same(output.block.text, output.printed), f"{where}:\n{output.printed}"


def test_a_wrong_number_and_a_wrong_word_are_noticed() -> None:
    assert same("mean 89.3 % of 200", "mean 89.1 % of 200")
    assert not same("mean 89.3 % of 200", "mean 59.1 % of 200")
    assert not same("mean 89.3 % of 200", "best 89.3 % of 200")
    assert not same("1 2", "1")


@pytest.mark.parametrize("page", [*PAGES, ROOT / "CHANGELOG.md"], ids=relative)
def test_every_internal_link_leads_somewhere(page: Path) -> None:
    for target in LINK.findall(page.read_text(encoding="utf-8")):
        path, _, anchor = target.partition("#")
        if "://" in target or target.startswith("mailto:"):
            continue
        goal = (page.parent / path).resolve() if path else page
        assert goal.exists(), f"{relative(page)} links to {target}, which does not exist"
        if anchor:
            assert anchor in anchors(goal), f"{relative(page)} links to {target}, which has no such heading"


def anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_every_page_is_reachable_from_the_readme() -> None:
    reached, waiting = set(), [ROOT / "README.md"]
    while waiting:
        page = waiting.pop()
        if page in reached or page.suffix != ".md" or not page.exists():
            continue
        reached.add(page)
        targets = (target.partition("#")[0] for target in LINK.findall(page.read_text(encoding="utf-8")))
        waiting += [(page.parent / target).resolve() for target in targets if target and "://" not in target]
    assert {page for page in PAGES if page not in reached} == set()


def test_the_reference_is_what_the_code_says() -> None:
    command = [sys.executable, str(ROOT / "tools" / "docs" / "make_reference.py"), "--check"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert result.returncode == 0, result.stdout + result.stderr


def test_the_notebooks_are_what_their_pages_say() -> None:
    command = [sys.executable, str(ROOT / "tools" / "docs" / "notebooks.py"), "--check"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert result.returncode == 0, result.stdout + result.stderr


def test_the_root_of_the_site_leads_to_its_first_page() -> None:
    settings = runpy.run_path(str(ROOT / "docs" / "conf.py"))
    (extra,) = settings["html_extra_path"]
    page = (ROOT / "docs" / extra / "index.html").read_text(encoding="utf-8")
    assert page.count(f"{settings['root_doc']}.html") == 2  # by itself, and by hand


def modules() -> Iterator[Any]:
    for info in pkgutil.walk_packages(ec.__path__, "everychip."):
        if not info.name.endswith("__main__"):
            yield importlib.import_module(info.name)


def public(module: Any) -> Iterator[tuple[str, Any]]:
    """The public classes and functions that a module defines itself."""
    for name, value in vars(module).items():
        defined_here = getattr(value, "__module__", None) == module.__name__ and not name.startswith("_")
        if defined_here and (inspect.isclass(value) or inspect.isfunction(value)):
            yield f"{module.__name__}.{name}", value


def test_every_module_class_and_function_has_a_docstring() -> None:
    bare = []
    for module in modules():
        if not module.__doc__:
            bare.append(module.__name__)
        bare += [name for name, value in public(module) if not (value.__doc__ or "").strip()]
    assert bare == []


def families() -> Iterator[type[Component]]:
    list(modules())
    for family in Component.__subclasses__():
        if family.__module__.startswith("everychip."):
            yield family


@pytest.mark.parametrize(
    ("family", "kind"),
    [
        pytest.param(family, kind, id=f"{family.family}-{kind}")
        for family in families()
        for kind, component in family.kinds().items()
        if component.__module__.startswith("everychip.")
    ],
)
def test_every_kind_explains_its_fields_and_shows_an_example(family: type[Component], kind: str) -> None:
    component = family.kinds()[kind]
    text = inspect.getdoc(component) or ""
    assert ">>>" in text, f"{component.__name__} has no example"
    lineage = [parent for parent in component.__mro__ if issubclass(parent, family)]
    explained = "".join(parent.__doc__ or "" for parent in lineage)
    unexplained = [name for name in component.model_fields if not re.search(rf"\b{name}\b", explained)]
    assert unexplained == [], f"{component.__name__} does not explain {unexplained}"
    if family.family in ("device", "mapping", "method", "constraint", "mitigation"):
        assert "Source:" in text, f"{component.__name__} names no source (a paper, or: this project's own)"
    if family.family == "method":
        assert "Cost:" in text, f"{component.__name__} does not say what a step costs, in forwards"
