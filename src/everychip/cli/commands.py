"""What the commands that execute, report and ask do, once their words are parsed."""

from __future__ import annotations

import math
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from everychip.charts.paragraph import paragraph
from everychip.cli.printing import print_json
from everychip.cli.watching import console, waiting, watching
from everychip.errors import visible

if TYPE_CHECKING:
    from rich.console import Console

    from everychip.report.results import Results
    from everychip.study.experiment import Experiment
    from everychip.study.grid import Study
    from everychip.study.store import Run
    from everychip.study.study import Outcome

RESULTS = Path("everychip-runs")
"""Where results lie unless another folder is requested."""


class Executed(NamedTuple):
    """An executed recipe: its folder, what it computes, and its outcome."""

    folder: Path
    experiment: Experiment
    run: Run


def demo(settings: list[str], output: Path | None, workers: int, *, as_json: bool = False) -> int:
    """The shipped study on the embedded digits, and its report."""
    from everychip.study.grid import Study

    chosen = Study.from_toml("demo", settings)
    outcome = _execute(chosen, output, Spread(workers), command_line("demo", settings))
    code = report(outcome.folder, None, None, as_json=as_json)
    if as_json:
        return code or _tell_failures(outcome)
    _tell_story(outcome.folder)
    return code or _tell_failures(outcome)


def executed(recipe: str, settings: list[str], output: Path | None, spread: Spread | None = None) -> Executed:
    """One recipe into one folder, watched."""
    from everychip.study.divided import run_divided as execute
    from everychip.study.experiment import Experiment
    from everychip.study.store import is_complete

    experiment = Experiment.from_toml(recipe, settings)
    spread = spread or Spread()
    how = spread.how()
    folder = output or RESULTS / f"{Path(recipe).stem}-{experiment.id}"
    if is_complete(folder):
        done = execute(experiment, folder)
        words = f"{experiment.title or recipe}: complete; nothing was left to do"
        console(stderr=True).print(words, highlight=False, soft_wrap=True)
        return Executed(folder, experiment, done)
    with watching(experiment.title or recipe) as watcher:
        watcher.begin(1, 0)
        watcher.started(experiment)
        done = execute(
            experiment,
            folder,
            command=command_line(f"run {shlex.quote(recipe)}", settings) + spread.words(),
            **how,
            progress=lambda event: watcher.event(experiment.id, event),
        )
        watcher.finished(experiment, done, "")
    return Executed(folder, experiment, done)


def run(
    recipe: str, settings: list[str], output: Path | None, spread: Spread, *, as_json: bool = False
) -> int:
    """One recipe into one folder, and its verdict."""
    folder, experiment, done = executed(recipe, settings, output, spread)
    measured = done.record["status"] != "diverged" or bool(done.draws()["chip"])
    if as_json:
        return _print_facts(folder, experiment.evaluation.target) if measured else print_json(done.record)
    from everychip.report.reading import load
    from everychip.report.terminal import show

    out = console()
    if not measured:
        out.print(f"No chip was measured: {done.record.get('words', '')}.", highlight=False)
    else:
        show(load(folder), target=experiment.evaluation.target, console=out)
    _where(folder, f"everychip report {shlex.quote(str(folder))}")
    return 0


@dataclass(frozen=True)
class Spread:
    """Over what a study is spread: how many workers, of which executor, and which share of the runs."""

    workers: int = 1
    on: str = "processes"
    shard: str = ""

    def how(self) -> dict[str, Any]:
        """The same as arguments: how many workers, and where; None where it is not said."""
        from everychip.config.component import override
        from everychip.study.executors import Executor

        on = Executor.parse(override({}, [f"on={self.on}"])["on"])
        return {"workers": self.workers, "on": None if on == Executor.parse("processes") else on}

    def words(self) -> str:
        """The options that say it."""
        said = {"--workers": self.workers if self.workers > 1 else "", "--shard": self.shard}
        said["--on"] = "" if self.on == "processes" else shlex.quote(self.on)
        return "".join(f" {option} {value}" for option, value in said.items() if value)


