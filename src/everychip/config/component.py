"""The config is the component: frozen values with behaviour, written in TOML as tables with a kind."""

from __future__ import annotations

import inspect
import re
import tomllib
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    ModelWrapValidatorHandler,
    ValidationError,
    model_validator,
)
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from everychip.config.registering import broken_plugins, former_names, import_all, import_plugins
from everychip.config.schema import FAMILY, Schema, complete, describe
from everychip.config.toml import parse_toml
from everychip.config.validation import (
    Kind,
    Mistake,
    errors_of,
    every_mistake,
    take_as_written,
    with_known_keys,
)
from everychip.config.validation import refusal as refusal  # noqa: PLC0414 (validators take it from here)
from everychip.errors import ConfigError, known_names, shown

_NAMING = {"kind"}
"""Keys that say which component a table is; what stood beside another one of them has no meaning any more.

Each class adds those of its own shorthand: `Config.naming`."""


if TYPE_CHECKING:
    from pydantic._internal._model_construction import ModelMetaclass
else:
    ModelMetaclass = type(BaseModel)


class _OneLineErrors(ModelMetaclass):
    """Turns pydantic's report into the project's one line when a value is built in Python."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if args:
            raise _unnamed(self, args[0])
        try:
            return super().__call__(*args, **kwargs)
        except ValidationError as error:
            raise errors_of(every_mistake(error), self.__name__) from None


def _unnamed(kind: Any, value: Any) -> ConfigError:
    """The line about a value without the name of its field."""
    fields = kind.model_fields
    named = next((name for name, field in fields.items() if field.is_required()), next(iter(fields), None))
    example = f"{kind.__name__}({named}=…)" if named else f"{kind.__name__}()"
    return ConfigError(
        kind.__name__, found=f"{shown(value)} without a name", expected=f"named fields: {example}"
    )


class Config(BaseModel, metaclass=_OneLineErrors):
    """A frozen value; unknown keys, NaN, infinities and values of another type are refused.

    A whole number will do for a float and a list for a tuple, but no text for a number, nor 1 for true.

    >>> class Oven(Config):
    ...     celsius: float = 180.0
    >>> Oven(celcius=200)
    Traceback (most recent call last):
    everychip.errors.ConfigError: Oven.celcius: found an unknown key; did you mean celsius? known: celsius
    """

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        allow_inf_nan=False,
        validate_default=True,
        protected_namespaces=(),
        defer_build=True,  # of a hundred kinds a process uses ten
    )

    naming: ClassVar[tuple[str, ...]] = ()
    """Keys of the table's shorthand that name another value: a change of one drops the keys beside it."""

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        super().__pydantic_init_subclass__(**kwargs)
        _NAMING.update(cls.naming)

    @model_validator(mode="wrap")
    @classmethod
    def _name_the_known_keys(cls, data: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        try:
            return handler(cls._renamed(data))
        except ValidationError as error:
            raise with_known_keys(error, cls) from None

    @classmethod
    def _renamed(cls, data: Any) -> Any:
        """The table with the names that its fields have now; one that stands under both names keeps both."""
        former = {old: new for new, old in former_names(cls).items()}
        if not former or not isinstance(data, Mapping):
            return data
        return {
            new if (new := former.get(key, key)) not in data else key: value for key, value in data.items()
        }

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        schema = handler(source)
        take_as_written(handler.resolve_ref_schema(schema))
        return schema

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> Schema:
        """Each field with its meaning, for editors."""
        found = handler(schema)
        describe(handler.resolve_ref_schema(found).get("properties", {}), cls)
        return found

    @classmethod
    def read(cls, data: Mapping[str, Any], *, where: str) -> Self:
        """Build the value from parsed TOML; errors name `where` and the path inside it."""
        try:
            return cls.model_validate(data)
        except ValidationError as error:
            raise errors_of(every_mistake(error), where) from None

    @classmethod
    def model_json_schema(cls, *args: Any, **kwargs: Any) -> Schema:
        """The JSON schema of the value's table, with every kind of the components in it.

        Args:
            args, kwargs: as pydantic's `BaseModel.model_json_schema` has them.

        Returns:
            The schema, third parties' kinds included.
        """
        return complete(cls.marked_schema(*args, **kwargs), Component.families, counts=lambda _: True)

    @classmethod
    def marked_schema(cls, *args: Any, **kwargs: Any) -> Schema:
        """The JSON schema, with a mark in place of each family of components (`schema.complete`)."""
        return super().model_json_schema(*args, **kwargs)

    def table(self) -> dict[str, Any]:
        """The value as a TOML table; what is absent (`None`) has no key."""
        return self.model_dump(mode="json", exclude_none=True)

    def replace(self, **changes: Any) -> Self:
        """The same value with some fields changed, validated again."""
        fields = {name: getattr(self, name) for name in type(self).model_fields}
        return type(self)(**{**fields, **changes})


class Component(Config):
    """A value of some kind within a family. Subclassing a family registers the kind.

    A family is declared with `class Device(Component, family="device")`; a subclass gets the snake-case
    form of its name as its kind, or the one it asks for with `kind=`. Third parties register modules
    under the entry-point group `everychip`.

    >>> class Pet(Component, family="pet"): ...
    >>> class Cat(Pet):
    ...     lives: int = 9
    >>> Pet.parse({"kind": "cat", "lives": 7})
    Cat(lives=7)
    >>> Cat().table()
    {'kind': 'cat', 'lives': 9}
    """

    kind: ClassVar[str] = ""
    family: ClassVar[str] = ""
    registry: ClassVar[dict[str, type[Component]]] = {}
    families: ClassVar[dict[str, type[Component]]] = {}

    example: ClassVar[str] = ""
    """A table of the family that lines about a mistake show; empty, they show none."""

    @classmethod
    def __pydantic_init_subclass__(
        cls, *, family: str | None = None, kind: str | None = None, **kwargs: Any
    ) -> None:
        super().__pydantic_init_subclass__(**kwargs)
        if family is not None:
            cls.family, cls.registry, cls.kind = family, {}, ""
            Component.families[family] = cls
            return
        cls.kind = kind or re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", cls.__name__).lower()
        if not inspect.isabstract(cls):
            _refuse_second(cls, cls.registry.get(cls.kind))
            cls.registry[cls.kind] = cls

    def __init_subclass__(cls, *, family: str | None = None, kind: str | None = None, **kwargs: Any) -> None:
        cls._is_family = family is not None
        super().__init_subclass__(**kwargs)

    _is_family: ClassVar[bool] = True

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        if not cls.__dict__.get("_is_family", False):
            return super().__get_pydantic_core_schema__(source, handler)
        return core_schema.no_info_plain_validator_function(
            cls._from_any,
            serialization=core_schema.plain_serializer_function_ser_schema(lambda value: value.table()),
        )

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> Schema:
        if cls.__dict__.get("_is_family", False):
            return {FAMILY: cls.family}
        found = super().__get_pydantic_json_schema__(schema, handler)
        inner = handler.resolve_ref_schema(found)
        inner["properties"] = {"kind": {"const": cls.kind}, **inner.get("properties", {})}
        return found

    @classmethod
    def shorthand(cls) -> list[Schema]:
        """JSON schemas of what `expand` takes beside a kind and a table with one."""
        return []

    @classmethod
    def kinds(cls) -> dict[str, type[Component]]:
        """The registered kinds of this family, third parties' included; `broken_plugins` names the others."""
        import_all(Component.families[cls.family].__module__)
        import_plugins()
        return dict(sorted(cls.registry.items()))

    @classmethod
    def of_kind(cls, kind: str) -> type[Self]:
        """The class of a kind; the family itself where no package that is installed has it.

        Args:
            kind: a name, of this version or any other.
        """
        known = cls.registry if kind in cls.registry else cls.kinds()
        return known.get(kind, Component.families[cls.family])  # type: ignore[return-value]

    @classmethod
    def expand(cls, data: dict[str, Any]) -> dict[str, Any]:
        """A family's own shorthand (such as `preset = "RRAM1"`), written out in full."""
        return data

    @classmethod
    def parse(cls, value: Any, *, where: str | None = None) -> Self:
        """Build a component of this family from a table, a bare kind name or a component."""
        try:
            return cls._from_any(value)
        except ValidationError as error:
            raise errors_of(every_mistake(error), where or cls.family) from None
        except PydanticCustomError as error:
            context = error.context or {}
            mistake = Mistake(context["path"], context["found"], context["remedy"], Kind(context["kind"]))
            raise mistake.error(where or cls.family) from None

    @classmethod
    def _from_any(cls, value: Any) -> Self:
        if isinstance(value, cls):
            return value
        if isinstance(value, str):
            value = {"kind": value}
        if isinstance(value, type) and issubclass(value, cls):
            raise refusal((), f"the class {value.__name__}", f"a value of it: {value.__name__}(…)")
        if not isinstance(value, Mapping):
            raise refusal((), shown(value), f"a {cls.family}: {_such_as(cls)}; {_known(cls)}")
        data = cls.expand(dict(value))
        kind = data.pop("kind", None)
        if kind is None:
            raise refusal((), f"no kind of {cls.family}", f"{_such_as(cls)}; {_known(cls)}")
        if not isinstance(kind, str):
            raise refusal(("kind",), shown(kind), "text, the name of a kind")
        known = cls.registry if kind in cls.registry else cls.kinds()
        if kind not in known:
            found = f"unknown {cls.family} {shown(kind)}"
            raise refusal(("kind",), found, _known(cls, kind), kind=Kind.UNKNOWN)
        return known[kind].model_validate(data)  # type: ignore[return-value]

    def table(self) -> dict[str, Any]:
        """The component as a TOML table, its kind first."""
        return {"kind": self.kind, **super().table()}


def _known(family: type[Component], name: str = "") -> str:
    known = known_names(name, family.kinds())
    broken = [f"the plug-in {name} cannot be imported ({why})" for name, why in broken_plugins.items()]
    return "; ".join([known, *broken])


def _such_as(family: type[Component]) -> str:
    return "a table with a kind" + (f", such as {family.example}" if family.example else "")


def _refuse_second(new: type[Component], old: type[Component] | None) -> None:
    """Refuse another class of the same kind; the same one again is a cell or a module that is run again."""
    if old is None or (new.__module__, new.__qualname__) == (old.__module__, old.__qualname__):
        return
    raise ConfigError(
        f"{new.__module__}.{new.__qualname__}",
        found=f"a second {new.family} of the kind {new.kind!r}",
        expected=f"a kind other than that of {old.__module__}.{old.__qualname__}",
        remedy=f'class {new.__name__}(…, kind="another_name")',
    )


def merge(base: Mapping[str, Any], change: Mapping[str, Any]) -> dict[str, Any]:
    """`base` with `change` laid over it, table by table; a new kind replaces the old one's keys.

    >>> merge({"a": {"b": 1, "c": 2}}, {"a": {"b": 3}})
    {'a': {'b': 3, 'c': 2}}
    >>> merge({"m": {"kind": "irs", "beta": 1}}, {"m": {"kind": "vanilla"}})
    {'m': {'kind': 'vanilla'}}
    """
    result = dict(base)
    for key, value in change.items():
        old = result.get(key)
        if not (isinstance(value, Mapping) and isinstance(old, Mapping)):
            result[key] = value
        elif any(name in value and value[name] != old.get(name) for name in _NAMING):
            result[key] = dict(value)
        else:
            result[key] = merge(old, value)
    return result


_BARE_POINT = re.compile(r"\s*[+-]?(\d+\.|\.\d+)([eE][+-]?\d+)?\s*", re.ASCII)
"""Numbers such as .5 and 1., which TOML does not know."""


def override(data: Mapping[str, Any], settings: Iterable[str]) -> dict[str, Any]:
    """Lay `a.b=c` settings over a table; the right side is a TOML value, a number such as .5, or else text.

    >>> override({"device": {"kind": "gaussian", "sigma": 0.1}}, ["device.sigma=0.3", "seed=1"])
    {'device': {'kind': 'gaussian', 'sigma': 0.3}, 'seed': 1}
    """
    result = dict(data)
    for setting in settings:
        key, sign, text = setting.partition("=")
        if not sign or not all(key.split(".")) or any("\ud800" <= letter <= "\udfff" for letter in setting):
            raise ConfigError("--set", found=repr(setting), expected="key=value, as in method.beta=0.1")
        value = _value_of(text)
        for part in reversed(key.split(".")):
            value = {part: value}
        result = merge(result, value)
    return result


def _value_of(text: str) -> Any:
    """The TOML value that is all of a text, or the text itself."""
    if _BARE_POINT.fullmatch(text):
        return float(text)
    try:
        table = parse_toml(f"value = {text}")
    except tomllib.TOMLDecodeError:
        return text
    except ValueError as error:
        raise ConfigError("--set", found=str(error), expected="a value that a recipe can hold") from None
    return table["value"] if table.keys() == {"value"} else text  # a line break may begin another key
