"""Training with everything that it gives: the model and, beside it, the hardware with what was learned."""

from __future__ import annotations

import operator
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Unpack

from torch import nn

from everychip.config.arguments import a, index, optional, takes
from everychip.data.repeatable import must_be_repeatable
from everychip.hardware.hardware import Hardware
from everychip.methods import Method
from everychip.progress import Progress, listening
from everychip.tasks import Task
from everychip.training.config import Training
from everychip.training.fitted import Fitted
from everychip.training.loop import train
from everychip.training.options import TrainingOptions


@takes(
    model=a(nn.Module, "a torch.nn.Module"),
    hardware=a(Hardware, "an everychip.Hardware"),
    seed=index,
    checkpoint=optional(a((str, Path), "the path of a file")),
)
def fitted(
    model: nn.Module,
    method: Method | Mapping[str, Any] | str,
    data: Any,
    *,
    hardware: Hardware,
    seed: int = 0,
    task: Task | Mapping[str, Any] | str = "classification",
    checkpoint: str | Path | None = None,
    progress: Progress = None,
    **options: Unpack[TrainingOptions],
) -> Fitted:
    """Train as `fit` does, and return beside the model how it went and the hardware that it belongs to.

    Args:
        model: any network that answers the task.
        method: as for `fit`; its `inputs` and `scales` learn full scales of DACs and weights.
        data: as for `fit`.
        hardware: what the chips of training and validation are.
        seed: of chips, order and augmentation.
        task: what the network is asked.
        checkpoint: a file that is written after each epoch and resumed from, to the bit.
        progress: as for `fit`.
        options: the fields of `Training`: epochs, batch_size, lr, …

    Returns:
        The model, the hardware with what was learned, history, status and cost.

    >>> import torch, everychip as ec
    >>> x = torch.randn(256, 4, generator=ec.rng_for(0)); y = (x[:, 0] > 0).long()
    >>> hw = ec.Hardware(device=ec.devices.Gaussian(sigma=0.1), array=ec.Array(dac_bits=4))
    >>> method = {"kind": "noise_injection", "inputs": {}}
    >>> trained = fitted(torch.nn.Linear(4, 2), method, (x, y), hardware=hw, epochs=5, batch_size=16, lr=0.1)
    >>> list(trained.hardware.array.dac_ranges), hw.array.dac_ranges
    (['weight'], None)
    """
    training, question = Training(**options), Task.parse(task)
    must_be_repeatable(data)
    with listening(progress) as tell:
        done = train(
            model,
            Method.parse(method),
            question.examples(data, split="train"),
            hardware=hardware,
            training=training,
            seed=operator.index(seed),
            task=question,
            checkpoint=None if checkpoint is None else Path(checkpoint),
            progress=tell,
        )
    done.warn(stacklevel=3)
    return done
