"""A long value, or a long key, in any place of a recipe is refused in lines that a terminal can show."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from copy import deepcopy
from typing import Any

import pytest
from faults.recipes import BASE, SCHEMA, resolved
from faults.test_fuzz import LINE

from everychip.cli import call
from everychip.errors import EverychipError
from everychip.study.experiment import Experiment

LONG = "x" * 5000
Place = tuple[tuple[str, Any], ...]
DEEPEST = 3


def places(schema: Mapping[str, Any], above: Place = ()) -> Iterator[Place]:
    """Every key of a recipe's schema, with the kind of the table that it stands in."""
    table = resolved(dict(schema))
    for option in (one for key in ("anyOf", "oneOf") for one in table.get(key, ())):
        yield from places(option, above)
    kind = table.get("properties", {}).get("kind", {})
    for name, inner in table.get("properties", {}).items() if len(above) < DEEPEST else ():
        here = (*above, (name, kind.get("const", kind.get("default"))))
        yield here
        yield from places(inner, here)


def with_value(place: Place, value: Any) -> dict[str, Any]:
    table = deepcopy(BASE)
    at: dict[str, Any] = table
    for depth, (name, kind) in enumerate(place):
        if depth and kind:
            at["kind"] = kind
        if depth + 1 == len(place):
            at[name] = value
        else:
            at[name] = at[name] if isinstance(at.get(name), dict) else {}
            at = at[name]
    return table


EVERY = sorted(set(places(SCHEMA["$defs"]["base"])), key=str)


@pytest.mark.parametrize("section", sorted({place[0][0] for place in EVERY}))
@pytest.mark.parametrize("value", [LONG, {LONG: 1}, [LONG]], ids=["text", "key", "list"])
def test_a_long_value_of_any_key_is_refused_in_short_lines(section: str, value: Any) -> None:
    mine, wrong = [place for place in EVERY if place[0][0] == section], {}
    refused = 0
    for place in mine:
        try:
            Experiment.read(with_value(place, deepcopy(value)), where="long")
        except EverychipError as error:
            refused += 1
            if max(map(len, str(error).splitlines())) > LINE:
                wrong[".".join(name for name, _ in place)] = str(error)[:100]
    assert wrong == {}
    assert refused > len(mine) / 2 or section == "title", "a title may be long"


def test_a_long_path_is_one_short_line_at_the_command_line_too(capsys: pytest.CaptureFixture[str]) -> None:
    for words in (
        ["report", LONG],
        ["check", LONG],
        ["sql", LONG, "select 1"],
        ["check", "digits", "-o", LONG],
    ):
        assert call(words) == 2, words[0]
        said = capsys.readouterr().err
        assert said.startswith("error: ")
        assert max(map(len, said.splitlines())) <= LINE, words[0]
