"""Chips that a backward draws again: between the two passes their weights take no memory."""

from __future__ import annotations

import weakref
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from everychip.errors import ModelError
from everychip.hardware.placement import Placed


class Redrawn:
    """The chips of a step, of which autograd keeps where they are drawn and not what was drawn.

    A product keeps its weight for the gradient of its input, and so a whole chip waits for the backward. Its
    draws have an address (seed, path, name), and what is drawn there again is equal to the bit.
    """

    def __init__(self) -> None:
        self._known: dict[int, tuple[weakref.ref[Tensor], _Drawn]] = {}

    def remember(self, chip: Mapping[str, Tensor], placed: Placed, how: Mapping[str, Any]) -> None:
        """Know the weights of a chip by their memory.

        Tiles of an array, weights that act clean in backward, and weights that are computed in this step are
        kept as ever.

        Args:
            chip: programmed weights by name.
            placed: what `chip` was programmed from.
            how: the keywords of `Placed.program`.
        """
        for name, tensor in chip.items():
            weight = placed.weights[name]
            if type(tensor) is Tensor and weight.is_leaf:
                drawn = _Drawn(placed.with_weights({name: weight}), name, how, weight._version)
                self._known[_memory(tensor)] = (weakref.ref(tensor), drawn)

    @contextmanager
    def instead_of_kept(self) -> Iterator[None]:
        """Inside, what autograd would keep of a known chip is drawn again by the backward."""
        with torch.autograd.graph.saved_tensors_hooks(self._pack, _unpacked):
            yield

    def _pack(self, tensor: Tensor) -> _Kept | _View:
        alive, drawn = self._known.get(_memory(tensor), (None, None))
        if drawn is None or alive is None or alive() is None:
            return _Kept(tensor, tensor._version)
        return _View(drawn, tensor.shape, tensor.stride(), int(tensor.storage_offset()))


@dataclass(frozen=True)
class _Kept:
    """What autograd keeps as ever, and its version, which PyTorch does not compare where there are hooks."""

    saved: Tensor
    version: int

    def tensor(self) -> Tensor:
        if self.saved._version != self.version:
            raise RuntimeError(
                f"a tensor of shape {list(self.saved.shape)} that the backward needs was changed in place: "
                f"it has version {self.saved._version}, and version {self.version} was kept"
            )
        return self.saved


@dataclass(frozen=True)
class _Drawn:
    """One programmed weight, as the address of its draws and the version of what was programmed."""

    placed: Placed
    name: str
    how: Mapping[str, Any]
    version: int

    def again(self) -> Tensor:
        if self.placed.weights[self.name]._version != self.version:
            raise ModelError(
                self.name,
                found="a weight that changed between forward and backward",
                expected="the weight of the forward, of which the backward draws the chip again",
                remedy="redraw = false",
            )
        with torch.no_grad():
            return self.placed.program(**{**self.how, "gradient": None})[self.name]


@dataclass(frozen=True)
class _View:
    """What a product kept of a weight: all of it, its transpose, or a part."""

    drawn: _Drawn
    shape: torch.Size
    stride: tuple[int, ...]
    offset: int

    def tensor(self) -> Tensor:
        return self.drawn.again().as_strided(self.shape, self.stride, self.offset)


def _memory(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()


def _unpacked(kept: _Kept | _View) -> Tensor:
    return kept.tensor()
