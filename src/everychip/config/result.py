"""Results are frozen values with one schema each: written, read back and described by the same class."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import takewhile
from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from everychip.errors import StoreError


class Result(BaseModel):
    """A frozen record: keys that it does not know, as other versions write them, are left out.

    >>> class Score(Result):
    ...     accuracy: float
    >>> Score(accuracy=0.9).facts(), list(Score.model_json_schema()["properties"])
    ({'accuracy': 0.9}, ['accuracy'])
    """

    model_config = ConfigDict(frozen=True, extra="ignore", populate_by_name=True, defer_build=True)

    def facts(self) -> dict[str, Any]:
        """All of it as plain values, for JSON; `read` takes them back."""
        return self.model_dump(mode="json", by_alias=True)

    @classmethod
    def read(cls, data: Mapping[str, Any], *, path: Path, remedy: str | None = None) -> Self:
        """The record that a file holds.

        Args:
            data: the parsed file.
            path: its name, for errors.
            remedy: what an error says to do.

        Returns:
            The value.

        Raises:
            StoreError: where a key is missing or of another type.
        """
        try:
            return cls.model_validate(data)
        except ValidationError as error:
            place = error.errors(include_url=False)[0]["loc"]
            names = takewhile(lambda part: isinstance(part, int) or part.isidentifier(), place)
            raise StoreError(
                str(path),
                found=f"no {'.'.join(map(str, names))} as its format has it",
                expected="the file as it was written",
                remedy=remedy,
            ) from None


def schema_of(kind: type) -> dict[str, Any]:
    """The JSON schema of a result, whether it is a `Result` or a frozen dataclass of pydantic.

    >>> from everychip.statistics.intervals import Interval
    >>> list(schema_of(Interval)["properties"])
    ['estimate', 'low', 'high', 'over', 'level', 'refusal', 'score']
    """
    return TypeAdapter(kind).json_schema(mode="serialization")


def plain(value: object) -> Any:
    """A result as plain values, for JSON."""
    return TypeAdapter(type(value)).dump_python(value, mode="json", by_alias=True)
