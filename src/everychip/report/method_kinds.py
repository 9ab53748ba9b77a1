"""What the methods of a report are: the class behind a label, and the order of kinds in a table."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from everychip.methods import Method

ROLES = ("baseline", "control", "method")
"""The order of roles in a table."""


def kind_of(label: str) -> str:
    """The kind of method that a label names itself, for draws whose recipe does not say it.

    >>> kind_of("irs(beta=0.1)"), kind_of("irs, per chip")
    ('irs', 'irs')
    """
    named = re.match(r"\s*(\w+)", label)
    return named[1] if named else label


def kinds_of(recipe: Mapping[str, Any]) -> dict[str, str]:
    """The kind of method behind each label of the axis `method`, as a study's recipe says it.

    >>> axes = {"method": {"ours": {}, "plain": {"method": "vanilla"}}}
    >>> kinds_of({"base": {"method": {"kind": "irs"}}, "axes": axes})
    {'ours': 'irs', 'plain': 'vanilla'}
    """
    base = _kind_in(recipe.get("base"))
    axes = recipe.get("axes")
    axis = axes.get("method") if isinstance(axes, Mapping) else None
    if not isinstance(axis, Mapping):
        return {}
    kinds = {label: _kind_in(change) or base for label, change in axis.items()}
    return {label: kind for label, kind in kinds.items() if kind is not None}


def _kind_in(table: Any) -> str | None:
    """The kind that a part of a recipe gives its method, if it gives one."""
    method = table.get("method") if isinstance(table, Mapping) else None
    kind = method.get("kind") if isinstance(method, Mapping) else method
    return kind if isinstance(kind, str) else None


def method_of(kind: str) -> type[Method]:
    """The class of a kind of method; `Method` itself where the kind is of no installed package.

    >>> method_of("irs").role
    'method'
    """
    return Method.of_kind(kind)


def place_of(kind: str) -> tuple[int, int, str]:
    """Where a method stands among others: baselines, controls, methods; each after what it is compared with.

    >>> sorted(["irs", "temperature", "noise_injection", "vanilla"], key=place_of)
    ['vanilla', 'noise_injection', 'temperature', 'irs']
    """
    one = method_of(kind)
    return ROLES.index(one.role), _depth(one), kind


def _depth(one: type[Method], above: tuple[type[Method], ...] = ()) -> int:
    """How many comparisons lead from a method down to one without a control."""
    below = [Method.of_kind(kind) for kind in one.controls]
    depths = [_depth(two, (*above, one)) for two in below if two is not Method and two not in above]
    return 1 + max(depths, default=-1)
