"""Recipes by chance: drawn from the JSON schema or taken from the shipped ones, then spoilt."""

from __future__ import annotations

import json
import random
import tomllib
from collections.abc import Callable, Iterator
from importlib.resources import files
from typing import Any

import tomli_w

from everychip.study.recipes import shipped

SCHEMA: dict[str, Any] = json.loads((files("everychip.recipes") / "recipe.schema.json").read_text("utf-8"))
RECIPES = [tomllib.loads(path.read_text("utf-8")) for path in shipped().values()]
BASE = {
    "data": "digits",
    "model": {"kind": "mlp", "hidden": [8]},
    "method": "noise_injection",
    "hardware": {"device": {"kind": "gaussian", "sigma": 0.2}, "mapping": "direct"},
    "training": {"epochs": 1},
    "evaluation": {"chips": 2, "sigma": [0.1]},
    "compute": {"threads": 1},
}
SECTIONS = sorted(SCHEMA["$defs"]["base"]["properties"])
DEEPEST = 8
NUMBERS: tuple[Any, ...] = (-1, 0, 1, 2, 3, 7, 2**31, 2**63 - 1, 2**63, 10**30, 10**400, 0.5, 1e-320, 1e39)
ODD: tuple[Any, ...] = (
    *(*NUMBERS, 1e308, -1e308, -0.0, float("nan"), float("inf"), float("-inf"), True, False),
    *(
        "",
        " ",
        "a",
        "1",
        "0.1",
        "nan",
        "a\nb",
        "\x00",
        "\x1b[31mred",
        "[red]x[/red]",
        "[/]",
        "é🎲",
        "x" * 100_000,
    ),
    *(
        "/dev/zero",
        "/etc/passwd",
        "../..",
        "~",
        "a\x00b",
        "*",
        "{7*7}",
        "os:system",
        "$(id)",
        "%s%n",
        "x" * 5000,
    ),
    *([], {}, [[]], [1], [0.1] * 10_000, ["a", 1], {"kind": "nothing"}, {"": 1}, {"a.b": 1}, {"kind": 5}),
)
KEYS = (
    "kind",
    "sigma",
    "seed",
    "file",
    "preset",
    "start",
    "base",
    "axes",
    "sweep",
    "skip",
    "always",
    "title",
)
WITHIN = (
    *KEYS,
    "labels",
    "evaluation",
    "training",
    "hardware",
    "device",
    "mapping",
    "array",
    "é",
    "",
    "a.b",
    "\x1b",
)


def deep(levels: int, *, tables: bool) -> Any:
    """A value within a value within a value."""
    value: Any = 1
    for _ in range(levels):
        value = {"a": value} if tables else [value]
    return value


def drawn(schema: dict[str, Any], chosen: random.Random, depth: int = 0) -> Any:
    """A value that a schema allows, or nearly: its bounds are left now and then, and so are its types."""
    schema = resolved(schema)
    if chosen.random() < 0.002:
        return chosen.choice(ODD)
    if "const" in schema:
        return schema["const"]
    if "enum" in schema:
        return chosen.choice(schema["enum"])
    options = [one for key in ("anyOf", "oneOf") for one in schema.get(key, ()) if one.get("type") != "null"]
    if options:
        return drawn(chosen.choice(options), chosen, depth + 1)
    kind = schema.get("type", "object")
    return _OF_TYPE.get(kind if isinstance(kind, str) else kind[0], _table)(schema, chosen, depth)


def resolved(schema: dict[str, Any]) -> dict[str, Any]:
    while "$ref" in schema:
        schema = SCHEMA["$defs"][schema["$ref"].rpartition("/")[2]]
    return schema


def _number(schema: dict[str, Any], chosen: random.Random, depth: int) -> Any:
    least = schema.get("minimum", schema.get("exclusiveMinimum", 0))
    most = schema.get("maximum", schema.get("exclusiveMaximum", least + 10))
    third = least + (most - least) / 3
    near = chosen.choice((least, most)) if chosen.random() < 0.1 else chosen.choice((least + 1, third, third))
    near = schema["default"] if schema.get("default") is not None and chosen.random() < 0.5 else near
    return int(near) if schema["type"] == "integer" else float(near)


def _text(schema: dict[str, Any], chosen: random.Random, depth: int) -> Any:
    return chosen.choice(("a", "digits", "1h", "±0.5", "relu", "conv1", str(schema.get("default") or "x")))


def _list(schema: dict[str, Any], chosen: random.Random, depth: int) -> Any:
    if "prefixItems" in schema:
        return [drawn(one, chosen, depth + 1) for one in schema["prefixItems"]]
    many = chosen.choice((0, 1, 2, 3)) if depth < DEEPEST else 0
    return [drawn(schema.get("items", {"type": "number"}), chosen, depth + 1) for _ in range(many)]


