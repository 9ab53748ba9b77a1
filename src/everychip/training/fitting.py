"""Training in Python: `fit` gives the model, `fitted` all that a training gives."""

from __future__ import annotations

import operator
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Unpack

from torch import nn

from everychip.config.arguments import a, index, optional, takes
from everychip.data.repeatable import must_be_repeatable
from everychip.hardware.arguments import HARDWARE, MODEL
from everychip.hardware.hardware import Hardware
from everychip.methods import Method
from everychip.progress import Progress, listening
from everychip.tasks import Task
from everychip.training.config import Training
from everychip.training.fitted import Fitted, must_learn_weights_alone
from everychip.training.loop import train
from everychip.training.options import TrainingOptions

_takes = takes(
    model=MODEL, hardware=HARDWARE, seed=index, checkpoint=optional(a((str, Path), "the path of a file"))
)


@_takes
def fit(
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
) -> nn.Module:
    """Train the model by a method and return the same model, as it was after its best validated epoch.

    It goes on from the weights that the model has. One that diverged or stayed at chance warns, and says what
    to try.

    Args:
        model: any network that answers the task; by default one row of logits per input, [n, classes].
        method: a component, its table or its kind: `ec.methods.IRS(beta=0.1)`, "noise_injection".
        data: (x, y), a DataLoader, a table of the hub or an `everychip.data` component (its training part);
            it is read once, a loader's batches and order do not count, and items that change from read to
            read are refused (`augment` changes them anew in every epoch).
        hardware: what the chips of training and validation are.
        seed: of chips, order and augmentation.
        task: the network's task, as a component, its table or its kind (`everychip.tasks`).
        checkpoint: a file that is written after each epoch and resumed from, to the bit.
        progress: True, a bar; False, none; absent, one on a terminal; or a function of `progress.Event`.
        options: the fields of `Training`: epochs, batch_size, lr, …

    Returns:
        The same model, in evaluation mode.

    >>> import torch, everychip as ec
    >>> x = torch.randn(256, 4, generator=ec.rng_for(0)); y = (x[:, 0] > 0).long()
    >>> model = torch.nn.Linear(4, 2)
    >>> hw = ec.Hardware(device=ec.devices.Gaussian(sigma=0.1))
    >>> model = fit(model, "noise_injection", (x, y), hardware=hw, epochs=5, batch_size=16, lr=0.1)
    >>> bool(((model(x).argmax(1) == y).float().mean()) > 0.9)
    True
    """
    training, how = Training(**options), Method.parse(method)
    must_learn_weights_alone(how)
    return _trained(model, how, data, hardware, training, seed, task, checkpoint, progress).model


@_takes
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
    training, how = Training(**options), Method.parse(method)
    return _trained(model, how, data, hardware, training, seed, task, checkpoint, progress)


def _trained(
    model: nn.Module,
    method: Method,
    data: Any,
    hardware: Hardware,
    training: Training,
    seed: int,
    task: Task | Mapping[str, Any] | str,
    checkpoint: str | Path | None,
    progress: Progress,
) -> Fitted:
    """Train, show how it goes, and warn the caller of `fit` or `fitted` of a training that failed."""
    question = Task.parse(task)
    must_be_repeatable(data)
    with listening(progress) as tell:
        done = train(
            model,
            method,
            question.examples(data, split="train"),
            hardware=hardware,
            training=training,
            seed=operator.index(seed),
            task=question,
            checkpoint=None if checkpoint is None else Path(checkpoint),
            progress=tell,
        )
    done.warn(stacklevel=5)  # past this function, its caller and the check of the caller's arguments
    return done
