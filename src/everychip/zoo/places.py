"""Where an entry of the zoo lies: in the package, in a folder, or in a hub repository that the user names."""

from __future__ import annotations

import re
from importlib.resources import files
from pathlib import Path

from everychip.errors import ConfigError, MissingExtraError, StoreError, known_names

ENTRY, RECIPE, MODEL, DRAWS, CARD = (
    "entry.json",
    "recipe.toml",
    "model.safetensors",
    "draws.parquet",
    "card.md",
)
FILES = (RECIPE, MODEL, DRAWS, CARD)
NAME = re.compile(r"[a-z0-9][a-z0-9.-]{0,99}")
_REPOSITORY = re.compile(r"[\w.-]{1,96}/[\w.-]{1,96}")


def shipped() -> dict[str, Path]:
    """The entries that come with the package, by name.

    Returns:
        Their folders, in the order of the alphabet.

    >>> "digits-lenet-gaussian-0.3" in shipped()
    True
    """
    root = Path(str(files("everychip"))) / "zoo" / "entries"
    return {path.parent.name: path.parent for path in sorted(root.glob(f"*/{ENTRY}"))}


def place_of(name: str | Path, *, hub: str | None = None, revision: str | None = None) -> Path:
    """The folder of an entry.

    Args:
        name: a shipped entry, or a folder that holds one; with `hub`, the folder's name in the repository.
        hub: "owner/repository" of the Hugging Face hub; its files come to the hub's own cache.
        revision: a branch, tag or commit there.

    Returns:
        The folder, whose files are not yet verified.
    """
    if hub is not None:
        return _downloaded(str(name), hub, revision)
    known = shipped()
    if str(name) in known:
        return known[str(name)]
    folder = Path(name)
    if (folder / ENTRY).is_file():
        return folder
    if folder.is_dir():
        raise StoreError(str(name), found=f"a folder without {ENTRY}", expected="an entry of the zoo")
    raise ConfigError(
        str(name),
        found="no such entry",
        expected="the name of one, or its folder",
        remedy=known_names(str(name), known),
    )


def _downloaded(name: str, hub: str, revision: str | None) -> Path:
    if not NAME.fullmatch(name) or not _REPOSITORY.fullmatch(hub):
        raise ConfigError(
            "load", found=f"{name!r} of {hub!r}", expected='an entry\'s name and hub = "owner/repository"'
        )
    try:
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import HfHubHTTPError
    except ImportError:
        raise MissingExtraError("load", "hub") from None
    wanted = [f"{name}/{file}" for file in (ENTRY, *FILES)]
    try:
        root = snapshot_download(hub, revision=revision, allow_patterns=wanted)
    except (HfHubHTTPError, OSError, ValueError) as error:
        words = str(error).strip().partition("\n")[0]
        raise StoreError(hub, found=f"no repository that can be read ({words})", expected=name) from None
    folder = Path(root) / name
    if not (folder / ENTRY).is_file():
        raise StoreError(hub, found=f"no {name}/{ENTRY}", expected="a repository with that entry")
    return folder
