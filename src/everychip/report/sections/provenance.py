"""How the numbers were made, so that anyone can make them again."""

from __future__ import annotations

from everychip.report.blocks import Block, Column, Details, Row, Section, Table
from everychip.report.results import Results
from everychip.report.tables import everything, headed
from everychip.report.wording import count, duration


def section(results: Results, *, target: float | None) -> Section:
    """Command, versions, commit, machine, seeds, time; every number and the recipe, folded away."""
    seeds = sorted({seed for group in results.groups for seed in group.accuracy})
    facts = {
        "command": f"`{results.command}`" if results.command else "",
        "to repeat": f"`{results.repeat}`" if results.repeat else "",
        "runs": str(len(results.runs)) if results.trained else "",
        "training seeds" if results.trained else "seed of the chips": ", ".join(map(str, seeds)),
        "evaluated": count(sum(group.chips for group in results.groups), "chip"),
        "time": "" if results.seconds is None else duration(results.seconds),
        "processors": "; ".join(results.machines) and f"{'; '.join(results.machines)} (last bits may differ)",
        **{str(name): str(value) for name, value in results.environment.items() if value not in (None, "")},
    }
    lines = tuple(Row((name, value)) for name, value in facts.items() if value)
    blocks: list[Block] = [Table("", (Column("", "key"), Column("", "remark")), lines)]
    # Of a single run, the section on accuracy has them already.
    for kind, part in results.kinds.items() if results.is_study else ():
        summary = "Every number: all methods at every σ"
        table = headed(everything(part, target=target), kind)
        blocks.append(Details(f"{summary}, {kind}" if kind else summary, table))
    if results.recipe:
        blocks.append(Details("The recipe, resolved (TOML)", results.recipe))
    if results.left_out:
        blocks.append(Details("Combinations the study skips on purpose", "\n".join(results.left_out)))
    return Section("provenance", 80, "How these numbers were made", tuple(blocks))
