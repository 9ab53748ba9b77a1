"""The JSON schema of recipe files, of one run or of a study, for editors."""

from __future__ import annotations

import json
from copy import deepcopy
from typing import Any

from everychip.config.component import Component
from everychip.config.schema import complete
from everychip.study.experiment import Experiment
from everychip.study.grid import Study

FILE = "recipe.schema.json"
"""Its name beside the shipped recipes."""
DIALECT = "https://json-schema.org/draft/2020-12/schema"


def recipe_schema(*, plugins: bool = True) -> dict[str, Any]:
    """The schema of a recipe's file: that of a study where there is a `base`, else that of one run.

    Args:
        plugins: whether the kinds of third parties are in it, too.

    Returns:
        A JSON schema (2020-12).

    >>> recipe_schema()["if"]
    {'required': ['base']}
    """
    run, study = Experiment.marked_schema(), Study.marked_schema()
    definitions = {**run.pop("$defs", {}), **study.pop("$defs", {})}
    base = {key: value for key, value in deepcopy(run).items() if key != "required"}  # axes may give the rest
    study["properties"]["base"] = {"$ref": "#/$defs/base"}
    study["required"] = ["base"]  # the name is that of the file, where it has none of its own
    study["properties"]["sweep"] = {"type": "object", "description": "Keys of recipes, with lists of values."}
    parts = {"$defs": {**definitions, "base": base}, "if": {"required": ["base"]}, "then": study, "else": run}
    head = {"$schema": DIALECT, "title": "A recipe of everychip", "type": "object"}
    return complete(
        {**head, **parts},
        Component.families,
        counts=lambda kind: plugins or kind.__module__.startswith("everychip."),
    )


def as_text(schema: dict[str, Any]) -> str:
    """The schema as it stands in its file."""
    return json.dumps(schema, indent=1, ensure_ascii=False) + "\n"
