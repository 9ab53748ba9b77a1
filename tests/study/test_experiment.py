"""A recipe is a value: read, changed, written and named by its content."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from everychip.config.component import merge
from everychip.config.toml import read_toml, write_toml
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
    with pytest.raises(ConfigError, match=r"did you mean digits.*known: .*demo, .*digits"):
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
    (condition,) = tiny({"evaluation": {"sigma": []}}).conditions()
    assert (condition.sigma, condition.time) == (0.2, None)


def test_a_device_without_nominal_sigma_is_evaluated_as_it_is(tiny: Make) -> None:
    experiment = tiny({"hardware": {"device": {"kind": "ideal"}}, "evaluation": {"sigma": []}})
    (condition,) = experiment.conditions()
    assert (condition.sigma, condition.time, condition.hardware) == (None, None, experiment.hardware)


PCM: dict[str, Any] = {
    "hardware": {"device": {"preset": "PCM-Nandakumar"}, "mapping": {"kind": "direct"}},
    "evaluation": {"sigma": []},
}


def test_times_are_read_with_their_units_in_order_and_once(tiny: Make) -> None:
    asked = ["1y", "25s", 3600, "60min", "1.5 h", "2 days", "1mo"]
    experiment = tiny(merge(PCM, {"evaluation": {"time": asked}}))
    assert experiment.evaluation.time == (25, 3600, 5400, 172_800, 2_592_000, 31_536_000)
    assert [one.time for one in experiment.conditions()] == list(experiment.evaluation.time)
    assert experiment.conditions()[-1].hardware.device == experiment.hardware.device.at("1y")
    assert tiny(merge(PCM, {"evaluation": {"time": "1h"}})).evaluation.time == (3600,)


def test_a_device_that_ages_is_read_at_its_own_time_unless_others_are_asked_for(tiny: Make) -> None:
    (condition,) = tiny(merge(PCM, {"hardware": {"device": {"time": "1d"}}})).conditions()
    assert condition.time == 86_400


def test_without_times_the_run_is_the_one_it_was_before_there_were_any(tiny: Make) -> None:
    assert "time" not in tiny().table()["evaluation"]
    assert tiny({"evaluation": {"time": []}}).id == tiny().id == "73bf4fa85ccc"
    assert tiny(merge(PCM, {"evaluation": {"time": ["1h"]}})).id != tiny(PCM).id


def test_times_change_nothing_of_the_training(tiny: Make) -> None:
    assert tiny(merge(PCM, {"evaluation": {"time": ["1h"]}})).training_id == tiny(PCM).training_id


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"evaluation": {"time": ["1m"]}}, r"evaluation\.time\.0: found '1m'; expected .*10min.*1mo"),
        ({"evaluation": {"time": ["1h", "soon"]}}, r"evaluation\.time\.1: found 'soon'"),
        ({"evaluation": {"time": ["-1h"]}}, "found '-1h'"),
        ({"evaluation": {"time": [-1.0]}}, "greater than or equal to 0"),
        ({"evaluation": {"time": [float("inf")]}}, "finite"),
        ({"evaluation": {"time": ["1e400 s"]}}, "finite"),
        ({"evaluation": {"time": "noon"}}, r"evaluation\.time\.0: found 'noon'"),
        ({"evaluation": {"time": {"h": 1}}}, r"evaluation\.time: found \{'h': 1\}"),
        (
            {"evaluation": {"sigma": [0.1]}},
            r"evaluation\.sigma: found σ, while PCM-Nandakumar .* no nominal σ",
        ),
        ({"hardware": {"device": {"kind": "ideal"}}, "evaluation": {"time": ["1h"]}}, "ideal does not age"),
        (
            {"hardware": {"device": {"preset": "NeuRRAM-1s"}}, "evaluation": {"time": ["1h"]}},
            r"evaluation\.time: found 3600 s, at which nothing was measured; expected one of 1, 86400",
        ),
    ],
)
def test_a_time_that_cannot_be_and_a_sigma_that_there_is_not_are_refused_in_one_line(
    tiny: Make, change: Mapping[str, Any], words: str
) -> None:
    with pytest.raises(ConfigError, match=words) as caught:
        tiny(merge(PCM, change))
    assert "\n" not in str(caught.value)


def test_vanilla_is_trained_at_no_sigma_whatever_the_device(tiny: Make) -> None:
    assert tiny({"method": {"kind": "vanilla"}}).described()["sigma_train"] == 0.0
    assert tiny().described()["sigma_train"] == 0.2


def test_labels_name_the_draws(tiny: Make) -> None:
    row = tiny({"labels": {"method": "mine", "variant": "clipped", "width": "16"}}).described()
    assert (row["method"], row["variant"], row["model"], row["data"]) == ("mine", "clipped", "mlp", "digits")
