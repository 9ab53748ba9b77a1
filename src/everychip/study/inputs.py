"""What a run takes from outside its recipe: the files of its data, and code that is not this package's."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from everychip.errors import EverychipError, StoreError
from everychip.models.sources import code_of
from everychip.study.experiment import Experiment

OWN = "everychip."
NAMES = {"data": "data", "model": "model code", "plugins": "code of plug-ins"}


def inputs(experiment: Experiment) -> dict[str, str]:
    """SHA-256 of the files that the data are read from, of a user's model and of plug-ins.

    What is not there, or comes with a package, has no entry. Files that the user's code opens by itself are
    not known here.

    >>> inputs(Experiment.from_toml("digits"))
    {}
    """
    parts = (experiment.data, experiment.model, experiment.method, *_devices(experiment))
    plugins = sorted({type(part).__module__ for part in parts if not type(part).__module__.startswith(OWN)})
    found = {
        "data": _content(experiment.data),
        "model": _content(experiment.model),
        "plugins": code_of(plugins),
    }
    return {name: content for name, content in found.items() if content}


def _devices(experiment: Experiment) -> tuple[Any, ...]:
    hardware = experiment.hardware
    return (hardware.device, *(layer.device for layer in hardware.layers if layer.device is not None))


def _content(part: Any) -> str:
    try:
        return str(part.content())
    except (EverychipError, OSError):  # not here to be compared; loading says what is wrong
        return ""


def refuse_others(folder: Path, record: Mapping[str, Any], experiment: Experiment) -> None:
    """Raise where the data or the code are not those that the run in `folder` was made with."""
    known = record.get("inputs") or {}
    now = inputs(experiment) if known else {}
    changed = [name for name in NAMES if name in known and now.get(name, known[name]) != known[name]]
    if changed:
        what = " and ".join(NAMES[name] for name in changed)
        raise StoreError(
            str(folder),
            found=f"a complete run, whose {what} changed since",
            expected=f"the {what} that it was made with",
            remedy=f"choose another folder with --output DIR, or delete {folder} to run it again",
        )
