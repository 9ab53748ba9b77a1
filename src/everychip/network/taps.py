"""Reading what submodules return in a forward, also where a later layer writes over it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from everychip.network.macs import first_tensor


class Taps(Mapping[str, Tensor]):
    """What submodules returned, name → tensor, as it was when they returned it.

    The tensor itself is given where nothing has been written into it since, and else a copy made in time,
    through which gradients reach the submodule just as well.

    >>> import torch
    >>> layer, taps = nn.Linear(1, 2), Taps()
    >>> handle = layer.register_forward_hook(taps.hook("layer"))
    >>> h = layer(torch.ones(1, 1))
    >>> before = h.detach().clone()
    >>> _ = h.mul_(0)
    >>> bool((taps["layer"] == before).all())
    True
    """

    def __init__(self) -> None:
        self._kept: dict[str, _Kept] = {}

    def hook(self, name: str) -> Any:
        """A forward hook that keeps what its module returns; the last call counts."""

        def keep(_module: nn.Module, _args: Any, output: Any) -> None:
            tensor = first_tensor(output)
            if tensor is not None:
                self._kept[name] = _Kept(tensor, tensor.clone(), _version(tensor))

        return keep

    def __getitem__(self, name: str) -> Tensor:
        return self._kept[name].as_returned

    def __iter__(self) -> Iterator[str]:
        return iter(self._kept)

    def __len__(self) -> int:
        return len(self._kept)


@dataclass(frozen=True)
class _Kept:
    tensor: Tensor
    copy: Tensor
    version: int | None

    @property
    def as_returned(self) -> Tensor:
        # The copy alone would do; the tensor itself keeps the order in which its gradients are summed.
        untouched = self.version is not None and _version(self.tensor) == self.version
        return self.tensor if untouched else self.copy


def _version(tensor: Tensor) -> int | None:
    """PyTorch's count of the writes into a tensor, which those made in inference mode do not have."""
    return None if tensor.is_inference() else tensor._version
