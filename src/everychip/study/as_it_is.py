"""A network as somebody has it, evaluated without a training: what it is, and its run folder."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import nn

from everychip.config.component import merge, override
from everychip.errors import ConfigError, StoreError, known_names
from everychip.methods import Vanilla
from everychip.models import Factory, Model
from everychip.progress import Listener
from everychip.study import recipes, store
from everychip.study.divided import run_divided
from everychip.study.executors import Executor
from everychip.study.experiment import Experiment
from everychip.study.start import Start
from everychip.study.trained import build, refuse_diverged

LABEL = "as it is"
"""The method of a network that was not trained here, as tables show it."""
PICKLED = (".pt", ".pth", ".bin", ".ckpt", ".pkl", ".pickle")
CONVERT = (
    "convert it where it comes from: safetensors.torch.save_model(model, 'weights.safetensors'), "
    "after model.load_state_dict(torch.load(FILE, weights_only=True))"
)


SCALED = {"kind": "bit_sliced", "scale": "column"}
"""The mapping of a network that is not trained here, where none is set: nothing made its weights alike."""


def described(model: str, settings: Sequence[str]) -> Experiment:
    """The recipe around a user's own network: a file of weights, a function that returns it, or a recipe.

    Args:
        model: a .safetensors file, whose network `model=…` among the settings names;
            "package.module:function"; or a recipe whose network needs no training, for it has a `start`.
        settings: `a.b=c`, which must name data and hardware, unless a recipe does.

    Returns:
        An experiment that has the weights as its start; each column has its own scale, unless the settings
        say otherwise.
    """
    if Path(model).suffix in PICKLED:
        raise StoreError(
            model, found="a file that may be a pickle", expected="a .safetensors file", remedy=CONVERT
        )
    if recipes.names_one(model):
        return _of_recipe(model, settings)
    change = override({}, settings)
    common: dict[str, Any] = {
        "hardware": {"mapping": SCALED},
        "method": Vanilla().table(),  # which draws nothing while it trains, and here does not train
        "evaluation": {"chips": 200},
        "labels": {"method": LABEL},
    }
    if model.endswith(".safetensors"):
        table = {**common, "start": model}
        _must_name("model", change, "which network these are the weights of: --set model=vgg8, or call = …")
    elif ":" in model:
        table = {**common, "model": {"kind": "factory", "call": model}}
    else:
        raise ConfigError(
            model,
            found="no such network",
            expected="an entry of the zoo, a run's folder, a .safetensors file, package.module:function, "
            "or a recipe with start = …",
            remedy=known_names(model, Model.kinds()) if model in Model.kinds() else None,
        )
    _must_name("data", change, "the data that it is measured on: --data digits, or a table")
    _must_name("hardware", change, "the hardware: --hardware 'device={kind=\"gaussian\", sigma=0.1}'")
    return Experiment.read(merge(table, change), where=model)


def _of_recipe(recipe: str, settings: Sequence[str]) -> Experiment:
    """The experiment of a recipe that names a network as it is."""
    experiment = Experiment.from_toml(recipe, settings)
    if experiment.start is None and not isinstance(experiment.model, Factory):
        raise ConfigError(
            recipe,
            found="a recipe without start = …, so that its network is untrained",
            expected="a network as it is",
            remedy=f"everychip run {recipe} trains it and measures its chips; everychip evaluate FOLDER, "
            "of that run, measures others",
        )
    return experiment.replace(method=Vanilla(), labels={**experiment.labels, "method": LABEL})


def _must_name(key: str, change: dict[str, Any], expected: str) -> None:
    if key not in change:
        raise ConfigError(key, found="nothing", expected=expected)


def network_of(experiment: Experiment) -> nn.Module:
    """The network that `described` described, with its weights."""
    model = build(experiment, experiment.data.load())
    if experiment.start is not None:
        experiment.start.load(model)
    return model


def evaluate_as_it_is(
    model: nn.Module,
    experiment: Experiment,
    folder: Path | None = None,
    *,
    trained_at: float | None = None,
    workers: int = 1,
    on: Executor | None = None,
    command: str = "",
    progress: Listener | None = None,
) -> store.Run:
    """Program and measure chips of a network, without a training, into a run folder that `report` reads.

    The run's identity has the weights in it, so a changed network is another run.

    Args:
        model: the network, of the recipe's model.
        experiment: its recipe, with hardware and evaluation.
        folder: of the results; below everychip-runs/ if absent.
        trained_at: the nominal σ that it was trained at; None where nobody knows.
        workers: that measure blocks of the chips side by side.
        on: where they do; absent, in processes of this machine.
        command: what was typed, for the record.
        progress: a function of `progress.Event`.

    Returns:
        The complete run.
    """
    refuse_diverged(model, Path(experiment.model.label))
    with tempfile.TemporaryDirectory() as place:
        file = Path(place) / store.MODEL
        _save(model, file)
        start = Start(file=str(file))  # its hash is found out
        asked = experiment.replace(start=start)
        goal = folder or Path("everychip-runs") / f"{asked.model.label}-{asked.id}"
        own = {"file": str(goal / store.MODEL), "sha256": start.sha256}
        named = asked.replace(start=Start(**own))
        how: dict[str, Any] = {"workers": workers, "on": on, "command": command, "progress": progress}
        return run_divided(named, goal, network=model, trained_at=trained_at, **how)


def _save(model: nn.Module, path: Path) -> None:
    from safetensors.torch import save_model

    save_model(model, str(path))
