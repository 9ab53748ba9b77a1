"""Any user's model, made by a function that is named in the recipe."""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from pydantic import Field
from torch import nn

from everychip.errors import ModelError, known_names
from everychip.models.base import Model
from everychip.models.sources import code_of, file_of


class Factory(Model):
    """The module that `call`, as in "package.module:function", returns for `arguments`.

    The module may also lie in the working directory or, if it is not there, in the folder of the recipe. A
    recipe with a factory runs that code: read it first.

    >>> Factory(call="torch.nn:Linear", arguments={"in_features": 4, "out_features": 2}).build((4,), 2)
    Linear(in_features=4, out_features=2, bias=True)
    """

    call: str = Field(
        pattern=r"^[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*$",
        description="The function that builds the network, module:function.",
    )
    arguments: dict[str, Any] = Field(default_factory=dict, description="What it is called with, by name.")

    folder: str | None = Field(
        default=None, description="Where the module lies; set for one that lies beside its recipe."
    )

    @property
    def label(self) -> str:
        """The function's name."""
        return self.call.partition(":")[2]

    def content(self) -> str:
        """SHA-256 of the module that is called and of what it imports beside itself."""
        return code_of([self.call.partition(":")[0]], folder=self.folder)

    def network(self, input_shape: tuple[int, ...], classes: int) -> nn.Module:
        """What the function returns; the input's shape and the classes are the user's own affair."""
        del input_shape, classes
        with _importable_from(*([self.folder] if self.folder else []), Path.cwd()):
            model = self._made_by(self._function())
        if not isinstance(model, nn.Module):
            raise ModelError(
                self.call, found=f"a {type(model).__name__} returned", expected="a torch.nn.Module"
            )
        return model

    def _function(self) -> Callable[..., Any]:
        module_name, _, name = self.call.partition(":")
        try:
            module = importlib.import_module(module_name)
        except ModuleNotFoundError as error:
            raise ModelError(
                self.call,
                found=f"no module {error.name!r}",
                expected="a module that is installed, or lies in the working directory or beside the recipe",
            ) from error
        except Exception as error:  # a user's module may raise anything
            raise ModelError(self.call, found=f"a module that cannot be imported ({_said(error)})") from error
        self._refuse_namesake(module)
        function = getattr(module, name, None)
        if not callable(function):
            known = [
                key for key, value in vars(module).items() if callable(value) and not key.startswith("_")
            ]
            raise ModelError(
                self.call,
                found=f"no function {name!r} in {module_name}",
                remedy=known_names(name, known[:20]),
            )
        made: Callable[..., Any] = function
        return made

    def _refuse_namesake(self, module: ModuleType) -> None:
        """Refuse a module of the same name that was imported from elsewhere before."""
        wanted = None if self.folder is None else file_of(self.call.partition(":")[0], self.folder)
        found = getattr(module, "__file__", None)
        if wanted is None or found is None or Path(found).resolve() == wanted.resolve():
            return
        raise ModelError(
            self.call,
            found=f"the module {found}, imported before",
            expected=f"{wanted}",
            remedy="give one of the two modules another name",
        )

    def _made_by(self, function: Callable[..., Any]) -> Any:
        try:
            inspect.signature(function).bind(**self.arguments)
        except TypeError as error:
            raise ModelError(f"{self.call}.arguments", found=f"that they do not fit ({error})") from None
        except ValueError:
            pass  # a function of C code may have no signature
        try:
            return function(**self.arguments)
        except Exception as error:  # a user's function may raise anything
            raise ModelError(self.call, found=f"an error when called ({_said(error)})") from error


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


@contextmanager
def _importable_from(*places: str | Path) -> Iterator[None]:
    """An installed command, unlike `python -m`, does not search the working directory for modules."""
    folders = [str(Path(place).absolute()) for place in places]
    sys.path[:0] = folders
    importlib.invalidate_caches()
    try:
        yield
    finally:
        for folder in folders:
            sys.path.remove(folder)
