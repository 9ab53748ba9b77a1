"""Measuring one chip, or the digital model, on examples."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor, nn

from everychip.data import Examples
from everychip.data.inputs import taken
from everychip.network.probing import runner_for
from everychip.network.running import Precision, Runner
from everychip.tasks import Classification, Task


def measure(
    model: nn.Module,
    chip: Mapping[str, Tensor],
    data: Examples,
    *,
    task: Task | None = None,
    batch_size: int = 500,
    precision: Precision = "float32",
    layout: torch.memory_format | None = None,
) -> dict[str, float]:
    """The metrics of one chip (or, with an empty chip, of the digital model) in evaluation mode.

    layout: the memory format of images and convolution weights; None finds out which the model can take.
    """
    runner = runner_for(model, taken(data.x, slice(2))) if layout is None else Runner(model, layout)
    runner = replace(runner, precision=precision, batch_size=batch_size)
    return (task or Classification()).measure(runner, chip, data)
