"""`everychip check`: what of a model is on the crossbar, and what the device does to it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from everychip.cli.printing import print_json
from everychip.cli.watching import console, waiting
from everychip.config.component import merge, override
from everychip.config.toml import read_toml
from everychip.errors import (
    ArrayError,
    ConfigError,
    DataError,
    EverychipError,
    ModelError,
    StoreError,
    known_names,
)
from everychip.report.blocks import Column, Row, Table
from everychip.report.terminal import rich_table

WIDTH = 79
"""The tables of coverage and noise take so many columns."""
if TYPE_CHECKING:
    from rich.console import Console
    from torch import nn

    from everychip.data import Splits
    from everychip.hardware.chip import EffectiveSigma
    from everychip.hardware.coverage import Coverage
    from everychip.study.experiment import Experiment

BARE: dict[str, Any] = {
    "data": {"kind": "digits", "size": 32},
    "hardware": {"device": {"kind": "gaussian", "sigma": 0.1}},
    "method": {"kind": "vanilla"},
}
"""What stands around a model that comes without a recipe."""


def check(model: str, settings: list[str], *, as_json: bool, output: Path | None = None) -> int:
    """Coverage and effective noise of a run's or a recipe's model, a shipped model or a user's own."""
    experiment = asked(model, settings)
    with waiting(f"Checking {model}"), experiment.compute.used():
        from everychip.hardware.chip import effective_sigma

        splits = experiment.data.load()
        network = _network(model, experiment, splits)
        coverage, remark = _coverage(network, experiment, splits)
        remark = remark or _unsuitable(network, experiment, splits)
        effective = effective_sigma(network, experiment.hardware)
    facts = _facts(experiment, coverage, effective)
    if output is not None:
        write_output(output, json.dumps(facts, indent=1, ensure_ascii=False) + "\n")
    if as_json:
        print_json(facts)
    else:
        state = "as they were trained" if _is_folder(model) else "as they are before training"
        _show(experiment, coverage, effective, state, remark)
    return 0


def write_output(path: Path, text: str) -> None:
    """Write a file that was requested, or say in one line why not."""
    from everychip.storage.files import write_text

    if path.is_dir() or not path.parent.is_dir():
        found = "a folder" if path.is_dir() else f"no folder {path.parent}"
        raise StoreError(str(path), found=found, expected="the name of a file in a folder that is there")
    write_text(path, text)
    console(stderr=True).print(f"Written: {path}", soft_wrap=True, highlight=False, markup=False)


def asked(model: str, settings: list[str]) -> Experiment:
    """The recipe that a word of the command line stands for."""
    from everychip.models import Model
    from everychip.study import recipes
    from everychip.study.experiment import Experiment
    from everychip.study.grid import Study
    from everychip.study.trained import asked_of

    if _is_folder(model):
        return asked_of(Path(model), settings)
    if ":" in model:
        return Experiment.changed(_with(kind="factory", call=model), override({}, settings), where=model)
    if model in Model.kinds():
        return Experiment.changed(_with(kind=model), override({}, settings), where=model)
    try:
        table = read_toml(recipes.find(model))
    except ConfigError as error:
        if model.endswith(".toml"):
            raise
        kinds = known_names(model, [*Model.kinds(), *recipes.shipped()])
        raise ConfigError(
            model,
            found=error.found,
            expected="a recipe, a kind of model or package.module:function",
            remedy=kinds,
        ) from None
    if recipes.is_study(table):
        return Study.from_toml(model, settings).expand().experiments[0]
    return Experiment.from_toml(model, settings)


def _is_folder(model: str) -> bool:
    """Whether it is the folder of a run (or of a study, which is refused) and not the name of something."""
    from everychip.study import store, study

    return any((Path(model) / name).is_file() for name in (store.RECIPE, study.RECIPE))


