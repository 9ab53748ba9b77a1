"""A model in evaluation, left afterwards as it was: modes, buffers, and the numbers it draws."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import torch
from torch import nn
from torch.nn.parameter import is_lazy
from torch.torch_version import TorchVersion

from everychip.network.exclusive import exclusive


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Evaluation mode inside; every module's own mode restored afterwards, and every buffer what it was.

    Inside, the model has copies of its buffers: some modules write into them in evaluation, too, as the
    observers of quantisation-aware training do. Other threads wait.

    >>> model = nn.Dropout()
    >>> with evaluating(model):
    ...     model.training
    False
    >>> model.training
    True
    """
    with _copied_buffers(model):
        modes = [(module, module.training) for module in model.modules()]
        # The flags are set directly: a model may override train() with effects of its own.
        for module, training in modes:
            if training:
                module.training = False
        try:
            yield
        finally:
            for module, training in modes:
                if module.training != training:
                    module.training = training


@contextmanager
def without_fast_path() -> Iterator[None]:
    """Inside, transformer layers call their parts as modules, whose hooks are called."""
    enabled = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(enabled)


@contextmanager
def hooks_called() -> Iterator[None]:
    """Inside, transformer layers call the hooks of their parts, as PyTorch since 2.7 does on its own."""
    with nullcontext() if _KNOWS_HOOKS else without_fast_path():
        yield


_KNOWS_HOOKS = TorchVersion(torch.__version__) >= TorchVersion("2.7")


@contextmanager
def _copied_buffers(model: nn.Module) -> Iterator[None]:
    with exclusive(model):
        # A scripted module keeps its buffers out of Python's reach.
        modules = [module for module in model.modules() if not isinstance(module, torch.jit.ScriptModule)]
        own = [
            (module, leaf, buffer)
            for module in modules
            for leaf, buffer in module._buffers.items()
            if buffer is not None and not is_lazy(buffer)
        ]
        copies = {id(buffer): buffer.detach().clone() for *_, buffer in own}
        try:
            for module, leaf, buffer in own:
                module._buffers[leaf] = copies[id(buffer)]
            yield
        finally:
            for module, leaf, buffer in own:
                module._buffers[leaf] = buffer
