"""Where else in a recipe a key stands that does not stand here, so that a refusal can point to it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, get_args

from pydantic import BaseModel

DEEPEST = 2
"""`hardware.device.sigma` is two tables below a recipe."""


def places_of(key: str, model: type[BaseModel], *, depth: int = DEEPEST) -> tuple[str, ...]:
    """The dotted places of a field of this name in the tables below a model's own, where they are nearest.

    Args:
        key: the name of a field.
        model: whose fields are searched.
        depth: how many tables deep.

    Returns:
        The places, all as many tables deep as the shallowest.

    >>> from everychip.study.experiment import Experiment
    >>> places_of("epochs", Experiment)
    ('training.epochs',)
    """
    places = sorted(set(_below(key, model, depth)))
    nearest = min((place.count(".") for place in places), default=0)
    return tuple(place for place in places if place.count(".") == nearest)


def _below(key: str, model: type[BaseModel], depth: int) -> Iterator[str]:
    for name, field in model.model_fields.items() if depth else ():
        for table in _tables(field.annotation):
            if key in table.model_fields:
                yield f"{name}.{key}"
            yield from (f"{name}.{place}" for place in _below(key, table, depth - 1))


def _tables(annotation: Any) -> Iterator[type[BaseModel]]:
    """The tables that a field holds; of a family of components, those of all its kinds."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
        if "registry" in vars(annotation):
            yield from annotation.kinds().values()  # type: ignore[attr-defined]
    for part in get_args(annotation):
        yield from _tables(part)
