"""Columns of numbers in results: tensors and arrays, which JSON holds as lists."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from pydantic import ConfigDict, GetCoreSchemaHandler, GetJsonSchemaHandler, ValidationError, WrapSerializer
from pydantic_core import CoreSchema, core_schema

from everychip.errors import EverychipError

VALUES = ConfigDict(arbitrary_types_allowed=True, defer_build=True)
"""How results that are dataclasses are validated."""


READ_ONLY = WrapSerializer(lambda value, write: write(dict(value)))
"""Marks a mapping that may be a read-only view of a dict."""


class AsList:
    """Marks a field of a result that is a tensor or an array, and a list in JSON.

    >>> from typing import Annotated
    >>> from pydantic import TypeAdapter
    >>> column = TypeAdapter(Annotated[torch.Tensor, TENSOR])
    >>> column.validate_python([0.5, 1.0]), column.dump_python(torch.ones(2), mode="json")
    (tensor([0.5000, 1.0000], dtype=torch.float64), [1.0, 1.0])
    """

    def __init__(self, made: Callable[[Any], Any]) -> None:
        self.made = made

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        listed = core_schema.plain_serializer_function_ser_schema(
            lambda value: value.tolist(), when_used="json"
        )
        return core_schema.no_info_plain_validator_function(self.made, serialization=listed)

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        return {"type": "array", "items": {}}


def _tensor(value: Any) -> torch.Tensor:
    """A tensor as it is; numbers of JSON in full precision."""
    return value if isinstance(value, torch.Tensor) else torch.from_numpy(np.asarray(value))


class InOwnWords(type):
    """The type of result dataclasses that refuse values in this package's one line, not in pydantic's."""

    def __call__(cls, *args: Any, **named: Any) -> Any:
        try:
            return super().__call__(*args, **named)
        except ValidationError as error:
            own = error.errors(include_url=False)[0].get("ctx", {}).get("error")
            raise (own if isinstance(own, EverychipError) else error) from None


TENSOR = AsList(_tensor)
ARRAY = AsList(np.asarray)
