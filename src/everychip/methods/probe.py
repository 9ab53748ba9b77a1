"""What methods with more than one forward per step share: layer outputs, dropout masks, batch-norm peace."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from everychip.methods.base import Objective
from everychip.methods.ovf import running_statistics
from everychip.network.running import Runner
from everychip.network.taps import Taps

FORWARD_ONLY = 1 / 3
"""What a forward without a backward costs, in forwards each with its backward: one product of three."""


def forward_frozen_stats(runner: Runner, chip: Mapping[str, Tensor], x: Tensor) -> Tensor:
    """The logits of a further forward of the step, which leaves batch norm's running statistics alone.

    >>> model = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
    >>> _ = forward_frozen_stats(Runner(model), {}, torch.ones(4, 2))
    >>> int(model[1].num_batches_tracked)
    0
    """
    return runner.logits({**chip, **running_statistics(runner.model)}, x)


@contextmanager
def same_masks(objective: Objective) -> Iterator[None]:
    """Forwards inside draw the dropout masks that the next forward outside draws again."""
    gpus = {weight.device for weight in objective.weights.values() if weight.is_cuda}
    with torch.random.fork_rng(devices=gpus):
        yield


def crossbar_layers(objective: Objective) -> list[str]:
    """The submodules that hold a matrix of the crossbar, by name."""
    rows = objective.placed.rows
    return list(dict.fromkeys(owner for row in rows if row.crossbar for owner in row.owners))


@contextmanager
def outputs(model: nn.Module, names: Iterable[str]) -> Iterator[Taps]:
    """Collect what submodules return, name → tensor, in the forwards run inside.

    A submodule that is never called (attention reads its output layer's weight without calling it) is
    absent; one that is called more than once is read at its last call. A later layer that writes over an
    output does not change what is read.

    >>> model = nn.Sequential(nn.Linear(2, 3), nn.ReLU())
    >>> with outputs(model, ["0"]) as seen:
    ...     _ = model(torch.ones(4, 2))
    >>> {name: tuple(h.shape) for name, h in seen.items()}
    {'0': (4, 3)}
    """
    seen, handles = Taps(), []
    try:
        for name in names:
            handles.append(model.get_submodule(name).register_forward_hook(seen.hook(name)))
        yield seen
    finally:
        for handle in handles:
            handle.remove()
