"""How a model is run, decided once: its memory format, its precision, and the size of its batches."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, Self

import torch
from torch import Tensor, nn
from torch.func import functional_call

from everychip.data import Arrays
from everychip.errors import ModelError
from everychip.network.eager import eager_on
from everychip.network.exclusive import exclusive, parts_of
from everychip.network.memory_format import safe_layout, to_memory_format
from everychip.network.modes import evaluating
from everychip.network.recomputation import recomputed_with
from everychip.network.soundness import device_of, must_be_finite
from everychip.rng import seeded_global_generator

Precision = Literal["float32", "bfloat16"]


@dataclass(frozen=True)
class Runner:
    """A model and how it is run, for any number of chips and batches.

    Args:
        model: any module that answers with logits; it is walked once, when the first chip is run, and must
            not gain, lose or tie parameters and buffers afterwards.
        memory_format: of images and convolution weights; None leaves them as they are.
        precision: that of the products in `predict`.
        batch_size: the number of inputs that `batches` and `predict` run at once.

    >>> runner = Runner(nn.Linear(4, 2), batch_size=2)
    >>> runner.predict({}, Arrays(torch.ones(3, 4), torch.tensor([0, 1, 0]))).shape
    torch.Size([3, 2])
    """

    model: nn.Module
    memory_format: torch.memory_format | None = None
    precision: Precision = "float32"
    batch_size: int = 500

    @classmethod
    def of(
        cls, model: nn.Module, x: Tensor, *, precision: Precision = "float32", batch_size: int = 500
    ) -> Self:
        """The runner in the memory format that a trial run on a few inputs shows the model can take."""
        return cls(model, probe(model, x).layout, precision, batch_size)

    def logits(self, chip: Mapping[str, Tensor], x: Any) -> Tensor:
        """The logits of one chip for one batch, in the mode, precision and memory format they are given in.

        Args:
            chip: tensors by name, of parameters or buffers; empty, the digital model. A tensor of the model
                that several modules hold is replaced in all of them.
            x: one batch, as the model takes it.

        Returns:
            What the model answers, [batch, …, classes]. Threads that run one model take turns, and
            checkpointed parts are computed again with the same chip.
        """
        with exclusive(self.model, parts=self.parts):
            if not chip:
                return logits(self.model(x))
            names = self.aliases
            held = {alias: value for name, value in chip.items() for alias in names.get(name, (name,))}
            with recomputed_with(self.model, held), eager_on(self.model, held.values()):
                return logits(functional_call(self.model, held, (x,), tie_weights=False))

    def predict(self, chip: Mapping[str, Tensor], data: Arrays) -> Tensor:
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

    def batches(self, x: Tensor) -> Iterator[Tensor]:
        """The inputs in batches, each where the model is and in its memory format."""
        device = device_of(self.model)
        for batch in torch.split(x, self.batch_size):
            yield to_memory_format(batch.to(device), self.memory_format)

    def autocast(self) -> torch.autocast:
        """The context in which products are computed in the runner's precision."""
        return autocast(device_of(self.model), self.precision)

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


@dataclass(frozen=True)
class Probe:
    """What a trial run showed: the shape of its output, and the memory format that the model takes."""

    shape: tuple[int, ...]
    layout: torch.memory_format

    @property
    def classes(self) -> int:
        """How many logits the model gives."""
        return self.shape[-1]


def probe(model: nn.Module, x: Tensor, *, layout: torch.memory_format | None = None) -> Probe:
    """Run the model on a few inputs, channels-last where they are images and the model can be run so.

    It cannot where it calls `.view` on the features of a convolution, which needs them contiguous.
    """
    must_be_finite(model.named_parameters())
    layout = layout or safe_layout(model, x)
    kernels = {name: to_memory_format(p, layout) for name, p in model.named_parameters() if p.ndim == 4}
    try:
        with torch.no_grad(), evaluating(model), seeded_global_generator(0, "probe"):
            images = to_memory_format(x.to(device_of(model)), layout)
            return Probe(tuple(Runner(model).logits(kernels, images).shape), layout)
    except (RuntimeError, IndexError) as error:
        if layout is torch.channels_last and "view size is not compatible" in str(error):
            return probe(model, x, layout=torch.contiguous_format)
        raise ModelError(
            type(model).__name__,
            found=f"that it fails on inputs of shape {list(x.shape)}, {x.dtype} ({error})",
            expected="a model that takes a batch of the data's inputs",
        ) from error


def autocast(device: torch.device, precision: Precision) -> torch.autocast:
    """The context in which products are computed in `precision`."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bfloat16")


def logits(output: Any) -> Tensor:
    """The logits in a model's output: the tensor itself, its `.logits`, or the first of a tuple."""
    if isinstance(output, Tensor):
        return output
    if isinstance(getattr(output, "logits", None), Tensor):
        return output.logits  # type: ignore[no-any-return]
    if isinstance(output, tuple) and output and isinstance(output[0], Tensor):
        return output[0]
    raise ModelError(
        "model output",
        found=f"a {type(output).__name__}",
        expected="a tensor of logits, an object with .logits, or a tuple that begins with the logits",
    )
