"""A recipe is a value: read, changed, written and named by its content."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from everychip.component import read_toml, write_toml
from everychip.errors import ConfigError
from everychip.study import recipes
from everychip.study.experiment import Evaluation, Experiment
from everychip.study.grid import Study

Make = Callable[..., Experiment]


def test_a_written_recipe_is_the_same_recipe(tmp_path: Path, tiny: Make) -> None:
    experiment = tiny(
        {"hardware": {"device": {"preset": "FeFET6", "sigma": 0.1}}, "labels": {"method": "mine"}}
    )
    (tmp_path / "recipe.toml").write_text(write_toml(experiment.table()), encoding="utf-8")
    assert Experiment.from_toml(tmp_path / "recipe.toml") == experiment
    assert Experiment.from_toml(tmp_path / "recipe.toml").id == experiment.id


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 1},
        {"training": {"lr": 0.002}},
        {"evaluation": {"chips": 3}},
        {"compute": {"threads": 2}},
        {"model": {"hidden": [17]}},
        {"hardware": {"device": {"sigma": 0.21}}},
    ],
)
def test_whatever_changes_a_bit_changes_the_id(tiny: Make, change: Mapping[str, Any]) -> None:
    assert tiny(change).id != tiny().id


def test_a_default_that_is_written_out_is_the_same_computation(tiny: Make) -> None:
    assert tiny({"training": {"optimizer": "adam"}, "title": "mine"}).id == tiny().id


@pytest.mark.parametrize("name", sorted(recipes.shipped()))
def test_every_shipped_recipe_is_valid_and_says_its_command(name: str) -> None:
    path = recipes.find(name)
    if recipes.is_study(read_toml(path)):
        assert Study.from_toml(name).expand().experiments
    else:
        assert Experiment.from_toml(name).id
    comments = [line for line in path.read_text(encoding="utf-8").splitlines() if line.startswith("#")]
    assert any("everychip " in line and name in line for line in comments)


def test_an_unknown_recipe_is_answered_with_the_shipped_ones() -> None:
    with pytest.raises(ConfigError, match=r"did you mean digits.*known: .*demo, digits"):
        Experiment.from_toml("digit")


def test_a_study_is_no_recipe_of_one_run() -> None:
    with pytest.raises(ConfigError, match="everychip study demo"):
        Experiment.from_toml("demo")


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("method.kind=noise_injectoin", "did you mean noise_injection"),
        ("methods.kind=irs", "did you mean method"),
        ("hardware.device.sigma=-0.1", "sigma"),
        ("hardware.device.sigma=nan", "sigma"),
        ("hardware.mapping.cell_bits=3", "cell_bits"),
        ("training.epochs=0", "epochs"),
        ("evaluation.sigma=[0.1, -1]", "evaluation.sigma"),
        ("evaluation.chips=0", "chips"),
        ("compute.threads=0", "threads"),
        ("seed=-1", "seed"),
        ("seed", "--set: found 'seed'"),
    ],
)
def test_what_a_recipe_cannot_say_is_refused_in_one_line(setting: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words) as caught:
        Experiment.from_toml("digits", [setting])
    assert "\n" not in str(caught.value)


def test_a_setting_reaches_what_the_recipe_leaves_to_defaults() -> None:
    experiment = Experiment.from_toml("digits", ["hardware.mapping.cell_bits=4", "training.optimizer=sgd"])
    assert experiment.table()["hardware"]["mapping"]["cell_bits"] == 4
    assert experiment.training.optimizer == "sgd"


def test_a_setting_may_complete_a_recipe(tmp_path: Path, recipe: dict[str, Any]) -> None:
    del recipe["method"]
    (tmp_path / "part.toml").write_text(write_toml(recipe), encoding="utf-8")
    with pytest.raises(ConfigError, match=r"part\.toml\.method: .* required"):
        Experiment.from_toml(tmp_path / "part.toml")
    assert Experiment.from_toml(tmp_path / "part.toml", ["method.kind=ovf"]).method.kind == "ovf"


def test_the_grid_of_sigma_is_evaluated_in_ascending_order_without_repeats() -> None:
    assert Evaluation(sigma=(0.4, 0.0, 0.4)).sigma == (0.0, 0.4)


def test_without_a_grid_the_training_sigma_is_evaluated(tiny: Make) -> None:
    assert list(tiny({"evaluation": {"sigma": []}}).hardware_at()) == [0.2]


def test_a_device_without_nominal_sigma_is_evaluated_as_it_is(tiny: Make) -> None:
    experiment = tiny({"hardware": {"device": {"kind": "ideal"}}})
    assert list(experiment.hardware_at()) == [None]


def test_vanilla_is_trained_at_no_sigma_whatever_the_device(tiny: Make) -> None:
    assert tiny({"method": {"kind": "vanilla"}}).described()["sigma_train"] == 0.0
    assert tiny().described()["sigma_train"] == 0.2


def test_labels_name_the_draws(tiny: Make) -> None:
    row = tiny({"labels": {"method": "mine", "variant": "clipped", "width": "16"}}).described()
    assert (row["method"], row["variant"], row["model"], row["data"]) == ("mine", "clipped", "mlp", "digits")
