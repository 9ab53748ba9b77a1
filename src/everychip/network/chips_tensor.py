"""One tensor of several chips, which to a network looks like that of one chip."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Self, TypeVar

import torch
from torch import Tensor

_Own = TypeVar("_Own", bound=Callable[..., Any])
_KNOWN: dict[Any, Callable[..., Any]] = {}
"""What carries out a function of PyTorch on chips side by side, filled by `acts_on`."""


class UnknownFunctionError(Exception):
    """A function, or a use of one, that is not known to act on chips side by side, by its name."""


def acts_on(*functions: Any) -> Callable[[_Own], _Own]:
    """A decorator for what carries out these functions of PyTorch where one of their arguments is `Chips`.

    Args:
        functions: as `__torch_function__` names them. What is decorated takes the function and its arguments.

    Returns:
        The decorator, which leaves the function as it is.
    """

    def kept(own: _Own) -> _Own:
        _KNOWN.update(dict.fromkeys(functions, own))
        return own

    return kept


class Chips(Tensor):
    """One tensor of every chip, in one tensor; to a network it looks like that of one chip.

    number: of chips. among_channels: whether it is [images, chips · channels, height, width], the channels
    of a chip next to each other, and not [chips, …].

    >>> weights = Chips.of(torch.ones(3, 5, 1, 2, 2), number=3)
    >>> weights, weights.held.shape
    (Chips(3 of [5, 1, 2, 2]), torch.Size([3, 5, 1, 2, 2]))
    """

    number: int
    among_channels: bool

    @classmethod
    def of(cls, held: Tensor, *, number: int, among_channels: bool = False) -> Self:
        """The tensor of all chips as this; see above."""
        one = held.as_subclass(cls)
        one.number, one.among_channels = number, among_channels
        return one

    @classmethod
    def __torch_function__(
        cls, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        known = _KNOWN.get(func)
        if known is None:
            of = getattr(func, "__self__", None)  # the attribute that is read or set
            raise UnknownFunctionError(f"{getattr(of, '__name__', '')} {func.__name__}".strip())
        return known(func, *args, **(kwargs or {}))

    @property
    def held(self) -> Tensor:
        """All of it as a plain tensor."""
        with torch._C.DisableTorchFunctionSubclass():
            return self.as_subclass(Tensor)

    @property
    def one_shape(self) -> torch.Size:
        """The shape of one chip's."""
        shape = self.held.shape
        if not self.among_channels:
            return shape[1:]
        return torch.Size((shape[0], shape[1] // self.number, *shape[2:]))

    def chips_first(self) -> Tensor:
        """[chips, …] as a plain tensor."""
        held = self.held
        if not self.among_channels:
            return held
        images, channels, *sides = held.shape
        return held.view(images, self.number, channels // self.number, *sides).movedim(1, 0)

    def like(self, held: Tensor) -> Self:
        """Other numbers of the same chips, laid out in the same way."""
        return type(self).of(held, number=self.number, among_channels=self.among_channels)


def _asked(name: str) -> Any:
    """The function that PyTorch names where an attribute of a tensor is read."""
    return getattr(Tensor, name).__get__


_ATTRIBUTES = ("device", "dtype", "is_cuda", "is_nested", "is_sparse", "layout", "requires_grad")


@acts_on(*map(_asked, _ATTRIBUTES))
def _of_all(func: Any, x: Any) -> Any:
    """An attribute that one chip has as all together."""
    return func(x.held)


@acts_on(_asked("shape"), Tensor.size)
def _shape(_: Any, x: Any, dim: int | None = None) -> Any:
    return x.one_shape if dim is None else x.one_shape[dim]


@acts_on(_asked("ndim"), Tensor.dim)
def _axes(_: Any, x: Any) -> int:
    return len(x.one_shape)


@acts_on(Tensor.__repr__)
def _written(_: Any, x: Any, **_how: Any) -> str:
    return f"Chips({x.number} of {list(x.one_shape)})"