def _network(model: str, experiment: Experiment, splits: Splits) -> nn.Module:
    from everychip.study import store
    from everychip.study.trained import refuse_diverged, trained_model, untrained_model

    if not _is_folder(model):
        return untrained_model(experiment, splits)
    network = trained_model(experiment, Path(model) / store.MODEL, splits=splits)
    refuse_diverged(network, Path(model))
    return network


def _with(**model: str) -> dict[str, Any]:
    return merge(BARE, {"model": model})


def _coverage(network: nn.Module, experiment: Experiment, splits: Splits) -> tuple[Coverage, str]:
    """The coverage, with multiplications counted where the model takes the data, and a remark where not."""
    from everychip.hardware.coverage import check

    try:
        return check(network, experiment.hardware, splits.train.x[:2]), ""
    except (ArrayError, ConfigError, DataError):
        raise
    except (EverychipError, RuntimeError) as error:
        if experiment.model.kind != "factory":
            raise
        why = error.found if isinstance(error, ModelError) else str(error).partition("\n")[0]
        remark = (
            f"MACs are not counted: the model does not take {experiment.data.label} of shape "
            f"{list(splits.input_shape)} ({why}). Name its data: --set data.kind=…"
        )
        return check(network, experiment.hardware), remark


def _unsuitable(network: nn.Module, experiment: Experiment, splits: Splits) -> str:
    """Why a run of the recipe would be refused for its mitigation; nothing where it would not."""
    from everychip.study.suitable import validate_for

    try:
        validate_for(experiment, network, splits)
    except EverychipError as error:
        return f"The recipe's mitigation does not suit it: {error}"
    return ""


def _show(
    experiment: Experiment, coverage: Coverage, effective: EffectiveSigma, state: str, remark: str
) -> None:
    out = console()
    device = experiment.hardware.device
    sigma = "" if device.nominal_sigma is None else f" at σ = {device.nominal_sigma:g}"

    def say(words: str, style: str = "") -> None:
        out.print(words, highlight=False, markup=False, style=style)

    if out.width < WIDTH:
        _show_narrow(coverage, out)
    else:
        say(str(coverage))
    if remark:
        say(remark, "yellow")
    if experiment.hardware.array is not None:
        say(f"Array: {experiment.hardware.array.label}.")
    for layer in experiment.hardware.layers:
        say(f"Other hardware for {', '.join(layer.match)}: {layer.label}.")
    say("")
    say(f"What {device.label}{sigma} does to the weights, {state}:", "bold")
    if out.width < WIDTH:
        out.print(rich_table(_of_layers(effective), width=out.width))
    else:
        say(str(effective))


def _show_narrow(coverage: Coverage, out: Console) -> None:
    """The coverage on a terminal that its table does not fit."""
    from everychip.report.sections.coverage import table

    shown = table(coverage)
    told = tuple(replace(one, role="key") if one.name == "crossbar" else one for one in shown.columns)
    shown = replace(shown, columns=told)
    out.print(rich_table(shown, width=out.width))
    for line in (*shown.notes, coverage.summary()):
        out.print(line, highlight=False, markup=False)


def _of_layers(effective: EffectiveSigma) -> Table:
    rows = [(layer.layer, layer.of_max, layer.of_rms) for layer in effective.layers]
    rows.append(("network", effective.of_max, effective.of_rms))
    columns = (Column("layer", "key"), Column("σ_W/max|W|"), Column("σ_W/rms(W)"))
    return Table("", columns, tuple(Row((name, f"{a:.4f}", f"{b:.4f}")) for name, a, b in rows))


def _facts(experiment: Experiment, coverage: Coverage, effective: EffectiveSigma) -> dict[str, Any]:
    device = experiment.hardware.device
    return {
        **coverage.facts(),
        **({"array": experiment.hardware.array.label} if experiment.hardware.array else {}),
        "device": device.label,
        "sigma": device.nominal_sigma,
        "sigma_of_max": effective.of_max,
        "sigma_of_rms": effective.of_rms,
        "layers": [vars(layer) for layer in effective.layers],
    }
