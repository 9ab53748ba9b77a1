"""A shorter forward for evaluation: batch norm folded into convolutions, activations written in place."""

from __future__ import annotations

import operator
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor, fx, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_conv_bn_weights

from everychip.errors import ConfigError
from everychip.network.eager import is_compiled
from everychip.network.modes import evaluating

_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
_FRESH = (*_CONVOLUTIONS, *_NORMS, nn.Linear)
"""Modules whose output is a tensor of its own, which nobody else holds."""
_SUMS = (operator.add, torch.add)
_RELUS = (torch.relu, nn.functional.relu)


@dataclass(frozen=True)
class Folded:
    """A network whose convolutions have taken in the batch norm that follows them.

    With s = γ/√(σ² + ε) a chip's W' and b become s·W' and s·(b − μ) + β; the noise is that of W', since it is
    programmed before. ReLU writes over what it reads where nothing else reads it.

    model: the traced network; it shares all other modules with the original. pairs: names of each convolution
    and its batch norm. original: the network. names: of every tensor that the traced one holds.

    >>> net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.ReLU())
    >>> Folded.of(net).pairs
    (('0', '1'),)
    """

    model: nn.Module
    pairs: tuple[tuple[str, str], ...]
    original: nn.Module
    names: frozenset[str]

    @classmethod
    def of(cls, model: nn.Module) -> Self:
        """Trace a network and shorten it; it is left as it is.

        Raises:
            ConfigError: a network that cannot be traced or has nothing to fold, that is compiled, or that has
                hooks.
        """
        if any(module._forward_hooks or module._forward_pre_hooks for module in model.modules()):
            raise refused("a network with hooks, which a traced one would not call")
        if is_compiled(model):
            raise refused("a compiled network, whose compiler joins such layers itself")
        with evaluating(model):
            try:
                traced = fx.symbolic_trace(model)
            except Exception as error:  # a model's own forward may fail on a tracer in any way
                said = " ".join(str(error).split())[:200] or type(error).__name__
                raise refused(f"a network that torch.fx cannot trace ({said})") from error
            pairs = _fold(traced, _shared(model))
        if not pairs:
            raise refused("a network in which no batch norm follows a convolution")
        _overwrite(traced)
        traced.recompile()
        tensors = (
            *traced.named_parameters(remove_duplicate=False),
            *traced.named_buffers(remove_duplicate=False),
        )
        return cls(traced, pairs, model, frozenset(name for name, _ in tensors))

    def chip(self, chip: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """A chip of the original network as one of the folded.

        Args:
            chip: tensors by name, of parameters or buffers, where they are not the network's own.

        Returns:
            The same, with weight and bias of every convolution that has taken in a batch norm.
        """
        taken: dict[str, Tensor] = {}
        for convolution, norm in self.pairs:
            weight, bias = self._now(chip, convolution, "weight", "bias")
            gamma, beta, mean, variance = self._now(
                chip, norm, "weight", "bias", "running_mean", "running_var"
            )
            eps = self.original.get_submodule(norm).eps
            folded = fuse_conv_bn_weights(weight, bias, mean, variance, eps, gamma, beta)  # type: ignore[arg-type]
            for leaf, value in zip(("weight", "bias"), folded, strict=True):
                taken[f"{convolution}.{leaf}"] = value.detach()
        return {**{name: held for name, held in chip.items() if name in self.names}, **taken}

    def _now(self, chip: Mapping[str, Tensor], module: str, *leaves: str) -> list[Tensor | None]:
        """Tensors of a module as the chip has them, or the network."""
        own = self.original.get_submodule(module)
        return [chip.get(f"{module}.{leaf}", getattr(own, leaf)) for leaf in leaves]


def refused(found: str) -> ConfigError:
    """Why a forward is not shortened."""
    return ConfigError("evaluate.folded", found=found, expected="False", remedy="leave folded out")


def _shared(model: nn.Module) -> set[int]:
    """The ids of the tensors that more than one module holds."""
    seen: set[int] = set()
    twice: set[int] = set()
    for module in model.modules():
        for tensor in (*module._parameters.values(), *module._buffers.values()):
            if tensor is not None:
                (twice if id(tensor) in seen else seen).add(id(tensor))
    return twice


def _fold(traced: fx.GraphModule, shared: set[int]) -> tuple[tuple[str, str], ...]:
    """Put every batch norm that alone reads a convolution into it; names of both."""
    modules = dict(traced.named_modules())
    calls = [str(node.target) for node in traced.graph.nodes if node.op == "call_module"]
    pairs = []
    for node in list(traced.graph.nodes):
        norm = _module(node, modules)
        if type(norm) not in _NORMS or len(node.args) != 1 or not isinstance(node.args[0], fx.Node):
            continue
        before = node.args[0]
        convolution = _module(before, modules)
        names = str(before.target), str(node.target)
        alone = len(before.users) == 1 and all(calls.count(name) == 1 for name in names)
        if not (alone and type(convolution) in _CONVOLUTIONS and _foldable(convolution, norm, shared)):
            continue
        parent, _, leaf = names[0].rpartition(".")
        modules[names[0]] = fuse_conv_bn_eval(convolution, norm)  # type: ignore[type-var, arg-type]
        setattr(traced.get_submodule(parent), leaf, modules[names[0]])
        node.replace_all_uses_with(before)
        traced.graph.erase_node(node)
        pairs.append(names)
    traced.delete_all_unused_submodules()
    return tuple(pairs)


def _foldable(convolution: Any, norm: Any, shared: set[int]) -> bool:
    tensors = [*convolution._parameters.values(), *norm._parameters.values(), *norm._buffers.values()]
    known = norm.running_mean is not None and norm.running_var is not None
    return known and not shared & {id(tensor) for tensor in tensors}


def _overwrite(traced: fx.GraphModule) -> None:
    """Let ReLU write into what it reads, where that is a tensor of its own that nothing else reads."""
    modules = dict(traced.named_modules())
    for node in list(traced.graph.nodes):
        module = _module(node, modules)
        relu = node.target in _RELUS if module is None else type(module) is nn.ReLU
        if not relu or len(node.args) != 1 or not isinstance(node.args[0], fx.Node):
            continue
        before = node.args[0]
        source = _module(before, modules)
        fresh = before.target in _SUMS if source is None else type(source) in _FRESH
        if fresh and len(before.users) == 1:
            with traced.graph.inserting_before(node):
                written = traced.graph.call_function(torch.relu_, (before,))
            node.replace_all_uses_with(written)
            traced.graph.erase_node(node)


def _module(node: fx.Node, modules: Mapping[str, nn.Module]) -> nn.Module | None:
    return modules.get(str(node.target)) if node.op == "call_module" else None
