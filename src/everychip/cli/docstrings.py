"""What a component says of itself: the docstring is the only place where it is written."""

from __future__ import annotations

import inspect
import re
from dataclasses import dataclass
from typing import Any

from everychip.config.component import Component


@dataclass(frozen=True)
class About:
    """A component's docstring, taken apart, and its fields with their defaults."""

    kind: str
    summary: str
    text: str
    source: str
    fields: dict[str, str]


def about(component: type[Component]) -> About:
    """Take a component's docstring apart.

    >>> from everychip.devices import Gaussian
    >>> about(Gaussian).summary
    "Additive Gaussian programming noise: g' = g + σ·N(0, 1)."
    """
    text = inspect.getdoc(component) or ""
    text = text.partition("\n>>>")[0].strip()
    source = re.search(r"Source: (.*?)(?:\n\n|\Z)", text, re.DOTALL)
    fields = {name: _default(field) for name, field in component.model_fields.items()}
    return About(component.kind, _sentence(text), text, _line(source[1]) if source else "", fields)


def flowing(text: str) -> str:
    """The paragraphs without their line breaks, for a terminal of any width.

    >>> flowing("One\\nline.\\n\\nAnother.")
    'One line.\\n\\nAnother.'
    """
    return "\n\n".join(map(_line, text.split("\n\n")))


def _sentence(text: str) -> str:
    first = _line(text.partition("\n\n")[0])
    return re.split(r"(?<=[.])\s+(?=[A-Z])", first)[0]


def _line(text: str) -> str:
    return " ".join(text.split())


def _default(field: Any) -> str:
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True)
    return "absent" if value is None else str(as_toml(value))


def as_toml(value: Any) -> Any:
    """A value as a recipe has it, on one line.

    >>> as_toml((True, "a"))
    '[true, "a"]'
    """
    if isinstance(value, Component):
        return ", ".join(f"{key} = {as_toml(item)}" for key, item in value.table().items()).join("{}")
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return f'"{value}"'
    if isinstance(value, tuple | list):
        return f"[{', '.join(str(as_toml(item)) for item in value)}]"
    return value
