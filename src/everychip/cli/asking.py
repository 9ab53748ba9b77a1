"""`everychip sensitivity`: which layers the noise hurts, and how much of it a trained model bears."""

from __future__ import annotations

import json
import shlex
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from everychip.charts.paragraph import paragraph
from everychip.cli.printing import print_json
from everychip.cli.watching import console
from everychip.errors import ConfigError

if TYPE_CHECKING:
    from everychip.study.sensitivity import Answer, Question

WIDTH = 79


def sensitivity(asked: str, question: Question, output: Path | None, *, as_json: bool) -> int:
    """Ask a finished run, or a recipe's after training it; print, and write what the report shows."""
    from everychip.report.chart_files import write_figures
    from everychip.report.terminal import rich_table
    from everychip.report.weak_layers import figure, read_answer, table
    from everychip.study.sensitivity import FILE, ask

    folder, question = _trained(asked, question, output)
    answer = ask(folder, question)
    drawn = read_answer(folder)
    charts = write_figures([figure(drawn)], folder, formats=("svg", "png")) if drawn else []
    if as_json:
        return print_json(json.loads((folder / FILE).read_text(encoding="utf-8")))
    out = console()
    if out.width < WIDTH:
        out.print(rich_table(table(read_answer(folder)[0]), width=out.width))
    else:
        _tell_layers(answer)
    _tell(answer)
    for name, path in (("Layers", folder / FILE), *(("Chart", path) for path in charts)):
        out.print(f"{name + ':':<7} {path}", soft_wrap=True, highlight=False, markup=False)
    report = f"everychip report {shlex.quote(str(folder))}"
    out.print(f"Report: {report}", soft_wrap=True, highlight=False, markup=False)
    return 0


def _trained(asked: str, question: Question, output: Path | None) -> tuple[Path, Question]:
    """The folder of the run, and the question without the settings that the recipe has taken in."""
    if not Path(asked).is_dir():
        from everychip.cli.commands import executed

        return executed(asked, list(question.settings), output).folder, replace(question, settings=())
    if output is not None:
        raise ConfigError(
            "--output", found="a folder for results, while a run is asked that has one", expected="a recipe"
        )
    return Path(asked), question


def _tell_layers(answer: Answer) -> None:
    out = console()

    def say(words: str, style: str = "") -> None:
        out.print(words, highlight=False, markup=False, style=style, soft_wrap=True)

    device = answer.experiment.hardware.device
    sigma = "" if device.nominal_sigma is None else f" at σ = {device.nominal_sigma:g}"
    say(f"Layer by layer on {device.label}{sigma}", "bold")
    say(str(answer.sensitivity))


def _tell(answer: Answer) -> None:
    out = console()
    lines = [] if answer.break_even is None else [f"{answer.break_even}."]
    for words in (*lines, *answer.remarks):
        for line in paragraph(f"{words[:1].upper()}{words[1:]}", min(WIDTH, out.width)):
            out.print(line, highlight=False, markup=False, soft_wrap=True)
