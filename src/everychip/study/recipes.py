"""Finding recipes: a path of a TOML file, or the bare name of a shipped one."""

from __future__ import annotations

import os
from importlib.resources import files
from pathlib import Path
from typing import Any

from everychip.config.toml import read_toml
from everychip.errors import ConfigError, known_names
from everychip.study.beside_recipe import data_beside, model_beside, path_beside
from everychip.study.start import with_starts


def shipped() -> dict[str, Path]:
    """The shipped recipes by name.

    >>> "demo" in shipped()
    True
    """
    folder = Path(str(files("everychip"))) / "recipes"
    return {path.stem: path for path in sorted(folder.glob("*.toml"))}


def names_one(word: str) -> bool:
    """Whether a word of the command line is meant as a recipe: a TOML file, or the name of a shipped one.

    >>> names_one("digits"), names_one("mine.toml"), names_one("vgg8")
    (True, True, False)
    """
    return word.endswith(".toml") or word in shipped()


def find(recipe: str | Path) -> Path:
    """The file of a recipe: a path, or the name of a shipped recipe.

    >>> find("demo").name
    'demo.toml'
    """
    path, name, known = Path(recipe), str(recipe), shipped()
    if path.is_file():
        return path
    if name.removesuffix(".toml") in known:
        return known[name.removesuffix(".toml")]
    if path.is_dir():
        raise ConfigError(name, found="a folder", expected="the TOML file of a recipe")
    raise ConfigError(
        name,
        found="no such file",
        expected="the path of a recipe or the name of a shipped one",
        remedy=known_names(path.stem, known),
    )


def read(recipe: str | Path) -> dict[str, Any]:
    """The table of a recipe; the files of devices, weights and data that it names lie relative to it."""
    path = find(recipe)
    table = dict(_anchored(read_toml(path), path.parent))
    return with_starts(table, lambda file: os.path.normpath(path.parent / file))


def _anchored(node: Any, folder: Path) -> Any:
    """The same tables with the files they name joined to the recipe's folder, wherever they stand.

    `hardware.device.file` is always relative to the recipe; `data.path` and the module of `model.call` are
    sought in the working directory first.
    """
    if isinstance(node, list):
        return [_anchored(item, folder) for item in node]
    if not isinstance(node, dict):
        return node
    found = {key: _anchored(value, folder) for key, value in node.items()}
    for key, beside in (("data", data_beside), ("model", model_beside), ("data.path", path_beside)):
        if key in found:
            found[key] = beside(found[key], folder)
    hardware = found.get("hardware")
    if isinstance(hardware, dict) and "device" in hardware:
        found["hardware"] = {**hardware, "device": _device_anchored(hardware["device"], folder)}
    own = found.get("hardware", {}).get("layers") if isinstance(found.get("hardware"), dict) else None
    if isinstance(own, list):
        found["hardware"]["layers"] = [
            {**layer, "device": _device_anchored(layer["device"], folder)}
            if isinstance(layer, dict) and "device" in layer
            else layer
            for layer in own
        ]
    if "hardware.device" in found:  # as the keys of a sweep may be written
        found["hardware.device"] = _device_anchored(found["hardware.device"], folder)
    if "hardware.device.file" in found:
        found["hardware.device.file"] = _device_anchored({"file": found["hardware.device.file"]}, folder)[
            "file"
        ]
    return found


def _device_anchored(device: Any, folder: Path) -> Any:
    """A device's table, or several of them (in a sequence, or in a sweep), with paths from here."""
    if isinstance(device, list):
        return [_device_anchored(item, folder) for item in device]
    if not isinstance(device, dict):
        return device
    found = dict(device)
    if "devices" in found:
        found["devices"] = _device_anchored(found["devices"], folder)
    file = found.get("file")
    if isinstance(file, list):
        found["file"] = [str(folder / str(item)) for item in file]
    elif isinstance(file, str):
        found["file"] = str(folder / file)
    return found


def is_study(table: dict[str, Any]) -> bool:
    """Whether a table is a study (a base and axes) rather than one experiment."""
    return "base" in table