def _table(schema: dict[str, Any], chosen: random.Random, depth: int) -> Any:
    share = 0.25 if depth < DEEPEST else 0.0
    wanted = schema.get("required", ())
    names = [name for name in schema.get("properties", {}) if name in wanted or chosen.random() < share]
    return {name: drawn(schema["properties"][name], chosen, depth + 1) for name in names}


_OF_TYPE: dict[str, Callable[[dict[str, Any], random.Random, int], Any]] = {
    "integer": _number,
    "number": _number,
    "string": _text,
    "array": _list,
    "boolean": lambda schema, chosen, depth: chosen.random() < 0.5,
    "object": _table,
}


def places(value: Any) -> list[tuple[Any, Any]]:
    """Every table or list of a value with every key or index of it."""
    if isinstance(value, dict):
        inner: list[tuple[Any, Any]] = [(value, key) for key in value]
    elif isinstance(value, list):
        inner = [(value, index) for index in range(min(5, len(value)))]
    else:
        return []
    return inner + [place for where, key in inner for place in places(where[key])]


def spoil(table: dict[str, Any], chosen: random.Random) -> None:
    """Change a recipe in one place, of any depth."""
    where, key = chosen.choice(places(table) or [({"a": 1}, "a")])
    what, odd = chosen.random(), _copy(chosen.choice(ODD))
    if what < 0.03:
        odd = deep(chosen.choice((60, 300)), tables=chosen.random() < 0.5)
    if what < 0.6:
        where[key] = odd
    elif what < 0.7:
        where.pop(key, None) if isinstance(where, dict) else where.clear()
    elif what < 0.85 and isinstance(where, dict):
        where[chosen.choice(WITHIN)] = odd
    else:
        other, its = chosen.choice(places(table) or [({"a": 1}, "a")])
        where[key] = chosen.choice(([where[key]], {"kind": where[key]}, _copy(other[its])))


def spoilt_text(text: bytes, chosen: random.Random) -> bytes:
    """The bytes of a recipe, some of them changed, lost or doubled."""
    start = chosen.randrange(len(text))
    end = start + chosen.randrange(1, 30)
    odd = chosen.choice(
        (b"\0", b"\xff\xfe", b"\xef\xbb\xbf", b"\r", b"[[", b"]]", b"=", b'"""', b"{", b"#", b"\x1b[31m")
    )
    return chosen.choice(
        (text[:start], text[:start] + text[end:], text[:start] + odd + text[start:], text[start:end] + text)
    )


def _copy(value: Any) -> Any:
    return json.loads(json.dumps(value))


def by_chance(seed: int) -> tuple[bytes, bool]:
    """The text of recipe number `seed`, and whether it is a study's."""
    chosen = random.Random(seed)
    table = _copy(chosen.choice((BASE, BASE, *RECIPES)) if chosen.random() < 0.5 else BASE)
    if "base" not in table:
        for name in chosen.sample(SECTIONS, chosen.choice((0, 1, 1, 2, 3))):
            table[name] = drawn(SCHEMA["$defs"]["base"]["properties"][name], chosen)
    if chosen.random() < 0.3 and "base" not in table:
        table = {"name": "s", "base": table, "sweep": {"seed": [0, 1]}}
    for _ in range(chosen.choice((0, 0, 0, 1, 1, 2))):
        spoil(table, chosen)
    try:
        text = tomli_w.dumps(table).encode()
    except (TypeError, ValueError, RecursionError, AttributeError):
        text = tomli_w.dumps({"data": "digits"}).encode()
    return (spoilt_text(text, chosen) if chosen.random() < 0.1 else text), "base" in table


def setting(seed: int) -> str:
    """An `a.b=c` by chance: a key of a recipe, or nearly, and a value in TOML or any text."""
    chosen = random.Random(seed)
    table = _copy(BASE)
    for name in chosen.sample(SECTIONS, 2):
        table[name] = drawn(SCHEMA["$defs"]["base"]["properties"][name], chosen)
    path = list(_path(table, chosen))
    if chosen.random() < 0.3:
        path.insert(chosen.randrange(len(path) + 1), chosen.choice(WITHIN))
    odd = chosen.choice(ODD)
    text = str(odd) if chosen.random() < 0.5 else tomli_w.dumps({"a": odd})[4:].strip()
    return (
        ".".join(path).replace("\0", "") + chosen.choice(("=", "=", "=", "", "==")) + text.replace("\0", "")
    )


def _path(value: Any, chosen: random.Random) -> Iterator[str]:
    while isinstance(value, dict) and value:
        key = chosen.choice(sorted(value))
        yield key
        value = value[key]
