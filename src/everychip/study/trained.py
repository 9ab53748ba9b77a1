"""The network of a recipe: as its training begins, and with the weights of its run's folder."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from torch import nn

from everychip.config.component import override
from everychip.config.toml import read_toml
from everychip.data import Splits
from everychip.errors import ConfigError, StoreError
from everychip.hardware.learned import Learned
from everychip.study import store
from everychip.study.experiment import Experiment
from everychip.study.inputs import refuse_others

STUDY = "study.json"
CHANGEABLE = ("hardware", "evaluation", "compute")
"""The keys of a recipe that may change after its training."""


def asked_of(folder: Path, settings: Iterable[str]) -> Experiment:
    """The recipe of a complete run with `a.b=c` changes of what is no part of its training."""
    if (folder / STUDY).exists():
        runs = sorted(child.name for child in (folder / "runs").glob("*") if store.is_complete(child))
        raise StoreError(
            str(folder),
            found="a study: many trained models",
            expected="the folder of one run",
            remedy=f"name one of them: {folder / 'runs' / runs[0]}" if runs else None,
        )
    run = store.open_run(folder)
    change = override({}, settings)
    for key in change:
        if key not in CHANGEABLE:
            raise ConfigError(
                f"--set {key}",
                found="a key on which the trained weights depend",
                expected=f"one of {', '.join(CHANGEABLE)}",
                remedy="run the changed recipe, or name the recipe in place of the folder",
            )
    place = folder / store.RECIPE
    experiment = Experiment.changed(read_toml(place), change, where=str(place))
    refuse_others(folder, run.record, experiment)
    return with_learned(experiment, run.record)


def with_learned(experiment: Experiment, record: Mapping[str, Any]) -> Experiment:
    """The recipe of a trained network, its hardware with the full scales that the training has learned."""
    known = record.get("learned")
    if not known:
        return experiment
    hardware = Learned.read(known, where=store.RECORD).on(experiment.hardware)
    return experiment.replace(hardware=hardware)


def build(experiment: Experiment, splits: Splits) -> nn.Module:
    """The model of a recipe with fresh weights, where its compute says."""
    model = experiment.model.build(splits.input_shape, splits.classes, seed=experiment.seed)
    return model.to(experiment.compute.place)


def untrained_model(experiment: Experiment, splits: Splits) -> nn.Module:
    """The model of a recipe as its training begins: with fresh weights, or those that it starts from."""
    model = build(experiment, splits)
    if experiment.start is not None:
        experiment.start.load(model)
    return model


def trained_model(experiment: Experiment, weights: Path, *, splits: Splits | None = None) -> nn.Module:
    """Build the model of a recipe and load weights into it; splits: the recipe's data, if it is loaded."""
    model = build(experiment, splits or experiment.data.load())
    load_weights(model, weights)
    return model


def load_weights(model: nn.Module, path: Path) -> None:
    """Load a safetensors file into a model of the same shapes."""
    from safetensors import SafetensorError
    from safetensors.torch import load_model

    try:
        load_model(model, path)
    except (SafetensorError, OSError, RuntimeError) as error:
        raise StoreError(
            str(path),
            found=f"weights that cannot be read ({error})",
            expected="the weights as they were written",
            remedy=f"delete the folder {path.parent} and run the recipe again",
        ) from None


def refuse_diverged(model: nn.Module, folder: Path) -> None:
    """Refuse weights that are not finite."""
    if not all(bool(tensor.isfinite().all()) for tensor in model.state_dict().values()):
        raise StoreError(str(folder), found="a diverged training", expected="weights that are finite")
