"""Coverage: what of each network is on the crossbar, and why the rest is not."""

from __future__ import annotations

from everychip.hardware.coverage import Coverage
from everychip.hardware.coverage import Row as Parameter
from everychip.hardware.hardware import Why
from everychip.report.blocks import Block, Column, Details, Row, Section, Table, Text
from everychip.report.results import Results

LEAD = (
    "The device disturbs what is on the crossbar, and nothing else. A multiplication of two activations has "
    "no weight that a crossbar could hold; biases and norms are computed digitally."
)
LONG = 24
"""A table of more matrices than this is folded away."""
FEW = 3
"""So many layers with outlier weights are described."""
COLUMNS = (
    Column("matrix", "key"),
    Column("layer", "remark", minor=True),
    Column("shape", minor=True),
    Column("weights in %"),
    Column("MACs in %"),
    Column("crossbar", "remark"),
)


def section(results: Results, *, target: float | None) -> Section | None:
    """The coverage of every network of the results."""
    del target
    if not results.coverage:
        return None
    blocks: list[Block] = [Text((LEAD,))]
    for coverage in results.coverage:
        blocks.append(Text((coverage.summary(),)))
        drawn = table(coverage)
        blocks.append(Details(f"{len(drawn.rows)} matrices", drawn) if len(drawn.rows) > LONG else drawn)
        if coverage.outliers:
            told = [one.words for one in coverage.outliers[:FEW]]
            more = len(coverage.outliers) - len(told)
            told += [f"{more} more layers have such weights."] if more else []
            blocks.append(Text((*told, coverage.advice) if coverage.advice else tuple(told), style="warning"))
    return Section("coverage", 60, "What is on the crossbar", tuple(blocks))


def table(coverage: Coverage) -> Table:
    """A row for each matrix: its share of weights and MACs, and whether the crossbar holds it."""
    weights = sum(row.parameters for row in coverage.rows)
    rows = [_row(row, weights, coverage.total_macs) for row in coverage.matrices]
    others = [row for row in coverage.rows if row not in coverage.matrices]
    reasons = {row.reason: 0 for row in others}
    for row in others:
        reasons[row.reason] += 1
    notes = tuple(f"{reason}: {count} more parameters." for reason, count in reasons.items())
    return Table("", COLUMNS, tuple(rows), notes)


def _row(row: Parameter, weights: int, macs: int | None) -> Row:
    shape = "×".join(map(str, row.shape))
    own = f"yes: {row.rule}" if row.rule else "yes"
    held = own if row.why is Why.MATRIX and not row.unused else _why(row)
    share = "" if not macs or row.macs is None else _percent(row.macs / macs)
    return Row((row.name, row.layer, shape, _percent(row.parameters / weights), share, held))


def _why(row: Parameter) -> str:
    words = f"{'yes' if row.crossbar else 'no'}: {row.reason}"
    return f"{words}; {row.remedy}" if row.remedy else words


def _percent(share: float) -> str:
    return f"{100 * share:.1f}"
