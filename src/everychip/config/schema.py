"""JSON schemas of values with components in them, for editors and other programs."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

Schema = dict[str, Any]
FAMILY = "x-everychip-family"
"""Stands for the choice among a family's kinds until `complete` writes it out."""


def complete(schema: Schema, families: Mapping[str, Any], *, counts: Callable[[type], bool]) -> Schema:
    """The schema with every family written out once, under `$defs`, as a choice among its kinds.

    Args:
        schema: with a mark where a component of a family is expected; it is changed.
        families: the families by name.
        counts: which classes of a family are listed.

    Returns:
        The same schema, in which a family is the bare name of a kind, a table with a `kind`, or the family's
        own shorthand.
    """
    definitions: Schema = schema.pop("$defs", {})
    waiting: list[Any] = [schema, *definitions.values()]
    while waiting:
        for node in list(_marked(waiting.pop())):
            name = node.pop(FAMILY)
            node["$ref"] = f"#/$defs/{name}"
            if name not in definitions:
                definitions[name] = {}  # a family may hold itself, as a sequence of devices does
                found = _family(families[name], counts)
                definitions |= found
                waiting += found.values()
    return {**schema, "$defs": dict(sorted(definitions.items()))} if definitions else schema


def meanings(kind: Any) -> dict[str, str]:
    """What each field of a class means, as its docstring, or that of the class that declares it, has it.

    A meaning begins with the name and a colon, `sigma: σ, …`, or several names share one, and ends where the
    next begins, or its paragraph ends.

    Args:
        kind: a class of fields, `Config` or below.

    Returns:
        Text by field, on one line; a field without one is left out.
    """
    found: dict[str, str] = {}
    fields = kind.model_fields
    for owner in reversed(kind.__mro__):
        text = inspect.cleandoc(owner.__doc__ or "").partition("\n>>>")[0]
        for paragraph in text.split("\n\n"):
            found |= _in_paragraph(" ".join(paragraph.split()), fields)
    found |= {name: field.description for name, field in fields.items() if field.description}
    return {name: found[name] for name in fields if name in found}


def describe(properties: Schema, kind: Any) -> None:
    """Add to the properties of a class's schema what they mean."""
    for name, meaning in meanings(kind).items():
        if name in properties:
            properties[name] = {**properties[name], "description": meaning}


_CLOSING = ("Cost", "Source", "Raises", "Args", "Returns")
"""What else begins with a word and a colon in a docstring."""


def _in_paragraph(text: str, fields: Iterable[str]) -> dict[str, str]:
    names = "|".join(map(re.escape, sorted(fields, key=len, reverse=True)))
    begin = re.compile(rf"(?:(?<=^)|(?<=[.:;)] ))((?:{names})(?:, (?:{names}))*|{'|'.join(_CLOSING)}): ")
    marks = list(begin.finditer(text)) if names else []
    if not marks:
        return {}
    ends = [mark.start() for mark in marks[1:]] + [len(text)]
    return {
        name: text[mark.end() : end].strip()
        for mark, end in zip(marks, ends, strict=True)
        for name in mark[1].split(", ")
        if name not in _CLOSING
    }


def _family(family: Any, counts: Callable[[type], bool]) -> Schema:
    """The definitions of a family, of its kinds, and of what these refer to."""
    kinds = {name: kind for name, kind in family.kinds().items() if counts(kind)}
    definitions: Schema = {}
    for name, kind in kinds.items():
        own = kind.marked_schema()
        definitions |= own.pop("$defs", {})
        definitions[f"{family.family}.{name}"] = {**own, "required": ["kind", *own.get("required", [])]}
    bare = [name for name in kinds if definitions[f"{family.family}.{name}"]["required"] == ["kind"]]
    tables = [{"$ref": f"#/$defs/{family.family}.{name}"} for name in kinds]
    choices = [*([{"enum": bare}] if bare else []), *family.shorthand(), *tables]
    description = (family.__doc__ or "").partition("\n")[0]
    return {**definitions, family.family: {"description": description, "anyOf": choices}}


def _marked(node: Any) -> Iterator[Schema]:
    """Every part of a schema that stands for a family."""
    if isinstance(node, Mapping):
        if FAMILY in node:
            yield node  # type: ignore[misc]
        for part in node.values():
            yield from _marked(part)
    elif isinstance(node, list):
        for part in node:
            yield from _marked(part)
