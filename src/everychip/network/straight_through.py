"""A weight that acts noisy forward and clean backward."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map


class CleanGradientWeight(Tensor):
    """A weight whose products have the noisy value and the clean weight's Jacobians.

    Every function of it and a plain tensor is carried out twice, f(x, W) with gradient and f(x, W') without,
    and returns f(x, W) + stopgrad(f(x, W') − f(x, W)). A composite function (attention) is one such function.

    Source: extended straight-through estimation, arXiv 2508.11940.
    """

    noisy: Tensor

    def __reduce_ex__(self, protocol: Any) -> Any:
        return with_clean_gradient, (_clean(self).detach(), self.noisy)

    @classmethod
    def __torch_function__(
        cls, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        with torch._C.DisableTorchFunctionSubclass():
            leaves = tree_leaves((args, kwargs))
            # Both passes draw the same dropout masks: their difference is the noise and nothing else.
            gpus = {leaf.device for leaf in leaves if isinstance(leaf, cls) and leaf.is_cuda}
            with torch.no_grad(), _uncached_casts(), torch.random.fork_rng(devices=gpus):
                noisy = func(*tree_map(_noisy, args), **tree_map(_noisy, kwargs))
            clean = func(*tree_map(_clean, args), **tree_map(_clean, kwargs))
            alone = not any(type(leaf) is Tensor for leaf in leaves)
            # A function of weights alone (a transpose, a cast, a slice) gives a weight again.
            return _combine(clean, noisy, with_clean_gradient if alone else _value_and_gradient)


@contextmanager
def _uncached_casts() -> Iterator[None]:
    """Inside, autocast keeps no cast: one made without gradient would serve the pass with gradient, too.

    PyTorch before 2.6 does not tell the two apart.
    """
    before = torch.is_autocast_cache_enabled()
    torch.set_autocast_cache_enabled(False)
    try:
        yield
    finally:
        torch.set_autocast_cache_enabled(before)


def with_clean_gradient(clean: Tensor, noisy: Tensor) -> Tensor:
    """The weight that computes with `noisy` and differentiates as `clean`.

    >>> import torch
    >>> w, x = torch.ones(1, 2, requires_grad=True), torch.ones(1, 2, requires_grad=True)
    >>> y = torch.nn.functional.linear(x, with_clean_gradient(w, 3 * w.detach()))
    >>> y.backward()
    >>> float(y.detach()), x.grad
    (6.0, tensor([[1., 1.]]))
    """
    weight = clean.as_subclass(CleanGradientWeight)
    weight.noisy = noisy.detach()
    return weight


def _clean(value: Any) -> Any:
    return value.as_subclass(Tensor) if isinstance(value, CleanGradientWeight) else value


def _noisy(value: Any) -> Any:
    return value.noisy if isinstance(value, CleanGradientWeight) else value


def _value_and_gradient(clean: Tensor, noisy: Tensor) -> Tensor:
    return clean + (noisy - clean).detach()


def _combine(clean: Any, noisy: Any, pair: Callable[[Tensor, Tensor], Tensor]) -> Any:
    if isinstance(clean, Tensor):
        return pair(clean, noisy) if clean.is_floating_point() else noisy
    if isinstance(clean, tuple | list):
        return type(clean)(_combine(a, b, pair) for a, b in zip(clean, noisy, strict=True))
    return noisy
