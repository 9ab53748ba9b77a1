"""What a user types first: options that editors know, kinds by name, mistakes answered in one line."""

from __future__ import annotations

import ast
import sys
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin, get_type_hints

import pytest
import torch

import everychip as ec
from everychip.errors import ConfigError
from everychip.progress import Event, listening
from everychip.training.loop import Training
from everychip.training.options import TrainingOptions

ROOMS = {path.name for path in Path(ec.__file__).parent.iterdir() if path.is_dir()}
HW = ec.Hardware(device=ec.devices.Gaussian(sigma=0.1))
X = torch.randn(64, 4, generator=ec.rng_for(0))
Y = (X[:, 0] > 0).long()
QUICK: dict[str, Any] = {"epochs": 2, "batch_size": 16, "lr": 0.1}


def linear() -> torch.nn.Module:
    with torch.random.fork_rng():
        layer = torch.nn.Linear(4, 2)
        torch.nn.init.constant_(layer.weight, 0.1)
        torch.nn.init.constant_(layer.bias, 0.0)
    return layer


def bare(annotation: Any) -> Any:
    """An annotation without its bounds."""
    if get_origin(annotation) is Annotated:
        return bare(get_args(annotation)[0])
    return annotation


def test_the_options_of_fit_are_the_fields_of_training() -> None:
    options = get_type_hints(TrainingOptions)
    fields = get_type_hints(Training)
    assert options == {name: bare(fields[name]) for name in Training.model_fields}


@pytest.mark.parametrize("method", ["noise_injection", {"kind": "noise_injection"}])
def test_a_kind_or_a_table_trains_as_the_component_does(method: Any) -> None:
    expected = ec.fit(linear(), ec.methods.NoiseInjection(), (X, Y), hardware=HW, **QUICK)
    found = ec.fit(linear(), method, (X, Y), hardware=HW, **QUICK)
    assert torch.equal(found.weight, expected.weight)
    assert not torch.equal(found.weight, linear().weight)


@pytest.mark.parametrize(
    ("ask", "line"),
    [
        (
            lambda: ec.fit(linear(), ec.methods.Vanilla, (X, Y), hardware=HW),  # type: ignore[arg-type]
            "method: found the class Vanilla; expected a value of it: Vanilla(…)",
        ),
        (
            lambda: ec.Hardware(device=ec.devices.Gaussian),  # type: ignore[arg-type]
            "Hardware.device: found the class Gaussian; expected a value of it: Gaussian(…)",
        ),
        (
            lambda: ec.devices.Gaussian(0.1),  # type: ignore[misc]
            "Gaussian: found 0.1 without a name; expected named fields: Gaussian(sigma=…)",
        ),
        (
            lambda: ec.methods.IRS(0.1),  # type: ignore[misc]
            "IRS: found 0.1 without a name; expected named fields: IRS(constraint=…)",
        ),
        (
            lambda: ec.evaluate(linear(), HW, (X, Y), chips=2, progress=3),  # type: ignore[arg-type]
            "progress: found 3; expected true, false, or a function of an event",
        ),
    ],
)
def test_a_mistake_is_one_line(ask: Any, line: str) -> None:
    with pytest.raises(ConfigError) as error:
        ask()
    assert str(error.value) == line


class Clock:
    """Seconds that pass at every look."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        self.now += 1.5
        return self.now


@pytest.mark.parametrize(("asked", "terminal", "shown"), [
    (True, False, True), (True, True, True), (None, True, True), (None, False, False), (False, True, False),
])  # fmt: skip
def test_a_bar_is_shown_on_a_terminal_or_where_it_is_asked_for(
    asked: bool | None, terminal: bool, shown: bool, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.setattr("everychip.progress.time", Clock())
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal)
    with listening(asked) as tell:
        for done in range(1, 4):
            tell(Event("chips", done, 3, {"accuracy": 0.9}))
    assert ("chips" in capsys.readouterr().err) is shown


@pytest.mark.parametrize("name", ["[red]", "[/]", "[bold]x[/bold]", "{task.id}", ":smile:"])
def test_the_name_of_a_score_of_one_s_own_is_shown_as_it_is(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.setattr("everychip.progress.time", Clock())
    with listening(True) as tell:
        for done in range(1, 4):
            tell(Event(f"chips {name}", done, 3, {name: 0.9}))
    assert capsys.readouterr().err.count(name) >= 2


def test_a_listener_hears_of_every_chip() -> None:
    heard: list[int] = []
    ec.evaluate(linear(), HW, (X, Y), chips=3, progress=lambda event: heard.append(event.done))
    assert heard == [1, 2, 3]


def test_an_experiment_and_a_study_are_executed_from_python(tmp_path: Path) -> None:
    quick = ["training.epochs=1", "evaluation.chips=2", "compute.threads=1"]
    one = ec.Experiment.from_toml("digits", [*quick, "model=mlp", "evaluation.sigma=[0.0]"])
    done = ec.run_experiment(one, str(tmp_path / "run"))
    assert done.id == one.id
    assert ec.run_experiment(one, tmp_path / "run", progress=False).draws() == done.draws()

    study = ec.Study(
        name="two",
        base=one.table(),
        axes={"method": {"vanilla": {"method": "vanilla"}, "noisy": {"method": "noise_injection"}}},
    )
    heard: list[Event] = []
    outcome = ec.run_study(study, str(tmp_path / "study"), progress=heard.append)
    assert (outcome.executed, dict(outcome.failed)) == (2, {})
    assert [(event.done, event.total) for event in heard] == [(1, 2), (2, 2)]
    assert ec.run_study(study, tmp_path / "study").executed == 0
    noisy = next(run for run in outcome.grid.experiments if run.method.kind == "noise_injection")
    alone = ec.run_experiment(noisy, tmp_path / "alone").draws()
    assert alone == ec.run_experiment(noisy, tmp_path / "study" / "runs" / noisy.id).draws()


def test_no_room_but_one_reaches_another_through_the_public_face() -> None:
    """What stands below would reach what stands above it there; `draws.report(path)` does, for its user."""
    face = {name for name in ec.__all__ if name not in ("__version__", *ROOMS)}
    allowed = {"draws.py": {"write_report"}}
    for path in Path(ec.__file__).parent.rglob("*.py"):
        if path.name == "__init__.py" and path.parent == Path(ec.__file__).parent:
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module == "everychip":
                reached = face & {name.name for name in node.names}
                assert reached <= allowed.get(path.name, set()), path
            if isinstance(node, ast.Import):
                assert all(name.name != "everychip" for name in node.names), path
