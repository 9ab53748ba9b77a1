"""How a model is run, decided once: its memory format, its precision, and the size of its batches."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.func import functional_call

from everychip.data import Examples
from everychip.data.inputs import Inputs, as_call, in_batches, mapped, moved, prepared, taken
from everychip.network.device_memory import bytes_of, free_bytes
from everychip.network.eager import eager_on
from everychip.network.exclusive import exclusive, parts_of
from everychip.network.memory_format import to_memory_format
from everychip.network.modes import evaluating
from everychip.network.outputs import logits
from everychip.network.recomputation import recomputed_with
from everychip.network.soundness import device_of, dtypes_of
from everychip.network.vectorised import Vectorised, vectorised

Precision = Literal["float32", "bfloat16"]

_OWN_TYPES = {torch.float64, torch.bfloat16, torch.float16}
"""Types of models whose inputs are cast to them; to a network in float32, doubles are not cut unasked."""


@dataclass(frozen=True)
class Runner:
    """A model and how it is run, for any number of chips and batches.

    Args:
        model: any module that answers with logits; it is walked once, when the first chip is run, and must
            not gain, lose or tie parameters and buffers afterwards.
        memory_format: of images and convolution weights; None leaves them as they are.
        precision: that of the products in `predict`.
        batch_size: the number of inputs that `batches` and `predict` run at once.

    >>> from everychip.data import Arrays
    >>> runner = Runner(nn.Linear(4, 2), batch_size=2)
    >>> runner.predict({}, Arrays(torch.ones(3, 4), torch.tensor([0, 1, 0]))).shape
    torch.Size([3, 2])
    """

    model: nn.Module
    memory_format: torch.memory_format | None = None
    precision: Precision = "float32"
    batch_size: int = 500

    def logits(self, chip: Mapping[str, Tensor], x: Any) -> Tensor:
        """The logits of one chip for one batch: the tensor in what `outputs` gives, [batch, …, classes]."""
        output = self.outputs(chip, x)
        return logits(output)

    def outputs(self, chip: Mapping[str, Tensor], x: Inputs) -> Any:
        """What one chip answers for one batch, in the mode, precision and memory format they are given in.

        Args:
            chip: tensors by name, of parameters or buffers; empty, the digital model. A tensor of the model
                that several modules hold is replaced in all of them.
            x: one batch, as the model takes it: a tensor, a tuple of several inputs, or a dict that names
                them; its floating-point numbers in any type, where the model's are of one alone.

        Returns:
            The model's own output. Threads that run one model take turns, and checkpointed parts are
            computed again with the same chip.
        """
        with exclusive(self.model, parts=self.parts):
            args, named = as_call(self.typed(x))
            if not chip:
                return self.model(*args, **named)
            names = self.aliases
            held = {alias: value for name, value in chip.items() for alias in names.get(name, (name,))}
            with recomputed_with(self.model, held), eager_on(self.model, held.values()):
                return functional_call(self.model, held, args, named, tie_weights=False)

    def each(self, chip: Mapping[str, Tensor], data: Examples, take: Callable[[Any, Any], None]) -> None:
        """Run one chip over all inputs in evaluation mode and hand every batch's output and targets over.

        Args:
            chip: programmed tensors by name; empty, the digital model.
            data: inputs with targets.
            take: takes the model's own output of a batch, and the batch's targets where the model is.
        """
        fast = {name: to_memory_format(tensor, self.memory_format) for name, tensor in chip.items()}
        del chip
        device, size = self.device, self.batch_size
        with torch.no_grad(), evaluating(self.model), self.autocast():
            for n, x in enumerate(self.batches(data.x)):
                rows = slice(n * size, (n + 1) * size)
                y = None if data.y is None else moved(taken(data.y, rows), device)
                take(self.outputs(fast, x), y)

    def predict(self, chip: Mapping[str, Tensor], data: Examples) -> Tensor:
        """The logits of one chip for all inputs, in evaluation mode and without gradients, on the CPU.

        Returns:
            [inputs, classes]; where the model answers for every position of a sequence, [inputs · positions,
            classes].
        """
        fast = {name: to_memory_format(tensor, self.memory_format) for name, tensor in chip.items()}
        del chip
        with torch.no_grad(), evaluating(self.model), self.autocast():
            z = torch.cat([self.logits(fast, x) for x in self.batches(data.x)]).cpu()
        return z.reshape(-1, z.shape[-1])

    def batches(self, x: Inputs) -> Iterator[Any]:
        """The inputs in batches, each where the model is and in its memory format."""
        for batch in in_batches(x, self.batch_size):
            yield prepared(batch, self.device, self._formatted)

    def kept(self, x: Inputs) -> Inputs:
        """All inputs on the model's GPU, so that they travel there once and not for every chip.

        They stay where they are if they would take more than a quarter of what it has free.
        """
        return moved(x, self.device) if 4 * bytes_of(x) <= free_bytes(self.device) else x

    def placed(self, x: Inputs) -> Any:
        """A batch where the model is and in its memory format."""
        return prepared(x, self.device, self._formatted)

    def formatted(self, x: Inputs) -> Any:
        """A batch in the memory format and in the type of `typed`, wherever it is."""
        return mapped(x, self._formatted)

    def _formatted(self, leaf: Any) -> Any:
        leaf = leaf if self._own_type is None else _cast(self._own_type, leaf)
        return to_memory_format(leaf, self.memory_format) if isinstance(leaf, Tensor) else leaf

    def typed(self, x: Inputs) -> Any:
        """A batch in the model's own type, where it is float64, bfloat16 or float16; whole numbers stay.

        >>> Runner(nn.Linear(4, 2).bfloat16()).typed({"a": torch.ones(1), "ids": torch.tensor([1])})
        {'a': tensor([1.], dtype=torch.bfloat16), 'ids': tensor([1])}
        """
        own = self._own_type
        return x if own is None else mapped(x, partial(_cast, own))

    @cached_property
    def _own_type(self) -> torch.dtype | None:
        """The type of all of the model's numbers, if it is one that data seldom comes in."""
        known = dtypes_of(self.model)
        return known[0] if len(known) == 1 and known[0] in _OWN_TYPES else None

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return device_of(self.model)

    def autocast(self) -> torch.autocast:
        """The context in which products are computed in the runner's precision."""
        return autocast(self.device, self.precision)

    @cached_property
    def vectorised(self) -> Vectorised:
        """The forward over several chips in one call, made once."""
        return vectorised(self.model)

    @cached_property
    def parts(self) -> frozenset[int]:
        """The model's modules, by which `exclusive` keeps threads apart."""
        return parts_of(self.model)

    @cached_property
    def aliases(self) -> Mapping[str, tuple[str, ...]]:
        """For every tensor that several modules hold, by each of its names: one name for each module.

        `functional_call(tie_weights=True)` adds every name, and so swaps the tensor of a module that the
        model holds twice two times; restoring it twice leaves the chip's tensor in the model
        (pytorch#164759).
        """
        names: dict[int, list[str]] = {}
        for prefix, module in self.model.named_modules():
            for leaf, tensor in (*module._parameters.items(), *module._buffers.items()):
                if tensor is not None:
                    names.setdefault(id(tensor), []).append(f"{prefix}.{leaf}" if prefix else leaf)
        return {name: tuple(all_) for all_ in names.values() if len(all_) > 1 for name in all_}


def _cast(wanted: torch.dtype, leaf: Any) -> Any:
    if isinstance(leaf, list):
        return [mapped(item, partial(_cast, wanted)) for item in leaf]
    return leaf.to(wanted) if isinstance(leaf, Tensor) and leaf.is_floating_point() else leaf


def autocast(device: torch.device, precision: Precision) -> torch.autocast:
    """The context in which products are computed in `precision`."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bfloat16")
