"""`everychip evaluate`: a network as it is, on chips, without any training: table, verdict, report."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from everychip.cli.commands import Spread, command_line
from everychip.cli.printing import print_json
from everychip.cli.watching import console, watching
from everychip.errors import ConfigError
from everychip.scores import Score

if TYPE_CHECKING:
    from torch import nn

    from everychip.study.experiment import Experiment
    from everychip.study.store import Run


class Named(NamedTuple):
    """What a word of the command line stands for."""

    name: str
    model: nn.Module
    experiment: Experiment
    trained_at: float | None = None


def evaluate(
    model: str, settings: list[str], output: Path | None, spread: Spread | None = None, *, as_json: bool
) -> int:
    """Find the network, program its chips, say what became of it beside its digital score."""
    from everychip.report.html import write_report
    from everychip.report.reading import load
    from everychip.report.terminal import show
    from everychip.study.as_it_is import evaluate_as_it_is

    named = _named(model, settings)
    spread = spread or Spread()
    how = spread.how()
    with watching(named.name) as watcher:
        watcher.begin(1, 0)
        watcher.started(named.experiment)
        done = evaluate_as_it_is(
            named.model,
            named.experiment,
            output,
            trained_at=named.trained_at,
            command=command_line(f"evaluate {shlex.quote(model)}", settings) + spread.words(),
            **how,
            progress=lambda event: watcher.event(named.experiment.id, event),
        )
        watcher.finished(named.experiment, done, "")
    results, target = load(done.folder), named.experiment.evaluation.target
    page = write_report(done.folder, target=target)
    if as_json:
        return print_json(_facts(named, done, page))
    show(results, target=target, console=console())
    _tell(done, page)
    return 0


def _named(model: str, settings: list[str]) -> Named:
    from everychip import zoo
    from everychip.study import store
    from everychip.study.as_it_is import described, network_of
    from everychip.study.trained import CHANGEABLE, asked_of, trained_model
    from everychip.zoo.places import ENTRY, RECIPE

    if model in zoo.shipped() or (Path(model) / ENTRY).is_file():
        entry = zoo.load(model)
        change = _changes(settings, (*CHANGEABLE, "data"))
        experiment = entry.experiment.changed(entry.experiment.table(), change, where=RECIPE)
        trained = entry.experiment
        return Named(entry.name, entry.model.to(experiment.compute.place), experiment, _sigma(trained))
    if Path(model).is_dir():
        experiment = asked_of(Path(model), settings)
        network = trained_model(experiment, Path(model) / store.MODEL)
        return Named(model, network, experiment, _trained_at(Path(model)))
    experiment = described(model, settings)
    return Named(model, network_of(experiment), experiment)


def _trained_at(folder: Path) -> float | None:
    """The nominal σ that the network of a run was trained at; of one that came as it is, what was known."""
    from everychip.study import store
    from everychip.study.trained import asked_of

    run = store.open_run(folder)
    if run.record.get("forwards") != 0:
        return _sigma(asked_of(folder, []))
    known: list[float | None] = run.draws()["sigma_train"]
    return known[0] if known else None


def _sigma(experiment: Experiment) -> float | None:
    """The nominal σ that a recipe trains at."""
    trained_at: float | None = experiment.described()["sigma_train"]
    return trained_at


def _changes(settings: list[str], allowed: tuple[str, ...]) -> dict[str, Any]:
    from everychip.config.component import override

    change = override({}, settings)
    for key in change:
        if key not in allowed:
            raise ConfigError(
                f"--set {key}",
                found="a key that would need a training",
                expected=f"one of {', '.join(allowed)}",
            )
    return change


def _tell(done: Run, page: Path) -> None:
    out = console()
    digital, score = done.record.get("digital"), Score.of(done.record.get("score"))
    if digital is not None:
        out.print(f"Digital network: {score.text(digital)}, without any hardware.", highlight=False)
    out.print(f"Results: {done.folder}", soft_wrap=True, highlight=False)
    out.print(f"Report:  {page}", soft_wrap=True, highlight=False)
    target = "0.9" if score.unit == "%" else "VALUE"
    again = f"everychip report {shlex.quote(str(done.folder))} --target {target}"
    out.print(f"Yield:   {again}", soft_wrap=True, highlight=False)


def _facts(named: Named, done: Run, page: Path) -> dict[str, Any]:
    """Mean and worst of the chips under every condition, for programs."""
    columns, score = done.draws(), named.experiment.task.headline
    rows: dict[tuple[Any, Any], list[float]] = {}
    for sigma, time, value in zip(columns["sigma"], columns["time"], columns[score.name], strict=True):
        rows.setdefault((sigma, time), []).append(value)
    worst = min if score.higher_is_better else max
    return {
        "model": named.name,
        "run": done.id,
        "digital": done.record.get("digital"),
        "score": score.facts(),
        "conditions": [
            {"sigma": s, "time": t, "chips": len(x), "mean": sum(x) / len(x), "worst": worst(x)}
            for (s, t), x in rows.items()
        ],
        "folder": str(done.folder),
        "report": str(page),
    }
