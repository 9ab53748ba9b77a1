"""Claims about users' own models, made by a function that a recipe names."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from everychip.errors import ModelError
from everychip.models import Factory

SOURCE = """
import torch
from torch import nn

def make(inputs=4, outputs=2):
    import my_helper_of_the_factory_test
    return nn.Linear(inputs, outputs)

def number():
    return 3

def broken():
    raise KeyError("weights")

_private = 1
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A user's module in the working directory."""
    name = f"mine_{abs(hash(tmp_path))}"
    (tmp_path / f"{name}.py").write_text(SOURCE)
    (tmp_path / "my_helper_of_the_factory_test.py").write_text("")
    monkeypatch.chdir(tmp_path)
    return name


def test_a_function_in_the_working_directory_makes_the_model(
    module: str, global_generators_untouched: None
) -> None:
    path = list(sys.path)
    made = [
        Factory(call=f"{module}:make", arguments={"outputs": 7}).build((4,), 7, seed=s) for s in (0, 0, 1)
    ]
    assert isinstance(made[0], nn.Linear)
    assert made[0].out_features == 7
    assert torch.equal(made[0].weight, made[1].weight)
    assert not torch.equal(made[0].weight, made[2].weight)
    assert sys.path == path


def test_the_label_is_the_functions_name(module: str) -> None:
    assert Factory(call=f"{module}:make").label == "make"


@pytest.mark.parametrize(
    ("call", "arguments", "words"),
    [
        ("no_such_module_anywhere:make", {}, "no module 'no_such_module_anywhere'"),
        ("{module}:mkae", {}, "did you mean make\\? known: broken, make, number"),
        ("{module}:_private", {}, "no function '_private'"),
        (
            "{module}:make",
            {"width": 3},
            "arguments: found that they do not fit .*unexpected keyword argument 'width'",
        ),
        ("{module}:number", {}, "a int returned; expected a torch.nn.Module"),
        ("{module}:broken", {}, "an error when called \\(KeyError: 'weights'\\)"),
    ],
)
def test_what_goes_wrong_is_said_in_one_line(
    module: str, call: str, arguments: dict[str, object], words: str
) -> None:
    with pytest.raises(ModelError, match=words) as caught:
        Factory(call=call.format(module=module), arguments=arguments).build((4,), 2)
    assert "\n" not in str(caught.value)


def test_a_module_that_does_not_compile_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "half_a_module.py").write_text("def make(:\n")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        ModelError, match=r"half_a_module:make: found a module that cannot be imported \(SyntaxError"
    ):
        Factory(call="half_a_module:make").build((4,), 2)
