"""A study is its grid: every combination once, skips by name, settings where they belong."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from everychip.config.component import merge
from everychip.errors import ConfigError
from everychip.study.grid import Study, leaves, nest

Make = Callable[..., Study]
Written = Callable[[Mapping[str, Any], str], Path]


def test_every_combination_of_labels_is_one_experiment(study: Make) -> None:
    grid = study({"sweep": {"hardware": {"device": {"sigma": [0.1, 0.2, 0.3]}}}}).expand()
    found = [tuple(experiment.labels.values()) for experiment in grid.experiments]
    assert sorted(found) == sorted(itertools.product(["vanilla", "irs"], ["0", "1"], ["0.1", "0.2", "0.3"]))
    for experiment in grid.experiments:
        assert experiment.method.kind == experiment.labels["method"]
        assert experiment.seed == int(experiment.labels["seed"])
        assert experiment.hardware.device.nominal_sigma == float(experiment.labels["sigma"])
    assert len({experiment.id for experiment in grid.experiments}) == 12


def test_a_sweep_is_the_same_axis_whether_its_key_is_quoted_or_not(study: Make) -> None:
    quoted = study({"sweep": {"hardware.device.sigma": [0.1, 0.3]}})
    assert quoted == study({"sweep": {"hardware": {"device": {"sigma": [0.1, 0.3]}}}})
    assert quoted.labels() == {"method": ["vanilla", "irs"], "seed": ["0", "1"], "sigma": ["0.1", "0.3"]}


def test_axes_are_laid_over_each_other_in_the_order_they_are_written(study: Make) -> None:
    variants = {
        "published": {},
        "clipped": {"method": {"ramp": 0.5, "constraint": {"kind": "clip", "alpha": 2.0}}},
    }
    grid = study({"axes": {"variant": variants}}).expand()
    clipped = [e for e in grid.experiments if e.labels["variant"] == "clipped"]
    assert {e.method.kind for e in clipped} == {"vanilla", "irs"}
    assert all(e.method.ramp == 0.5 and e.method.constraint is not None for e in clipped)


def test_skipped_combinations_are_left_out_by_name(study: Make) -> None:
    change = {
        "sweep": {"hardware.device.sigma": [0.1, 0.2, 0.3]},
        "skip": [{"method": "vanilla", "sigma": [0.2, 0.3]}],
    }
    grid = study(change).expand()
    assert len(grid.experiments) == 8
    assert sorted(tuple(labels.values()) for labels in grid.left_out) == [
        ("vanilla", seed, sigma) for seed in "01" for sigma in ("0.2", "0.3")
    ]


@pytest.mark.parametrize(
    ("skip", "words"),
    [
        ({"methods": "irs"}, "unknown axis 'methods'.*did you mean method"),
        ({"method": "isr"}, "did you mean irs"),
    ],
)
def test_a_skip_of_what_there_is_not_is_refused(study: Make, skip: dict[str, str], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        study({"skip": [skip]})


def test_the_same_computation_is_one_run_and_said_to_be(study: Make) -> None:
    same = {"method": {"kind": "irs", "hidden": 8}}
    grid = study({"axes": {"method": {"irs again": same}}}).expand()
    assert len(grid.experiments) == 4
    assert [labels["method"] for labels in grid.merged] == ["irs again", "irs again"]


def test_every_first_seed_comes_before_any_second(study: Make) -> None:
    order = study().expand().in_order()
    assert [experiment.labels["seed"] for experiment in order] == ["0", "0", "1", "1"]
    assert [experiment.method.kind for experiment in order] == ["vanilla", "irs"] * 2


def test_a_mistake_in_one_combination_names_it(study: Make) -> None:
    bad = {"method": {"kind": "irs", "betta": 1.0}}
    with pytest.raises(ConfigError, match=r"tiny \[method=bad, seed=0\]\.method\.betta: .*did you mean beta"):
        study({"axes": {"method": {"bad": bad}}}).expand()


def test_settings_reach_every_run_or_the_study_itself(written: Written, study: Make) -> None:
    path = written(study().table(), "tiny.toml")
    changed = Study.from_toml(path, ["training.epochs=7", "sweep.seed=[5]", "title=mine"])
    experiments = changed.expand().experiments
    assert [experiment.training.epochs for experiment in experiments] == [7, 7]
    assert [experiment.seed for experiment in experiments] == [5, 5]
    assert changed.title == "mine"


def test_a_setting_reaches_over_a_method_axis_into_every_method(written: Written, study: Make) -> None:
    path = written(study().table(), "tiny.toml")
    experiments = Study.from_toml(path, ["method.ramp=0.25"]).expand().experiments
    assert [experiment.method.ramp for experiment in experiments] == [0.25] * 4


@pytest.mark.parametrize("setting", ["seed=3", "method.kind=vanilla"])
def test_a_setting_that_an_axis_would_undo_is_refused(written: Written, study: Make, setting: str) -> None:
    path = written(study().table(), "tiny.toml")
    with pytest.raises(ConfigError, match="an axis of the study 'tiny' sets it"):
        Study.from_toml(path, [setting])


def test_two_axes_of_one_name_are_refused(study: Make) -> None:
    with pytest.raises(ConfigError, match="two axes called 'seed'"):
        study({"axes": {"seed": {"0": {"seed": 0}}}})


def test_a_study_without_runs_is_refused(study: Make) -> None:
    with pytest.raises(ConfigError, match="without runs"):
        study({"skip": [{"seed": [0, 1]}]}).expand()


def test_a_recipe_of_one_run_is_no_study(written: Written, recipe: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="everychip run"):
        Study.from_toml(written(recipe, "one.toml"))


def test_a_study_as_it_is_written_into_its_folder_is_the_same_study(written: Written, study: Make) -> None:
    changed = study({"sweep": {"hardware.device.sigma": [0.1]}, "always": {"training": {"lr": 0.01}}})
    assert Study.from_toml(written(changed.table(), "study.toml")) == changed


@pytest.mark.parametrize("name", ["", "a/b", "..", "a b"])
def test_a_name_that_is_no_folder_name_is_refused(study: Make, name: str) -> None:
    with pytest.raises(ConfigError, match=r"tiny\.name"):
        study({"name": name})


def test_nest_undoes_leaves() -> None:
    table = {"a": {"b": 1, "c": {"d": [1, 2]}}, "e": "f"}
    assert nest(dict(leaves(table))) == table
    assert merge({}, nest({"a": {"b.c": 1}})) == {"a": {"b": {"c": 1}}}