def study(
    recipe: str,
    settings: list[str],
    output: Path | None,
    spread: Spread,
    *,
    plan: bool,
    as_json: bool = False,
) -> int:
    """A grid of recipes into one folder."""
    from everychip.study.grid import Study

    chosen = Study.from_toml(recipe, settings)
    if plan:
        return _show_plan(chosen, output or RESULTS / chosen.name, as_json=as_json)
    command = command_line(f"study {shlex.quote(recipe)}", settings) + spread.words()
    outcome = _execute(chosen, output, spread, command)
    if as_json:
        print_json(_outcome(outcome))
        return _tell_failures(outcome)
    if spread.shard:
        return _tell_share(spread.shard, outcome)
    done = len(outcome.grid.experiments) - len(outcome.failed)
    again = "" if outcome.executed else "; nothing was left to do"
    console().print(f"{done} of {len(outcome.grid.experiments)} runs are complete{again}.", highlight=False)
    if outcome.machines:
        words = f"Computed on {len(outcome.machines)} processors, whose last bits may differ: "
        console().print(words + "; ".join(outcome.machines), highlight=False, soft_wrap=True)
    _where(outcome.folder, f"everychip report {shlex.quote(str(outcome.folder))}")
    return _tell_failures(outcome)


def markdown(folder: Path, target: float | None) -> int:
    """The tables and sentences for a page of Markdown, and nothing else."""
    import typer

    from everychip.report.markdown import to_markdown
    from everychip.report.reading import load

    results = load(folder)
    text = to_markdown(results, target=results.target if target is None else target)
    typer.echo(visible(text, keep="\n"), nl=False)
    return 0


def report(
    folder: Path,
    output: Path | None,
    target: float | None,
    charts: Path | None = None,
    *,
    as_json: bool = False,
) -> int:
    """Tables on the terminal, the page, and the charts as files where asked."""
    from rich.text import Text

    from everychip.report.chart_files import write_charts
    from everychip.report.engine import WORDS, starts
    from everychip.report.html import write_report
    from everychip.report.reading import load
    from everychip.report.terminal import show

    with waiting(f"Reading {folder}"):
        results = load(folder)
    target = results.target if target is None else target
    with waiting("Writing the page"):  # before a line is printed: who reads the first ones only has it, too
        page = write_report(folder, output=output, target=target)
        files = [] if charts is None else write_charts(results, charts, formats=("svg", "pdf"))
    if as_json:
        return _print_facts(folder, target, page=str(page))
    out = console()
    if results.title:
        out.print(Text(visible(results.title), style="bold"))
        out.print()
    show(results, target=target, console=out)
    out.print(f"Report: {page}", soft_wrap=True, highlight=False)
    if not starts():
        out.print(f"The charts are left out: {WORDS}.", style="yellow", soft_wrap=True, highlight=False)
    for path in files:
        out.print(f"Chart:  {path}", soft_wrap=True, highlight=False)
    _commands(results, out)
    return 0


def sql(folder: Path, query: str, *, csv: bool, as_json: bool = False) -> int:
    """The answer of DuckDB as a table, as comma-separated values or as a list of objects."""
    from everychip.storage.table import query as ask
    from everychip.study.proof import draws_of

    header, rows = ask(draws_of(folder), query)
    if as_json:
        return print_json([dict(zip(header, map(_plain, row), strict=True)) for row in rows])
    if csv:
        import csv as writer
        import sys

        lines = [header, *rows]
        if sys.stdout.isatty():  # a terminal obeys what a program only reads
            lines = [[visible(str(cell)) for cell in line] for line in lines]
        writer.writer(sys.stdout).writerows(lines)
        return 0
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for index, name in enumerate(header):
        numbers = all(isinstance(row[index], int | float) for row in rows)
        table.add_column(visible(name), justify="right" if numbers else "left", overflow="fold")
    for row in rows:
        table.add_row(*map(_cell, row))
    console().print(table)
    return 0


