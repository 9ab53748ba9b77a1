"""Where else in a recipe a key stands that does not stand here, so that a refusal can point to it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, get_args

from pydantic import BaseModel

DEEPEST = 2
"""`hardware.device.sigma` is two tables below a recipe."""


def places_of(key: str, model: type[BaseModel], *, depth: int = DEEPEST) -> tuple[str, ...]:
    """The dotted places of a field of this name in the tables below a model's own.

    Args:
        key: the name of a field.
        model: whose fields are searched.
        depth: how many tables deep.

    Returns:
        The places, the shallowest first.

    >>> from everychip.study.experiment import Experiment
    >>> places_of("epochs", Experiment)
    ('training.epochs',)
    """
    return tuple(sorted(set(_below(key, model, depth)), key=lambda place: (place.count("."), place)))


def _below(key: str, model: type[BaseModel], depth: int) -> Iterator[str]:
    for name, field in model.model_fields.items() if depth else ():
        for table in _tables(field.annotation):
            if key in table.model_fields:
                yield f"{name}.{key}"
            yield from (f"{name}.{place}" for place in _below(key, table, depth - 1))


def _tables(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from _tables(part)
