"""The diagrams: written by their script, said in words, shown on a page, and no word runs out of its box."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

ROOT = Path(__file__).parents[1]
SVG = "{http://www.w3.org/2000/svg}"


def script() -> Any:
    spec = importlib.util.spec_from_file_location("diagrams", ROOT / "tools" / "docs" / "diagrams.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["diagrams"] = module
    spec.loader.exec_module(module)
    return module


DIAGRAMS = {diagram.name: diagram for diagram in script().DIAGRAMS}
FILES = {name: ROOT / "docs" / "explanation" / "diagrams" / f"{name}.svg" for name in DIAGRAMS}


def test_no_drawing_lies_there_that_no_script_wrote() -> None:
    assert set(FILES.values()) == set(next(iter(FILES.values())).parent.glob("*"))


@pytest.mark.parametrize("name", DIAGRAMS)
def test_a_committed_diagram_is_what_its_script_writes(name: str) -> None:
    assert FILES[name].read_text(encoding="utf-8") == DIAGRAMS[name].svg()


@pytest.mark.parametrize("name", DIAGRAMS)
def test_every_arrow_joins_boxes_and_every_box_is_joined(name: str) -> None:
    diagram = DIAGRAMS[name]
    joined = {end for arrow in diagram.arrows for end in arrow}
    assert joined == {box.name for box in diagram.boxes}


@pytest.mark.parametrize("name", DIAGRAMS)
def test_a_diagram_is_said_in_words_in_the_file_and_on_a_page(name: str) -> None:
    root = ET.parse(FILES[name]).getroot()
    assert root.findtext(f"{SVG}title")
    assert len(root.findtext(f"{SVG}desc") or "") > 100
    pages = [page.read_text(encoding="utf-8") for page in (ROOT / "docs").rglob("*.md")]
    shown = [
        alt for text in pages for alt in re.findall(rf"!\[([^\]]*)\]\([^)]*diagrams/{name}\.svg\)", text)
    ]
    assert shown
    assert all(len(alt) > 40 for alt in shown)


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_word_runs_out_of_its_box_and_all_can_be_read(browser: Any, scheme: str) -> None:
    """In a real browser; contrast as WCAG 2.1 defines it, 4.5 to 1 for text."""
    page = browser.new_page(color_scheme=scheme)
    for file in FILES.values():
        page.goto(file.as_uri())
        for box in page.evaluate(_BOXES):
            assert box["inside"], f"{file.name}: {box['words']}"
            assert _contrast(box["ink"], box["paper"]) >= 4.5, f"{file.name}: {box['words']}"
    page.close()


_BOXES = """() => [...document.querySelectorAll('g')].flatMap(group => {
  const rect = group.querySelector('rect'), frame = rect.getBBox();
  return [...group.querySelectorAll('text')].map(text => {
    const words = text.getBBox();
    return {words: text.textContent, ink: getComputedStyle(text).fill, paper: getComputedStyle(rect).fill,
            inside: words.x >= frame.x + 3 && words.x + words.width <= frame.x + frame.width - 3
                    && words.y >= frame.y && words.y + words.height <= frame.y + frame.height};
  });
})"""


def _contrast(one: str, other: str) -> float:
    light, dark = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def _luminance(colour: str) -> float:
    parts = [int(number) / 255 for number in re.findall(r"\d+", colour)[:3]]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
