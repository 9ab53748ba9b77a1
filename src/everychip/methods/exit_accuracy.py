"""How accurate each exit is on chips, beside its backbone: what training logs of a method's exits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from everychip.data import Examples
from everychip.exits import MultiExit
from everychip.exits.outputs import running_all_outputs
from everychip.methods.base import Objective
from everychip.network.modes import evaluating
from everychip.network.running import Runner


@torch.no_grad()
def exit_accuracies(
    objective: Objective, data: Examples, *, chips: int, layout: torch.memory_format
) -> dict[str, float]:
    """The mean accuracy of every exit over chips of validation, as `exit1`, `exit2`, …, earliest first.

    Exits that a method attaches and drops are programmed beside the backbone of the same chip. Of a network
    whose exits stay the backbone alone is told, too, as `backbone`. Empty where there are no exits.
    """
    if objective.exits is None and not isinstance(objective.model, MultiExit):
        return {}
    runner = objective.runner
    if isinstance(objective.model, MultiExit):
        runner = running_all_outputs(objective.model)
    runner = replace(runner, memory_format=layout)
    hits: Tensor | float = 0.0
    with evaluating(objective):
        for chip in range(chips):
            written = _programmed(objective, chip)
            labels = torch.split(data.y, runner.batch_size)
            for batch, y in zip(runner.batches(data.x), labels, strict=True):
                outputs = _outputs(objective, runner, written, batch)
                hits = hits + (outputs.argmax(-1) == y.to(outputs.device)).double().sum(-1).cpu()
    shares = (torch.as_tensor(hits) / (chips * len(data))).tolist()
    named = {f"exit{n}": share for n, share in enumerate(shares, 1)}
    if isinstance(objective.model, MultiExit):
        named["backbone"] = named.pop(f"exit{len(shares)}")
    return named


def _programmed(objective: Objective, chip: int) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The chip of the model and that of the exits beside it."""
    path, placed = ("validate", chip), objective.placed
    written = placed.program(seed=objective.seed, path=path)
    if objective.exits is None:
        return written, {}
    heads = {name: p for name, p in objective.exits.named_parameters() if p.ndim >= 2}
    hardware = getattr(objective.method, "exit_device", None)
    cells = objective.hardware if hardware is None else objective.hardware.replace(device=hardware)
    beside = placed.with_hardware(cells).with_weights(heads)
    return written, beside.program(seed=objective.seed, path=(*path, "exits"))


def _outputs(
    objective: Objective, runner: Runner, written: tuple[Mapping[str, Tensor], ...], x: Tensor
) -> Tensor:
    chip, heads = written
    if objective.exits is None:
        return runner.logits(chip, x)
    with objective.exits.tap(objective.model) as taps:
        runner.logits(chip, x)
    return torch.stack(objective.exits.logits(taps, chip=heads))
