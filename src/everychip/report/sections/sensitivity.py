"""Sensitivity: which layers the noise hurts, where `everychip sensitivity` was asked."""

from __future__ import annotations

from everychip.report.blocks import Block, Section, Text
from everychip.report.results import Results
from everychip.report.weak_layers import figure, table


def section(results: Results, *, target: float | None) -> Section | None:
    """What each layer costs and deserves, and up to which σ the accuracy holds."""
    del target
    if not results.weak_layers:
        return None
    blocks: list[Block] = [figure(results.weak_layers)]
    for answer in results.weak_layers:
        blocks.append(table(answer))
        if words := answer.record.break_even_words:
            blocks.append(Text((f"{words[:1].upper()}{words[1:]}.",)))
    return Section("sensitivity", 45, "Which layers the noise hurts", tuple(blocks))
