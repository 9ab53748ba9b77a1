"""Finding recipes: a path of a TOML file, or the bare name of a shipped one."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import Any

from everychip.errors import ConfigError, known_names


def shipped() -> dict[str, Path]:
    """The shipped recipes by name.

    >>> "demo" in shipped()
    True
    """
    folder = Path(str(files("everychip"))) / "recipes"
    return {path.stem: path for path in sorted(folder.glob("*.toml"))}


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


def is_study(table: dict[str, Any]) -> bool:
    """Whether a table is a study (a base and axes) rather than one experiment."""
    return "base" in table
