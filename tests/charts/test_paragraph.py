"""Paragraphs of a terminal: at no width does a number lose its unit, and no word is lost or changed."""

from __future__ import annotations

import re

import pytest

from everychip.charts.paragraph import paragraph

STORY = (
    "Trained by resilient, it keeps 97.0 ± 0.9 %, the worst chip 92.0 %; that is +22.7 [+19.1, +26.4] points "
    "over irs, at σ = 0.3 (σ_W/rms(W) 0.82). Energy 529 µJ, 2.2 ms, 17.1 mm², 0.4 TOPS/W, ≥ 90 %, – %."
)
TORN = re.compile(
    r"([\d–]\n[%±])|([\d%]\n\[)|([±≥=]\n[\d+−])|(,\n[+−\d.]+\])|(σ\n=)|(\d\n(?:[µm]?[Js]|mm²|TOPS|points?)\b)|(\]\npoints)"
)


@pytest.mark.parametrize("width", range(36, 121))
def test_a_number_keeps_its_unit_at_every_width(width: int) -> None:
    lines = paragraph(STORY, width, first="Label  ", hanging="       ")
    assert not TORN.search("\n".join(line.strip() for line in lines))
    assert max(map(len, lines)) <= width
    assert " ".join(line.strip() for line in lines) == f"Label  {STORY}".strip()


def test_the_pattern_of_this_test_finds_what_plain_wrapping_tears() -> None:
    import textwrap

    torn = [TORN.search("\n".join(textwrap.wrap(STORY, width))) for width in range(36, 121)]
    assert sum(map(bool, torn)) > 30


def test_a_word_longer_than_the_line_is_cut_and_a_name_keeps_its_hyphens() -> None:
    assert paragraph("a" * 25, 10) == ["a" * 10, "a" * 10, "a" * 5]
    assert paragraph("everychip evaluate digits-lenet-vanilla", 28) == [
        "everychip evaluate",
        "digits-lenet-vanilla",
    ]
