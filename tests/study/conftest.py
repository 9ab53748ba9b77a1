"""A recipe that takes a second, and a study of a few of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from everychip.config.component import merge
from everychip.config.toml import write_toml
from everychip.study.experiment import Experiment
from everychip.study.grid import Study

RECIPE: dict[str, Any] = {
    "data": {"kind": "digits"},
    "model": {"kind": "mlp", "hidden": [16]},
    "hardware": {"device": {"kind": "gaussian", "sigma": 0.2}},
    "method": {"kind": "noise_injection"},
    "training": {"epochs": 1, "validation_chips": 1, "validation_images": 50},
    "evaluation": {"sigma": [0.0, 0.2], "chips": 2},
    "compute": {"threads": 1},
}
STUDY: dict[str, Any] = {
    "name": "tiny",
    "base": {key: value for key, value in RECIPE.items() if key != "method"},
    "axes": {
        "method": {
            "vanilla": {"method": {"kind": "vanilla"}},
            "irs": {"method": {"kind": "irs", "hidden": 8}},
        }
    },
    "sweep": {"seed": [0, 1]},
}


@pytest.fixture
def recipe() -> dict[str, Any]:
    """The table of the tiny recipe."""
    return merge({}, RECIPE)


@pytest.fixture
def tiny() -> Callable[..., Experiment]:
    """Makes the tiny experiment, with changes."""

    def make(changes: Mapping[str, Any] | None = None) -> Experiment:
        return Experiment.read(merge(RECIPE, changes or {}), where="tiny")

    return make


@pytest.fixture
def study() -> Callable[..., Study]:
    """Makes the tiny study, with changes."""

    def make(changes: Mapping[str, Any] | None = None) -> Study:
        return Study.read(merge(STUDY, changes or {}), where="tiny")

    return make


@pytest.fixture
def written(tmp_path: Path) -> Callable[[Mapping[str, Any], str], Path]:
    """Writes a table as a TOML file."""

    def write(table: Mapping[str, Any], name: str) -> Path:
        path = tmp_path / name
        path.write_text(write_toml(table), encoding="utf-8")
        return path

    return write
