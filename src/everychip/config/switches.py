"""Switches of recipes that joined after results were committed."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator


def _or_absent(asked: Any) -> Any:
    return None if asked is False else asked


OnRequest = Annotated[bool | None, BeforeValidator(_or_absent)]
"""True where it is asked for; off is absent, has no key in a table, and so is no part of a run's identity."""
