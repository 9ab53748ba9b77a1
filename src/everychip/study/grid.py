"""A study: a base recipe and axes of changes to it, expanded into experiments."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import Field, field_validator

from everychip.config.component import Config, merge, override
from everychip.errors import ConfigError, known_names
from everychip.study import recipes
from everychip.study.asked import Contrasts
from everychip.study.experiment import Experiment

Labels = dict[str, str]
Table = dict[str, Any]


@dataclass(frozen=True)
class Grid:
    """What a study comes to: its experiments, what it skips on purpose, what would be the same run twice."""

    axes: Mapping[str, list[str]]
    experiments: tuple[Experiment, ...]
    left_out: tuple[Labels, ...]
    merged: tuple[Labels, ...]

    def in_order(self) -> tuple[Experiment, ...]:
        """The experiments, the first seed of every one before the second, so that early results compare."""
        seeds = list(dict.fromkeys(experiment.seed for experiment in self.experiments))
        return tuple(sorted(self.experiments, key=lambda experiment: seeds.index(experiment.seed)))


class Study(Config):
    """A grid of recipes.

    base: the recipe that all share. axes: `[axes.<axis>.<label>]`, a table of changes to the base; the axes
    `method`, `variant`, `model`, `data` and `device` give the draws their names. sweep: the short form of
    an axis, `hardware.device.sigma = [0.2, 0.4]`, named by the last part of its key. skip: combinations that
    make no sense, as labels by axis. contrasts: what is asked beforehand, a family of pairs each. always:
    changes laid over every combination (`--set`).

    >>> study = Study.from_toml("demo")
    >>> list(study.labels())
    ['method', 'seed']
    """

    name: Annotated[str, Field(pattern=r"^\w[\w.-]*$")]
    title: str = ""
    base: Table
    axes: dict[str, dict[str, Table]] = Field(default_factory=dict)
    sweep: dict[str, Annotated[list[Any], Field(min_length=1)]] = Field(default_factory=dict)
    skip: tuple[dict[str, Any], ...] = ()
    contrasts: tuple[Contrasts, ...] = ()
    always: Table = Field(default_factory=dict)

    @classmethod
    def from_toml(cls, recipe: str | Path, settings: Iterable[str] = ()) -> Self:
        """Read a study, by path or by the name of a shipped one.

        A setting is one of the study's own keys (`sweep.seed=[0]`) or of every recipe (`training.epochs=1`).

        Args:
            recipe: the path of a TOML file, or the name of a shipped study.
            settings: changes such as "training.epochs=1".

        Returns:
            The study.
        """
        path = recipes.find(recipe)
        table = {"name": path.stem, **recipes.read(path)}
        if not recipes.is_study(table):
            raise ConfigError(
                str(recipe),
                found="a recipe of one run",
                expected="a study: a [base] and axes",
                remedy=f"everychip run {recipe}",
            )
        if isinstance(table.get("sweep"), dict):
            table["sweep"] = nest(table["sweep"])
        known = cls.model_fields
        routed = [s if s.partition("=")[0].split(".")[0] in known else f"always.{s}" for s in settings]
        return cls.read(override(table, routed), where=path.name)

    @field_validator("sweep", mode="before")
    @classmethod
    def _dotted(cls, sweep: Any) -> Any:
        return dict(leaves(sweep)) if isinstance(sweep, Mapping) else sweep

    @classmethod
    def read(cls, data: Mapping[str, Any], *, where: str) -> Self:
        """Build the study from parsed TOML, its axes, skips and settings in agreement."""
        study = super().read(data, where=where)
        study.check()
        return study

    def check(self) -> None:
        """Refuse axes of one name, skips and contrasts of what there is not, settings that an axis undoes."""
        names = [*self.axes, *map(_last, self.sweep)]
        for name in names:
            if names.count(name) > 1:
                remedy = "write one of them as [axes.<another name>.<label>]"
                raise ConfigError(f"{self.name}.axes", found=f"two axes called {name!r}", remedy=remedy)
        labels = self.labels()
        for combination in self.skip:
            _check_skip(combination, labels, where=f"{self.name}.skip")
        for family in self.contrasts:
            family.check(labels, where=f"{self.name}.contrasts")
        swept = {key for change in self._changes() for key, _ in leaves(change)}
        for key, _ in leaves(self.always):
            if key in swept:
                raise ConfigError(
                    f"--set {key}",
                    found=f"that an axis of the study {self.name!r} sets it",
                    remedy=f"set the axis itself, as in --set 'sweep.{key}=[...]'",
                )

    def labels(self) -> dict[str, list[str]]:
        """The labels of every axis, in the order they are written."""
        return {axis: list(options) for axis, options in self._axes().items()}

    def expand(self) -> Grid:
        """Every combination of labels as an experiment, the same computation only once."""
        self.check()
        experiments: dict[str, Experiment] = {}
        left_out, merged = [], []
        for labels, changes in self._combinations():
            if any(_matches(combination, labels) for combination in self.skip):
                left_out.append(labels)
                continue
            experiment = self._experiment(labels, changes)
            if experiment.id in experiments:
                merged.append(labels)
            else:
                experiments[experiment.id] = experiment
        if not experiments:
            raise ConfigError(self.name, found="a study without runs", expected="one that is not skipped")
        return Grid(self.labels(), tuple(experiments.values()), tuple(left_out), tuple(merged))

    def _axes(self) -> dict[str, dict[str, Table]]:
        swept = {
            _last(key): {_label(value): _nested(key, value) for value in values}
            for key, values in self.sweep.items()
        }
        return {**self.axes, **swept}

    def _changes(self) -> Iterator[Table]:
        for options in self._axes().values():
            yield from options.values()

    def _combinations(self) -> Iterator[tuple[Labels, list[Table]]]:
        axes = self._axes()
        for chosen in itertools.product(*(options.items() for options in axes.values())):
            labels = {axis: label for axis, (label, _) in zip(axes, chosen, strict=True)}
            yield labels, [change for _, change in chosen]

    def _experiment(self, labels: Labels, changes: list[Table]) -> Experiment:
        table: Table = self.base
        for change in changes:
            table = merge(table, change)
        place = ", ".join(f"{axis}={label}" for axis, label in labels.items())
        return Experiment.changed({**table, "labels": labels}, self.always, where=f"{self.name} [{place}]")


def nest(table: Mapping[str, Any]) -> Table:
    """Dotted keys as tables in tables.

    >>> nest({"a.b": 1, "a.c": 2})
    {'a': {'b': 1, 'c': 2}}
    """
    result: Table = {}
    for key, value in table.items():
        result = merge(result, _nested(key, nest(value) if isinstance(value, Mapping) else value))
    return result


def leaves(table: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every value that is no table, with its dotted key.

    >>> dict(leaves({"a": {"b": 1}, "c": 2}))
    {'a.b': 1, 'c': 2}
    """
    for key, value in table.items():
        if isinstance(value, Mapping):
            yield from leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _nested(key: str, value: Any) -> Table:
    for part in reversed(key.split(".")):
        value = {part: value}
    return dict(value)


def _last(key: str) -> str:
    return key.rpartition(".")[2]


def _label(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _check_skip(combination: Mapping[str, Any], labels: Mapping[str, list[str]], *, where: str) -> None:
    for axis, wanted in combination.items():
        if axis not in labels:
            raise ConfigError(where, found=f"unknown axis {axis!r}", remedy=known_names(axis, labels))
        for label in _choices(wanted):
            if label not in labels[axis]:
                remedy = known_names(label, labels[axis])
                raise ConfigError(f"{where}.{axis}", found=f"unknown label {label!r}", remedy=remedy)


def _matches(combination: Mapping[str, Any], labels: Labels) -> bool:
    return all(labels[axis] in _choices(wanted) for axis, wanted in combination.items())


def _choices(wanted: Any) -> list[str]:
    return [_label(value) for value in (wanted if isinstance(wanted, list) else [wanted])]
