"""What the methods of a report are: the class behind a label, and the order of kinds in a table."""

from __future__ import annotations

import re

from everychip.methods import Method

ROLES = ("baseline", "control", "method")
"""The order of roles in a table."""


def kind_of(label: str) -> str:
    """The kind of method behind a label.

    >>> kind_of("irs(beta=0.1)"), kind_of("irs, per chip")
    ('irs', 'irs')
    """
    named = re.match(r"\s*(\w+)", label)
    return named[1] if named else label


def method_of(label: str) -> type[Method]:
    """The class of the method behind a label; `Method` itself where the kind is of no installed package.

    >>> method_of("irs(beta=0.1)").role
    'method'
    """
    return Method.of_kind(kind_of(label))


def place_of(label: str) -> tuple[int, int, str]:
    """Where a method stands among others: baselines, controls, methods; each after what it is compared with.

    >>> sorted(["irs", "temperature", "noise_injection", "vanilla"], key=place_of)
    ['vanilla', 'noise_injection', 'temperature', 'irs']
    """
    one = method_of(label)
    return ROLES.index(one.role), _depth(one), kind_of(label)


def _depth(one: type[Method], above: tuple[type[Method], ...] = ()) -> int:
    """How many comparisons lead from a method down to one without a control."""
    below = [Method.of_kind(kind) for kind in one.controls]
    depths = [_depth(two, (*above, one)) for two in below if two is not Method and two not in above]
    return 1 + max(depths, default=-1)
