"""What every component promises: as TOML it is itself again."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from pkgutil import walk_packages

from pydantic import TypeAdapter, ValidationError

import everychip
from everychip.component import Component


def components(above: type[Component] = Component) -> Iterator[type[Component]]:
    for below in above.__subclasses__():
        yield below
        yield from components(below)


def accepts_none(annotation: object) -> bool:
    try:
        TypeAdapter(annotation).validate_python(None)
    except ValidationError:
        return False
    return True


def test_none_is_a_value_only_where_it_is_the_default() -> None:
    """TOML has no null: an absent key is read as the default."""
    for module in walk_packages(everychip.__path__, "everychip."):
        import_module(module.name)
    lost = [
        f"{component.__name__}.{name}"
        for component in components()
        if component.__module__.startswith("everychip.")
        for name, field in component.model_fields.items()
        if not field.is_required()
        and field.get_default(call_default_factory=True) is not None
        and accepts_none(field.annotation)
    ]
    assert lost == []
