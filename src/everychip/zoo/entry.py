"""An entry of the zoo: a trained network with recipe, verdict and card, verified file by file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from everychip.config.arguments import a, optional, takes
from everychip.config.result import Result
from everychip.config.toml import read_toml
from everychip.errors import ConfigError, StoreError
from everychip.evaluation.draws import Draws
from everychip.hardware.hardware import Hardware
from everychip.statistics.verdict import Verdict
from everychip.storage.files import digest, read_json
from everychip.study.experiment import Experiment
from everychip.study.records import Hash
from everychip.zoo.places import CARD, DRAWS, ENTRY, FILES, MODEL, RECIPE, place_of

FORMAT = "everychip-zoo/1"
LARGEST = 200_000_000
"""Bytes of a text file or of weights beyond which an entry is not read."""


class About(Result):
    """entry.json: what is claimed, and the SHA-256 of every file.

    digital: the accuracy of these weights without any hardware, on the whole test set. mean, worst: of the
    chips in draws.parquet. run: the id of the run whose weights these are; rounded: to which type they were.
    """

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9.-]{0,99}$")
    input_shape: tuple[int, ...] = Field(min_length=1, max_length=8)
    classes: int = Field(ge=1)
    digital: float = Field(ge=0, le=1)
    mean: float = Field(ge=0, le=1)
    worst: float = Field(ge=0, le=1)
    chips: int = Field(ge=1)
    images: int = Field(ge=1)
    run: str = ""
    rounded: Literal["float32", "float16"] = "float32"
    environment: dict[str, Any] = Field(default_factory=dict)
    sha256: dict[Literal["recipe.toml", "model.safetensors", "draws.parquet", "card.md"], Hash] = Field(
        min_length=4, max_length=4
    )


@dataclass(frozen=True, eq=False)
class Trained:
    """A trained network of the zoo, as `everychip.load` returns it.

    model: in evaluation mode, on the CPU. hardware: what it was trained and proven for. experiment: its
    recipe. draws: every chip of the proof. card: what to know before using it, as Markdown. about: what
    entry.json says.
    """

    name: str
    model: nn.Module
    hardware: Hardware
    experiment: Experiment
    draws: Draws
    card: str
    about: About
    folder: Path

    @property
    def verdict(self) -> Verdict:
        """The statistics of the entry's own draws."""
        return self.draws.verdict(target=self.experiment.evaluation.target)

    def __str__(self) -> str:
        return f"{self.name}: digital {100 * self.about.digital:.1f} %; on chips {self.verdict}"

    def __repr__(self) -> str:
        return f"Trained({self.name!r}, {len(self.draws)} chips)"


@takes(
    name=a((str, Path), "the name of an entry, or its folder"),
    hub=optional(a(str, 'a repository, such as "owner/repository"')),
    revision=optional(a(str, "a branch, tag or commit")),
)
def load(name: str | Path, *, hub: str | None = None, revision: str | None = None) -> Trained:
    """A trained robust network by its name, with recipe, verdict and card.

    Every file is compared with its SHA-256 before it is read, no code of the entry is run, and nothing is
    unpickled: weights are safetensors, draws are parquet.

    Args:
        name: a shipped entry, a folder that holds one, or the folder of one in the repository `hub`.
        hub: "owner/repository" of the Hugging Face hub; needs the extra `hub`.
        revision: a branch, tag or commit of that repository.

    Returns:
        The network, ready for `everychip.evaluate(entry.model, entry.hardware, data)`.

    Raises:
        StoreError: where a file is missing, changed, or of another network.

    >>> entry = load("digits-lenet-gaussian-0.3")
    >>> entry.model(torch.zeros(1, *entry.about.input_shape)).shape
    torch.Size([1, 10])
    >>> entry.draws.accuracy.mean() > 0.8
    tensor(True)
    """
    folder = place_of(name, hub=hub, revision=revision)
    about = About.read(read_json(folder / ENTRY, form=FORMAT, sealed=True), path=folder / ENTRY)
    for file in FILES:
        _must_be_as_written(folder / file, about.sha256[file])  # type: ignore[index]
    experiment = recipe_of(folder)
    model = experiment.model.build(about.input_shape, about.classes)
    _fill(model, folder / MODEL)
    draws = Draws.load(folder / DRAWS)
    if abs(float(draws.accuracy.mean()) - about.mean) > 1e-9 or len(draws) != about.chips:
        raise StoreError(str(folder), found=f"draws that {ENTRY} does not describe", expected="its own draws")
    card = (folder / CARD).read_text(encoding="utf-8")
    return Trained(about.name, model.eval(), experiment.hardware, experiment, draws, card, about, folder)


def recipe_of(folder: Path) -> Experiment:
    """The recipe of an entry, unless it names code or files of somebody's machine."""
    place = folder / RECIPE
    table = read_toml(place)
    for path, key, value in _walk(table):
        outside = key in ("file", "path", "call", "start") or (key == "kind" and value == "factory")
        if outside and value is not None:
            raise ConfigError(
                f"{place}:{'.'.join((*path, key))}",
                found="code or a file of its author's machine",
                expected="a recipe of shipped kinds, which an entry of the zoo has",
            )
    return Experiment.read(table, where=str(place))


def _walk(node: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], str, Any]]:
    if isinstance(node, Mapping):
        for key, value in node.items():
            yield path, str(key), value
            yield from _walk(value, (*path, str(key)))
    elif isinstance(node, list):
        for index, value in enumerate(node):
            yield from _walk(value, (*path, str(index)))


def _must_be_as_written(path: Path, expected: str) -> None:
    if not path.is_file() or path.stat().st_size > LARGEST:
        found = "no such file" if not path.is_file() else f"more than {LARGEST / 1e6:.0f} MB"
        raise StoreError(str(path), found=found, expected="the file as it was written")
    if digest(path) != expected:
        found = f"content that differs from its SHA-256 in {ENTRY}"
        raise StoreError(
            str(path), found=found, expected="the file as it was written", remedy="fetch the entry anew"
        )


def _fill(model: nn.Module, path: Path) -> None:
    """Put stored weights, which may be rounded to half precision, into a freshly built model."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        stored = load_file(path)
        own = model.state_dict()
        _must_fit(path, own, stored)
        model.load_state_dict({name: value.to(own[name].dtype) for name, value in stored.items()})
    except (SafetensorError, RuntimeError) as error:
        raise StoreError(
            str(path), found=f"weights that cannot be read ({error})", expected="safetensors"
        ) from None


def _must_fit(path: Path, own: Mapping[str, Tensor], stored: Mapping[str, Tensor]) -> None:
    differing = sorted(set(own) ^ set(stored)) or [n for n in own if own[n].shape != stored[n].shape]
    if differing:
        raise StoreError(
            str(path), found=f"{differing[0]} that the recipe's model has otherwise", expected="its weights"
        )
    if not all(bool(torch.isfinite(value).all()) for value in stored.values()):
        raise StoreError(str(path), found="weights that are not finite", expected="finite ones")
