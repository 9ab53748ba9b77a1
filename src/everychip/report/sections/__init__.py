"""The sections of a report, one file each: a file put here is in the report.

A module of this package has `section(results, *, target) -> Section | None`; its `order` is its place.
"""

from __future__ import annotations

from importlib import import_module
from pkgutil import iter_modules

from everychip.report.blocks import Figure, Section
from everychip.report.results import Results


def build(results: Results, *, target: float | None = None) -> tuple[Section, ...]:
    """Every section that has something to say about these results, in order."""
    modules = [import_module(f"{__name__}.{found.name}") for found in iter_modules(__path__)]
    sections = [module.section(results, target=target) for module in modules]
    return tuple(sorted((s for s in sections if s is not None), key=lambda s: s.order))


def figures(results: Results) -> tuple[Figure, ...]:
    """Every figure of the report."""
    blocks = (block for section in build(results) for block in section.blocks)
    return tuple(block for block in blocks if isinstance(block, Figure))
