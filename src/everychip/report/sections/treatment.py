"""What was done to the chips after programming, where its mitigation reports it: such as the write cycles."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from everychip.report.blocks import Section, Text
from everychip.report.results import Results, Run
from everychip.report.wording import listing


def section(results: Results, *, target: float | None) -> Section | None:
    """A line for each thing that was done."""
    del target
    said = lines(results)
    return Section("treatment", 40, "What was done to the chips", (Text(said, "list"),)) if said else None


def lines(results: Results) -> tuple[str, ...]:
    """One line for each different report of a mitigation, with the runs it speaks of unless it is all."""
    found: dict[str, list[str]] = {}
    for run in results.runs:
        for words in map(_words, run.treatment):
            found.setdefault(words, []).append(_name(run))
    everyone = {_name(run) for run in results.runs}
    return tuple(
        words if set(names) == everyone else f"{listing(dict.fromkeys(names))}: {words}"
        for words, names in found.items()
    )


def _words(facts: Mapping[str, Any]) -> str:
    said = {key: f"{value:.3g}" if isinstance(value, float) else str(value) for key, value in facts.items()}
    kind = said.pop("mitigation", "mitigation")
    numbers = ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in said.items())
    return f"{kind}: {numbers}."


def _name(run: Run) -> str:
    """The run without its seed."""
    return replace(run, labels={axis: label for axis, label in run.labels.items() if axis != "seed"}).name
