"""The bounds of every number that a method or a mitigation takes, against a table written by hand."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin

import pytest

from everychip.cli import call
from everychip.component import Component
from everychip.errors import ConfigError
from everychip.methods import Method
from everychip.mitigate import Mitigation

ANY, POSITIVE, NOT_NEGATIVE, SHARE, COUNT = "(-inf, inf)", "(0, inf)", "[0, inf)", "[0, 1]", "[1, inf)"

EVERY_METHOD = {
    "ramp": SHARE,
    "last_layer_gain": POSITIVE,
    "label_smoothing": "[0, 1)",
    "chips": COUNT,
    "exit_loss": NOT_NEGATIVE,
}
EXITS = {"count": COUNT, "hidden": COUNT}
FEEDBACK = {"beta": ANY, "decay": POSITIVE, "backbone_share": ANY, "feedback_share": ANY}
OWN: dict[str, dict[str, str]] = {
    "adversarial_weight": {
        "beta": NOT_NEGATIVE,
        "reach": POSITIVE,
        "attack_steps": COUNT,
        "start": POSITIVE,
    },
    "censored": {"threshold": "(0, 10]", "ratio": POSITIVE},
    "consistency": {"weight": NOT_NEGATIVE},
    "correctnet": {"beta": NOT_NEGATIVE, "scale": POSITIVE},
    "deep_supervision": {**EXITS, "weight": NOT_NEGATIVE, "temperature": POSITIVE},
    "distillation": {"hard_share": SHARE, "temperature": POSITIVE, "teacher_share": "(0, 1)"},
    "irs": {**EXITS, **FEEDBACK},
    "noise_injection": {},
    "over_noise": {"ratio": POSITIVE},
    "ovf": {**FEEDBACK, "increments": NOT_NEGATIVE},
    "resilient": {
        "alpha": COUNT,
        "target": POSITIVE,
        "feedback": "(-inf, 1)",
        "quiet": NOT_NEGATIVE,
        "population": SHARE,
    },
    "sam": {"rho": NOT_NEGATIVE},
    "samson": {"rho": NOT_NEGATIVE},
    "temperature": {"temperature": POSITIVE},
    "temperature_statistics": {"temperature": POSITIVE, "increments": NOT_NEGATIVE},
    "vanilla": {},
    "vant": {"alpha": NOT_NEGATIVE, "theta": NOT_NEGATIVE},
    "bn_recalibration": {"images": "[2, inf)", "batch_size": "[2, inf)"},
    "drift_compensation": {"images": COUNT},
    "selective_write_verify": {
        "fraction": SHARE,
        "sigma_verified": NOT_NEGATIVE,
        "cycles": COUNT,
        "images": COUNT,
    },
    "sequence": {},
}
BOUNDS = {
    (kind, field): bounds
    for kind, own in OWN.items()
    for field, bounds in {**(EVERY_METHOD if kind in Method.kinds() else {}), **own}.items()
}
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


def sides(kind: str, field: str) -> tuple[list[float], list[float]]:
    """The nearest numbers that stand within the bounds, and the nearest without."""
    bounds, inside, outside = BOUNDS[kind, field], [], []
    for text, open_end, inwards in zip(
        bounds[1:-1].split(", "), (bounds[0] == "(", bounds[-1] == ")"), (1, -1), strict=True
    ):
        if math.isinf(float(text)):
            continue
        if whole(kind, field):
            edge, further, nearer = int(text), int(text) - inwards, int(text) + inwards
        else:
            edge = float(text)
            further, nearer = (math.nextafter(edge, way * inwards * math.inf) for way in (-1, 1))
        inside.append(nearer if open_end else edge)
        outside += [edge, further] if open_end else [further]
    return inside, outside


def said(kind: str, field: str, value: Any) -> str:
    with pytest.raises(ConfigError) as error:
        made(kind, field, value)
    return str(error.value)


def test_every_number_of_every_kind_stands_in_the_table() -> None:
    """A new method, mitigation or field has to be given its bounds here."""
    assert sorted(fields(int, float)) == sorted(BOUNDS)
    assert set(OWN) == set(KINDS)


@pytest.mark.parametrize(("kind", "field"), sorted(BOUNDS))
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
