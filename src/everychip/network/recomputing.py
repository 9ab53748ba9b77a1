"""Modules whose activations are computed again in the backward instead of being kept, for less memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from fnmatch import fnmatchcase
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _NormBase
from torch.utils.checkpoint import checkpoint

from everychip.errors import ConfigError


@contextmanager
def recomputing(model: nn.Module, patterns: Sequence[str]) -> Iterator[None]:
    """Inside, the modules that a pattern names keep no activations but their inputs while they train.

    Gradients are those without it: the backward runs the module with the same chip
    (`network.recomputation`), the same dropout, and batch norm whose running statistics stay.

    Args:
        model: any network; it is as it was afterwards.
        patterns: names of modules, or patterns such as "blocks.*"; one that names none is refused.
    """
    chosen = [_named(model, pattern) for pattern in patterns]
    modules = {id(module): module for found in chosen for module in found}
    inner = {id(m) for module in modules.values() for m in module.modules() if m is not module}
    outermost = [module for key, module in modules.items() if key not in inner]
    for module in outermost:
        own = module.forward
        module.forward = partial(_recomputed, module, own)
    try:
        yield
    finally:
        for module in outermost:
            del module.forward


def _named(model: nn.Module, pattern: str) -> list[nn.Module]:
    found = [module for name, module in model.named_modules() if name and fnmatchcase(name, pattern)]
    if not found:
        some = [name for name, _ in model.named_children()][:6]
        raise ConfigError(
            "training.recompute",
            found=f"no module named {pattern!r}",
            expected="names of modules, or patterns",
            remedy=f"the model has {', '.join(some)}",
        )
    return found


def _recomputed(module: nn.Module, own: Callable[..., Any], *args: Any, **named: Any) -> Any:
    if not (module.training and torch.is_grad_enabled()):
        return own(*args, **named)

    def contexts() -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
        return nullcontext(), _statistics_kept(module)

    return checkpoint(own, *args, use_reentrant=False, context_fn=contexts, **named)


@contextmanager
def _statistics_kept(module: nn.Module) -> Iterator[None]:
    """Batch norm normalises by the batch, but its running statistics do not move a second time."""
    norms = [part for part in module.modules() if isinstance(part, _NormBase)]
    before = [(norm.momentum, norm._buffers.get("num_batches_tracked")) for norm in norms]
    for norm in norms:
        norm.momentum = 0.0
        if "num_batches_tracked" in norm._buffers:
            norm._buffers["num_batches_tracked"] = None
    try:
        yield
    finally:
        for norm, (momentum, count) in zip(norms, before, strict=True):
            norm.momentum = momentum
            if "num_batches_tracked" in norm._buffers:
                norm._buffers["num_batches_tracked"] = count
