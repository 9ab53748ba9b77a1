"""A number out of the bounds of its field is refused in one line, in every method and mitigation."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin

import pytest

from everychip.cli import call
from everychip.config.component import Component
from everychip.errors import ConfigError
from everychip.methods import Method
from everychip.mitigate import Mitigation

REQUIRED: dict[str, dict[str, Any]] = {
    "selective_write_verify": {"fraction": 0.5},
    "sequence": {"mitigations": ["bn_recalibration"]},
}
KINDS: dict[str, type[Component]] = {
    name: kind
    for family in (Method, Mitigation)
    for name, kind in family.kinds().items()
    if kind.__module__.startswith("everychip.")
}


def types(annotation: Any) -> Iterator[Any]:
    """What an annotation is made of, down to the plain types."""
    if get_origin(annotation) is Annotated:
        yield from types(get_args(annotation)[0])
    elif parts := get_args(annotation):
        for part in parts:
            yield from types(part)
    else:
        yield annotation


def fields(*wanted: type) -> list[tuple[str, str]]:
    return [
        (name, field)
        for name, kind in KINDS.items()
        for field, info in kind.model_fields.items()
        if set(wanted) & {part for part in types(info.annotation) if isinstance(part, type)}
    ]


def whole(kind: str, field: str) -> bool:
    return int in types(KINDS[kind].model_fields[field].annotation)


def made(kind: str, field: str, value: Any) -> Component:
    several = get_origin(KINDS[kind].model_fields[field].annotation) is tuple
    return KINDS[kind](**{**REQUIRED.get(kind, {}), field: (value,) if several else value})


def limits(kind: str, field: str) -> dict[str, float]:
    """The bounds that an annotation states (ge, gt, le, lt), wherever in it they stand."""
    info = KINDS[kind].model_fields[field]
    stated = [*info.metadata, *within(info.annotation)]
    return {
        sign: value
        for one in stated
        for part in getattr(one, "metadata", [one])
        for sign in ("ge", "gt", "le", "lt")
        if (value := getattr(part, sign, None)) is not None
    }


def within(annotation: Any) -> Iterator[Any]:
    """What stands beside the types of an annotation, such as `Field(gt=0)` of the numbers in a list."""
    first, *others = get_args(annotation) or [None]
    if get_origin(annotation) is Annotated:
        yield from others
    for part in (first, *others) if get_origin(annotation) is not Annotated else (first,):
        if get_args(part):
            yield from within(part)


def sides(kind: str, field: str) -> tuple[list[float], list[float]]:
    """The nearest numbers that stand within the bounds, and the nearest without."""
    inside, outside = [], []
    for sign, bound in limits(kind, field).items():
        inwards = 1 if sign in ("ge", "gt") else -1
        if whole(kind, field):
            edge, further, nearer = int(bound), int(bound) - inwards, int(bound) + inwards
        else:
            edge = float(bound)
            further, nearer = (math.nextafter(edge, way * inwards * math.inf) for way in (-1, 1))
        inside.append(nearer if sign in ("gt", "lt") else edge)
        outside += [edge, further] if sign in ("gt", "lt") else [further]
    return inside, outside


def said(kind: str, field: str, value: Any) -> str:
    with pytest.raises(ConfigError) as error:
        made(kind, field, value)
    return str(error.value)


def test_bounds_are_read_off_fields_of_every_form() -> None:
    assert limits("distillation", "teacher_share") == {"ge": 0, "lt": 1}  # a number
    assert limits("ovf", "increments") == {"ge": 0}  # the numbers of a list
    assert limits("resilient", "feedback") == {"lt": 1}


def test_every_count_has_a_least_value() -> None:
    counts = [
        (kind, field)
        for kind, field in fields(int)
        if int in types(KINDS[kind].model_fields[field].annotation)
    ]
    assert counts
    assert [one for one in counts if not {"ge", "gt"} & set(limits(*one))] == []


@pytest.mark.parametrize(("kind", "field"), sorted(fields(int, float)))
def test_a_number_is_refused_out_of_its_bounds_and_taken_within(kind: str, field: str) -> None:
    inside, outside = sides(kind, field)
    for value in inside:
        assert made(kind, field, value)
    wrong = [
        math.nan,
        math.inf,
        -math.inf,
        "1",
        "x",
        True,
        [[1.0]],
        {},
        *([1.5] if whole(kind, field) else []),
    ]
    for value in [*outside, *wrong]:
        line = said(kind, field, value)
        assert line.startswith(f"{KINDS[kind].__name__}.{field}"), value
        assert "\n" not in line


@pytest.mark.parametrize(("kind", "field"), fields(bool))
def test_a_switch_is_true_or_false_and_nothing_else(kind: str, field: str) -> None:
    for value in (0, 1, 1.0, "yes", "true", None, []):
        line = said(kind, field, value)
        assert line.startswith(f"{KINDS[kind].__name__}.{field}: found {value!r}; expected ")
        assert "\n" not in line


@pytest.mark.parametrize("kind", KINDS)
def test_an_unknown_key_is_named_and_the_known_ones_are_said(kind: str) -> None:
    with pytest.raises(ConfigError, match=rf"^{KINDS[kind].__name__}\.bogus: .*unknown key") as error:
        KINDS[kind](**REQUIRED.get(kind, {}), bogus=1)
    assert "\n" not in str(error.value)
    assert all(field in str(error.value) for field in KINDS[kind].model_fields)


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        (["method.kind=sam", "method.rho=-1"], "method.rho: found -1; expected"),
        (["method.kind=sam", "method.rho=-.5"], "method.rho: found -0.5; expected"),
        (["method.kind=sam", 'method.rho="0.1"'], "method.rho: found '0.1'; expected a number"),
        (["method.kind=sam", "method.noise=1"], "method.noise: found 1; expected true or false"),
        (["method.kind=censored", "method.ratio=nan"], "method.ratio: found nan; expected"),
        (["method.kind=irs", "method.positions=3"], "method.positions: found 3; expected"),
        (
            ["method.kind=vant", "method.thetta=0.1"],
            "method.thetta: found an unknown key; did you mean theta?",
        ),
        (
            ['evaluation.mitigation={kind="bn_recalibration",images=1}'],
            "evaluation.mitigation.images: found 1; expected",
        ),
    ],
)
def test_a_run_that_asks_for_it_ends_with_one_line_and_code_2(
    settings: list[str],
    line: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.chdir(tmp_path)
    code = call(["run", "digits", *(word for setting in settings for word in ("--set", setting))])
    out, err = capsys.readouterr()
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert err.startswith(f"error: digits.{line}")
    assert list(tmp_path.iterdir()) == []
