"""A trial run on a few inputs: whether a model takes them, and in which memory format."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from everychip.data.inputs import Inputs, leaves, shape_of
from everychip.errors import EverychipError, ModelError
from everychip.network.memory_format import safe_layout, to_memory_format
from everychip.network.modes import evaluating
from everychip.network.outputs import logits
from everychip.network.running import Precision, Runner
from everychip.network.soundness import dtypes_of, must_be_finite, type_remedy
from everychip.rng import seeded_global_generator


def runner_for(
    model: nn.Module, x: Inputs, *, precision: Precision = "float32", batch_size: int = 500
) -> Runner:
    """The runner in the memory format that a trial run on a few inputs shows the model can take."""
    return Runner(model, probe(model, x).layout, precision, batch_size)


@dataclass(frozen=True)
class Probe:
    """What a trial run showed: its output, and the memory format that the model takes."""

    output: Any
    layout: torch.memory_format

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the logits."""
        return tuple(logits(self.output).shape)

    @property
    def classes(self) -> int:
        """How many logits the model gives."""
        return self.shape[-1]


def probe(model: nn.Module, x: Inputs, *, layout: torch.memory_format | None = None) -> Probe:
    """Run the model on a few inputs, channels-last where they are images and the model can be run so.

    It cannot where it calls `.view` on the features of a convolution, which needs them contiguous.
    """
    must_be_finite(model.named_parameters())
    first = _first(x)
    remedy = _remedy(first) or type_remedy(first, dtypes_of(model))
    layout = layout or safe_layout(model, first)
    while True:
        try:
            named = model.named_parameters()
            kernels = {name: to_memory_format(p, layout) for name, p in named if p.ndim == 4}
            with torch.no_grad(), evaluating(model), seeded_global_generator(0, "probe"):
                return Probe(Runner(model).outputs(kernels, Runner(model, layout).placed(x)), layout)
        except (RuntimeError, IndexError, TypeError, ValueError) as error:
            if isinstance(error, EverychipError):
                raise
            if layout is not torch.channels_last or "view size is not compatible" not in str(error):
                found = f"that it fails on inputs of shape {shape_of(x)}, {first.dtype} ({error})"
                name, expected = type(model).__name__, "a model that takes a batch of the data's inputs"
                raise ModelError(name, found=found, expected=expected, remedy=remedy) from error
            layout = torch.contiguous_format


def _first(x: Inputs) -> Tensor:
    """The first tensor of a batch, by which the memory format is chosen."""
    return next((leaf for leaf in leaves(x) if isinstance(leaf, Tensor)), torch.empty(0))


def _remedy(x: Tensor) -> str | None:
    """What images often lack: to be floating point, and to have the channels before rows and columns."""
    if x.ndim != 4:
        return None
    if x.shape[-1] in (1, 3, 4) and x.shape[1] not in (1, 3, 4):
        return "images with the channels last become [n, c, h, w] by x.permute(0, 3, 1, 2)"
    if x.dtype == torch.uint8:
        return "pixels of 0 … 255 become what networks are trained on by (x / 255 - mean) / std"
    return None