def _plain(value: object) -> object:
    """A value that JSON can hold: numbers and texts as they are, whatever else as text."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value if value is None or isinstance(value, str | int | float) else str(value)


def _cell(value: object) -> str:
    if value is None:
        return "–"
    return f"{value:.6g}" if isinstance(value, float) else visible(str(value))


def _tell_share(shard: str, outcome: Outcome) -> int:
    words = f"Share {shard} is done: {outcome.executed} runs. Once all shares are, the same command without"
    console().print(f"{words} --shard collects them.", highlight=False, soft_wrap=True)
    return _tell_failures(outcome)


def _commands(results: Results, out: Console) -> None:
    """What made the results, and what makes them again."""
    for name, words in (("Made by:", results.command), ("Repeat: ", results.repeat)):
        if words:
            out.print(f"{name} {words}", soft_wrap=True, highlight=False)


def command_line(words: str, settings: list[str]) -> str:
    """What was typed, its settings as `--set`, quoted for a shell."""
    return " ".join(["everychip", words, *(f"--set {shlex.quote(setting)}" for setting in settings)])


def _execute(study: Study, output: Path | None, spread: Spread, command: str) -> Outcome:
    from everychip.study.shards import Shard
    from everychip.study.study import run_study

    shard = Shard.parse(spread.shard) if spread.shard else None
    folder, how = output or RESULTS / study.name, spread.how()
    with watching(study.title or study.name) as watcher:
        return run_study(study, folder, **how, shard=shard, watcher=watcher, command=command)


def _outcome(outcome: Outcome) -> dict[str, Any]:
    """What came of a study, for programs."""
    names = {experiment.id: experiment.name for experiment in outcome.grid.experiments}
    return {
        "folder": str(outcome.folder),
        "runs": len(names),
        "executed": outcome.executed,
        "failed": {names[run_id]: words for run_id, words in outcome.failed.items()},
        "machines": list(outcome.machines),
    }


def _print_facts(folder: Path, target: float | None, **others: str) -> int:
    from everychip.report.facts import facts
    from everychip.report.reading import load

    results = load(folder)
    return print_json({**facts(results, target=results.target if target is None else target), **others})


def _show_plan(study: Study, folder: Path, *, as_json: bool = False) -> int:
    from everychip.study.store import is_complete
    from everychip.study.study import RUNS

    grid = study.expand()
    if as_json:
        runs = [
            {"id": one.id, "name": one.name, "complete": is_complete(folder / RUNS / one.id)}
            for one in grid.in_order()
        ]
        return print_json({"folder": str(folder), "runs": runs, "left_out": list(grid.left_out)})
    out = console()
    for experiment in grid.in_order():
        mark = "complete" if is_complete(folder / RUNS / experiment.id) else "to do"
        out.print(f"{experiment.id}  {mark:<8}  {experiment.name}", highlight=False, soft_wrap=True)
    for words, combinations in (("left out", grid.left_out), ("the same as another", grid.merged)):
        for labels in combinations:
            out.print(f"{'–':<12}  {words}: {', '.join(labels.values())}", highlight=False, soft_wrap=True)
    out.print(f"{len(grid.experiments)} runs in {folder}", highlight=False, soft_wrap=True)
    return 0


def _tell_story(folder: Path) -> None:
    """What the study shows, in sentences that can be repeated."""
    from everychip.report.reading import load
    from everychip.report.story import story

    out = console()
    for sentence in story(load(folder)):
        out.print("\n".join(["", *paragraph(sentence, out.width)]), highlight=False, soft_wrap=True)


def _where(folder: Path, following: str) -> None:
    out = console()
    out.print(f"Results: {folder}", soft_wrap=True, highlight=False)
    out.print(f"Report:  {following}", soft_wrap=True, highlight=False)


def _tell_failures(outcome: Outcome) -> int:
    names = {experiment.id: experiment.name for experiment in outcome.grid.experiments}
    for run_id, words in outcome.failed.items():
        console(stderr=True).print(
            f"failed: {names[run_id]}: {words}", soft_wrap=True, highlight=False, markup=False
        )
    return 1 if outcome.failed else 0
