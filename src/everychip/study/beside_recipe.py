"""Data and modules that lie beside a recipe: what is not in the working directory is sought there."""

from __future__ import annotations

import os
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Any

from everychip.models.sources import file_of


def data_beside(data: Any, folder: Path) -> Any:
    """The table of a data set whose `path`, if it is not in the working directory, leads from the recipe.

    Args:
        data: the table of a recipe's data, or several of them in a sweep.
        folder: of the recipe.

    Returns:
        The same, or with another path.
    """
    if isinstance(data, list):
        return [data_beside(one, folder) for one in data]
    if not isinstance(data, dict) or "path" not in data:
        return data
    return {**data, "path": path_beside(data["path"], folder)}


def path_beside(path: Any, folder: Path) -> Any:
    """A path as it is where that exists, absolute or from the working directory; else one from the recipe.

    Args:
        path: what a recipe has, or a list of such.
        folder: of the recipe.

    Returns:
        The path, or the list.

    >>> path_beside("/no/such/file", Path("/recipes"))
    '/no/such/file'
    """
    if isinstance(path, list):
        return [path_beside(one, folder) for one in path]
    if not isinstance(path, str) or "\0" in path or Path(path).expanduser().is_absolute():
        return path
    place = folder / path
    return path if Path(path).exists() or not place.exists() else os.path.normpath(place)


def model_beside(model: Any, folder: Path) -> Any:
    """The table of a factory whose module, if it can be imported from nowhere else, lies beside the recipe.

    Args:
        model: the table of a recipe's model, or several of them in a sweep.
        folder: of the recipe.

    Returns:
        The same, or with the folder.
    """
    if isinstance(model, list):
        return [model_beside(one, folder) for one in model]
    call = model.get("call") if isinstance(model, dict) else None
    if not isinstance(call, str) or "folder" in model:
        return model
    module = call.partition(":")[0]
    if not module.replace(".", "_").isidentifier() or _importable(module):
        return model
    file = file_of(module, folder)
    return model if file is None else {**model, "folder": os.path.normpath(folder)}


def _importable(module: str) -> bool:
    """Whether a module lies in the working directory, on Python's path or in a package."""
    if file_of(module, None) is not None:
        return True
    return PathFinder.find_spec(module.partition(".")[0]) is not None  # not one imported from elsewhere
