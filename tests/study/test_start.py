"""A training may start from the weights of another one, which are named by their content."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file

import everychip as ec
from everychip.config.toml import read_toml
from everychip.data import split_holdout
from everychip.errors import EverychipError, StoreError
from everychip.progress import Event
from everychip.study import store
from everychip.study.execution import run
from everychip.study.experiment import Experiment
from everychip.study.grid import Study
from everychip.study.study import run_study
from everychip.study.trained import asked_of, trained_model

Make = Callable[..., Experiment]
Write = Callable[..., Path]
VANILLA = {"method": {"kind": "vanilla"}, "evaluation": {"sigma": [0.0], "chips": 1}}


@pytest.fixture
def vanilla(tmp_path: Path, tiny: Make) -> Path:
    """The folder of a digital training."""
    return run(tiny({**VANILLA, "training": {"epochs": 3, "lr": 0.02}}), tmp_path / "vanilla").folder


def test_the_first_loss_is_that_of_the_loaded_weights(tmp_path: Path, tiny: Make, vanilla: Path) -> None:
    # One step an epoch, over all training images: the loss of the first epoch is that of the first weights.
    once = {**VANILLA, "training": {"epochs": 1, "batch_size": 10_000}}
    experiment = tiny({**once, "start": str(vanilla)})
    started = run(experiment, tmp_path / "started").record["history"][0]["loss"]
    fresh = run(tiny(once), tmp_path / "fresh").record["history"][0]["loss"]
    data, _ = split_holdout(experiment.data.load().train, experiment.training.validation, seed=0)
    weights = load_file(vanilla / store.MODEL)
    z = data.x.flatten(1)
    for layer, rectified in ((1, True), (3, False)):
        z = z @ weights[f"{layer}.weight"].T + weights[f"{layer}.bias"]
        z = z.relu() if rectified else z
    assert started == pytest.approx(float(F.cross_entropy(z, data.y)), rel=1e-5)
    assert started < 0.5 * fresh


@pytest.mark.parametrize("method", ["noise_injection", "irs"])
def test_it_is_what_fit_does_with_a_trained_model(
    tmp_path: Path, tiny: Make, vanilla: Path, method: str
) -> None:
    experiment = tiny({"method": {"kind": method}, "start": str(vanilla)})
    done = run(experiment, tmp_path / "noisy")
    model = trained_model(experiment, vanilla / store.MODEL)
    torch.set_num_threads(experiment.compute.threads or 1)  # sums of other threads differ in their last bit
    fitted = ec.fit(
        model,
        experiment.method,
        experiment.data.load().train,
        hardware=experiment.hardware,
        epochs=1,
        validation_chips=1,
        validation_images=50,
    )
    expected, found = fitted.state_dict(), load_file(done.folder / store.MODEL)
    assert all(torch.equal(found[name], value) for name, value in expected.items())


def test_the_same_weights_have_the_same_id_wherever_they_lie_and_others_another(
    tmp_path: Path, tiny: Make, vanilla: Path
) -> None:
    copied = shutil.copytree(vanilla, tmp_path / "elsewhere")
    tensors = load_file(vanilla / store.MODEL)
    save_file(
        dict(reversed(tensors.items())), tmp_path / "loose.safetensors", metadata={"by": "another hand"}
    )
    save_file({**tensors, "3.bias": tensors["3.bias"] + 1}, tmp_path / "other.safetensors")
    places = (vanilla, copied, vanilla / store.MODEL, tmp_path / "loose.safetensors")
    same = [tiny({"start": str(place)}) for place in places]
    assert len({one.id for one in same}) == len({one.training_id for one in same}) == 1
    other = tiny({"start": {"file": str(tmp_path / "other.safetensors")}})
    assert len({same[0].id, other.id, tiny().id}) == 3
    assert len({same[0].training_id, other.training_id, tiny().training_id}) == 3


def test_a_recipe_without_it_has_no_word_of_it(tiny: Make) -> None:
    assert "start" not in tiny().table()


def test_its_path_leads_from_the_recipe_that_names_it(
    tmp_path: Path, recipe: dict[str, Any], written: Write, vanilla: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written({**recipe, "start": "vanilla"}, "recipe.toml")
    monkeypatch.chdir(tmp_path / "vanilla")
    experiment = Experiment.from_toml("../recipe.toml")
    assert experiment.id == Experiment.from_toml(path).id
    assert Experiment.from_toml(path, ["start=model.safetensors"]).id == experiment.id, "as seen from here"
    # What the run's folder says of it leads there, too, and once the run is complete it is not needed.
    folder = tmp_path / "deep" / "run"
    run(experiment, folder)
    named = read_toml(folder / store.RECIPE)["start"]["file"]
    assert not Path(named).is_absolute() and (folder / named).resolve() == vanilla.resolve()
    again = Experiment.from_toml(folder / store.RECIPE)
    monkeypatch.chdir(tmp_path)
    shutil.rmtree(vanilla)
    assert run(again, folder).id == Experiment.from_toml("deep/run/recipe.toml").id == experiment.id
    assert asked_of(folder, ["evaluation.chips=3"]).training_id == experiment.training_id


def test_a_study_may_compare_it_with_fresh_weights(
    tmp_path: Path, recipe: dict[str, Any], written: Write, vanilla: Path
) -> None:
    table = {
        "base": recipe,
        "axes": {"variant": {"": {}, "from digital": {"start": "vanilla"}}},
    }
    study = Study.from_toml(written(table, "study.toml"))
    outcome = run_study(study, tmp_path / "out")
    assert not outcome.failed
    fresh, started = outcome.grid.experiments
    assert fresh.start is None and started.start is not None
    again = Study.from_toml(tmp_path / "out" / "study.toml").expand().experiments
    assert [one.id for one in again] == [fresh.id, started.id]
    losses = [
        store.open_run(tmp_path / "out" / "runs" / one.id).record["history"][0]["loss"]
        for one in (fresh, started)
    ]
    assert losses[1] < losses[0]


def bad_file(tmp_path: Path, vanilla: Path, case: str) -> Path:
    """Weights that cannot be started from."""
    tensors, path = load_file(vanilla / store.MODEL), tmp_path / "bad.safetensors"
    match case:
        case "absent":
            return path
        case "no run":
            (tmp_path / "empty").mkdir()
            return tmp_path / "empty"
        case "broken":
            path.write_bytes((vanilla / store.MODEL).read_bytes()[:-7])
            return path
        case "pickled":
            torch.save(tensors, path)
            return path
        case "damaged run":
            (vanilla / store.MODEL).write_bytes(b"damage")
            return vanilla
        case "a tensor less":
            del tensors["3.bias"]
        case "a tensor more":
            tensors["4.bias"] = torch.zeros(3)
        case "another shape":
            tensors["3.bias"] = torch.zeros(3)
        case "not finite":
            tensors["3.bias"][0] = torch.nan
    save_file(tensors, path)
    return path


@pytest.mark.parametrize(
    ("case", "words"),
    [
        (
            "absent",
            r"start\.file: found no such file \(.*bad\.safetensors\); expected the folder of a complete",
        ),
        ("no run", r"start\.file: found no run\.json \(.*empty\); expected a complete run"),
        ("broken", r"start\.file: found weights that cannot be read"),
        ("pickled", r"start\.file: found weights that cannot be read.*safetensors\.torch\.save_file\("),
        ("damaged run", r"start\.file: found content that differs from its SHA-256"),
        ("not finite", r"start\.file: found weights that are not finite: 3\.bias"),
        ("a tensor less", r"found weights of another model; expected also a tensor 3\.bias"),
        ("a tensor more", r"found 4\.bias of shape \[3\]; expected no such tensor in the model"),
        ("another shape", r"found 3\.bias of shape \[3\]; expected one of shape \[10\]"),
    ],
)
def test_weights_that_do_not_fit_are_refused_before_any_training(
    tmp_path: Path, tiny: Make, vanilla: Path, case: str, words: str
) -> None:
    file = bad_file(tmp_path, vanilla, case)
    events: list[Event] = []
    with pytest.raises(EverychipError, match=words) as refusal:
        run(tiny({"start": str(file)}), tmp_path / "run", progress=events.append)
    assert "\n" not in str(refusal.value)
    assert events == []


def test_weights_that_changed_since_the_recipe_was_read_are_refused(
    tmp_path: Path, tiny: Make, vanilla: Path
) -> None:
    path = tmp_path / "weights.safetensors"
    tensors = load_file(vanilla / store.MODEL)
    save_file(tensors, path)
    experiment = tiny({"start": str(path)})
    save_file({name: value + 1 for name, value in tensors.items()}, path)
    with pytest.raises(StoreError, match="other weights than when the recipe was read"):
        run(experiment, tmp_path / "run")
    assert tiny({"start": str(path)}).id != experiment.id


@pytest.mark.parametrize("case", ["absent", "another shape"])
def test_the_command_line_says_so_in_one_line(
    tmp_path: Path,
    recipe: dict[str, Any],
    written: Write,
    vanilla: Path,
    case: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from everychip.cli import call

    path = written({**recipe, "start": str(bad_file(tmp_path, vanilla, case))}, "recipe.toml")
    assert call(["run", str(path), "--output", str(tmp_path / "run")]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_check_tells_the_noise_of_the_weights_that_it_starts_from(
    recipe: dict[str, Any], written: Write, vanilla: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from everychip.cli import call

    assert call(["check", str(written({**recipe, "start": "vanilla"}, "recipe.toml")), "--json"]) == 0
    started = capsys.readouterr().out
    assert call(["check", str(vanilla), "--json"]) == 0
    assert capsys.readouterr().out == started
