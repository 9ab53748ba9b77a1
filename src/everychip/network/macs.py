"""Where the multiplications of a forward pass are: per submodule call, per parameter, between activations."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from everychip.data.inputs import Inputs, as_call, shape_of
from everychip.errors import ModelError
from everychip.network.modes import evaluating
from everychip.network.outputs import of_name
from everychip.rng import seeded_global_generator

aten = torch.ops.aten

# The argument of an operation that is added, not multiplied (a bias), by position.
_ADDED = {aten.addmm: 0, aten.baddbmm: 0, aten.addmv: 0, aten.convolution: 2, aten._convolution: 2}


@dataclass(frozen=True)
class Features:
    """What a submodule returned, without the values."""

    shape: tuple[int, ...]
    dtype: torch.dtype
    device: torch.device


@dataclass(frozen=True)
class Call:
    """One call of a submodule: the MACs spent when it began and when it ended, and what it returned.

    `features` is the first tensor it returned, `None` if there is none or it is not floating point.
    """

    name: str
    before: int
    after: int
    features: Features | None


@dataclass(frozen=True)
class Trace:
    """One forward pass: its calls in the order they ended; MACs by parameter, by buffer, of activations."""

    calls: tuple[Call, ...]
    by_parameter: Mapping[str, int]
    between_activations: int
    output: Tensor | None
    by_buffer: Mapping[str, int] = field(default_factory=dict)

    @property
    def total(self) -> int:
        """All multiply-accumulates of the pass."""
        held = sum(self.by_parameter.values()) + sum(self.by_buffer.values())
        return held + self.between_activations


def trace(model: nn.Module, sample: Inputs) -> Trace:
    """Run the model once on a sample and count its multiply-accumulates (MACs).

    A product belongs to a parameter when one factor is that parameter, a view of it, or computed from
    parameters and buffers only (a cast, a concatenation, a normalised weight), and to a buffer when it is
    made of buffers alone; products that make such a weight are not counted, they do not depend on the
    input. The run is in eval mode without gradient and leaves no trace: hooks, training flags, buffers and
    the global generator are as they were.

    >>> import torch
    >>> trace(torch.nn.Linear(8, 4), torch.ones(2, 8)).by_parameter
    {'weight': 64}
    """
    buffers = {name: buffer.detach().clone() for name, buffer in model.named_buffers()}
    counter = _Counter(dict(model.named_parameters()), buffers)
    calls: list[Call] = []
    with ExitStack() as stack:
        for context in (
            evaluating(model),
            _decomposed(),
            seeded_global_generator(0, "macs"),
            torch.no_grad(),
        ):
            stack.enter_context(context)
        stack.enter_context(_recorded(model, counter, calls))
        stack.enter_context(counter)
        try:
            # Tied names would swap a shared batch norm twice and leave the copies in it (pytorch#164759).
            output = functional_call(model, buffers, *as_call(sample), tie_weights=False)
        except (RuntimeError, ValueError, TypeError, IndexError) as error:
            raise _failed(model, sample, error) from error
    by_parameter = {name: macs for name, macs in counter.by_owner.items() if name not in buffers}
    by_buffer = {name: macs for name, macs in counter.by_owner.items() if name in buffers}
    return Trace(tuple(calls), by_parameter, counter.between_activations, first_tensor(output), by_buffer)


def first_tensor(output: Any) -> Tensor | None:
    """The tensor a module's output is about: itself, the one it names `logits`, or the first it contains.

    >>> first_tensor((torch.ones(2, 3), None)).shape
    torch.Size([2, 3])
    """
    if isinstance(output, Tensor):
        return output
    named = of_name(output)
    if named is not None:
        return named
    parts = output.values() if isinstance(output, Mapping) else output
    if isinstance(output, Mapping | tuple | list):
        return next((found for part in parts if (found := first_tensor(part)) is not None), None)
    return None


class _Counter(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the MACs of every operation and finds the parameter that each belongs to."""

    def __init__(self, parameters: Mapping[str, Tensor], buffers: Mapping[str, Tensor]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.by_owner: Counter[str] = Counter()
        self._buffers = buffers.keys()
        self.between_activations = self.total = 0
        # Addresses, not storages: recurrent layers pack several parameters into one storage.
        self._memory = [(name, p.data_ptr(), p.nbytes) for name, p in parameters.items()]
        self._memory += [(name, b.data_ptr(), b.nbytes) for name, b in buffers.items()]
        self._derived: dict[int, str] = {}
        self._kept: list[Tensor] = []

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # PyTorch would import its compiler, a second or two, only to stay out of its way

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        owners = [self._owner(tensor) for tensor in tensors]
        if owners and None not in owners:
            self._remember(out, self._first(owners) or "")
        elif macs := _macs(func._overloadpacket, args, kwargs or {}, out):
            added = _ADDED.get(func._overloadpacket)
            self._count(macs, [arg for place, arg in enumerate(args) if place != added])
        return out

    def _count(self, macs: int, factors: list[Any]) -> None:
        self.total += macs
        owner = self._first([self._owner(f) for f in factors if isinstance(f, Tensor)])
        if owner is None:
            self.between_activations += macs
        else:
            self.by_owner[owner] += macs

    def _first(self, owners: list[str | None]) -> str | None:
        """What a tensor made of several belongs to: a parameter before a buffer, or None."""
        held = [owner for owner in owners if owner is not None]
        return min(held, key=lambda owner: owner in self._buffers, default=None)

    def _remember(self, out: Any, owner: str) -> None:
        for leaf in tree_leaves(out):
            if isinstance(leaf, Tensor) and self._owner(leaf) is None:
                self._derived[leaf.untyped_storage()._cdata] = owner
                self._kept.append(leaf)  # as long as it lives, its storage is not given to another tensor

    def _owner(self, tensor: Tensor) -> str | None:
        """The parameter a tensor is made of, or the buffer, or `None` for an activation."""
        derived = self._derived.get(tensor.untyped_storage()._cdata)
        if derived is not None:
            return derived
        address = tensor.data_ptr()
        return next((name for name, start, size in self._memory if 0 <= address - start < size), None)


def _macs(operation: Any, args: Any, kwargs: Any, out: Any) -> int:
    if operation is aten.mv or operation is aten.addmv:
        return int(args[0 if operation is aten.mv else 1].numel())
    if operation is aten.dot:
        return int(args[0].numel())
    if operation is aten._trilinear:  # nn.Bilinear: each output weighs every pair of inputs
        return int(args[0].shape[0] * args[1].numel())
    formula = flop_registry.get(operation)
    return int(formula(*args, **kwargs, out_val=out)) // 2 if formula else 0


@contextmanager
def _decomposed() -> Iterator[None]:
    """Turn off the fused kernels that would hide the products inside attention and recurrent layers."""
    backends: tuple[Any, ...] = (torch.backends.mkldnn, torch.backends.cudnn)
    enabled = [backend.enabled for backend in backends]
    fastpath = torch.backends.mha.get_fastpath_enabled()
    try:
        torch.backends.mha.set_fastpath_enabled(False)
        for backend in backends:
            backend.enabled = False
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fastpath)
        for backend, value in zip(backends, enabled, strict=True):
            backend.enabled = value


@contextmanager
def _recorded(model: nn.Module, counter: _Counter, calls: list[Call]) -> Iterator[None]:
    names = {module: name for name, module in model.named_modules() if name}
    begun: list[int] = []

    def before(_module: nn.Module, _args: Any) -> None:
        begun.append(counter.total)

    def after(module: nn.Module, _args: Any, output: Any) -> None:
        calls.append(Call(names[module], begun.pop(), counter.total, _features(first_tensor(output))))

    handles = []
    try:
        for module in names:
            handles += [module.register_forward_pre_hook(before), module.register_forward_hook(after)]
        yield
    finally:
        for handle in handles:
            handle.remove()


def _features(tensor: Tensor | None) -> Features | None:
    if tensor is None or not tensor.is_floating_point():
        return None
    return Features(tuple(tensor.shape), tensor.dtype, tensor.device)


def _failed(model: nn.Module, sample: Inputs, error: Exception) -> ModelError:
    words = str(error).splitlines()[0] if str(error) else type(error).__name__
    return ModelError(
        type(model).__name__,
        found=f"a forward that fails on the sample of shape {shape_of(sample)} ({words})",
        remedy="pass a batch as the model takes it, without its targets",
    )
