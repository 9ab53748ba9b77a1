"""What `everychip cost` adds for a network whose exits stay: what each way to answer takes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from everychip.charts.paragraph import paragraph
from everychip.report.blocks import Column, Row, Table
from everychip.report.terminal import rich_table
from everychip.report.wording import percent, quantity

if TYPE_CHECKING:
    from rich.console import Console

    from everychip.cost import Answer

UNKNOWN = (
    "What `early` takes depends on how many inputs leave at each exit, which its run measures: "
    'everychip cost RUN of a run with evaluation.policy = { kind = "early" }.'
)


def measured_shares(model: str) -> list[float] | None:
    """How the inputs of a run with the policy `early` left, where that is what the word stands for."""
    from everychip.policies.early import SHARES
    from everychip.study import store

    if not store.is_complete(Path(model)):
        return None
    facts = store.open_run(Path(model)).record.get("treatment") or []
    return next((list(fact[SHARES]) for fact in facts if SHARES in fact), None)


def show_answers(rows: Sequence[Answer], out: Console, *, width: int) -> None:
    """A line for each way to answer; of `early` only where its shares were measured."""
    from everychip.hardware.coverage import short

    shown = []
    for row in rows:
        amounts = quantity(row.energy_j, "J"), quantity(row.latency_s, "s")
        share = f"{percent(row.of_combined)} %"
        shown.append(Row((row.name, short(round(row.macs)), share, f"{row.layers:.3g}", *amounts)))
    names = ("MACs", "of all", "layers", "energy", "time")
    table = Table("", (Column("answer", "key"), *map(Column, names)), tuple(shown))
    out.print()
    out.print(rich_table(table, width=width))
    if rows[-1].name != "early":
        out.print("\n".join(paragraph(UNKNOWN, width - 1)), highlight=False, markup=False, style="dim")
