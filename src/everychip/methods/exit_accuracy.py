"""How accurate each exit is on chips, beside its backbone: what training logs of a method's exits."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from everychip.chip import disturb, run
from everychip.data import Arrays
from everychip.exits import MultiExit
from everychip.exits.outputs import all_outputs
from everychip.layouts import laid_out
from everychip.methods.base import Objective
from everychip.modes import evaluating

BATCH = 500


@torch.no_grad()
def exit_accuracies(
    objective: Objective, data: Arrays, *, chips: int, layout: torch.memory_format
) -> dict[str, float]:
    """The mean accuracy of every exit over chips of validation, as `exit1`, `exit2`, …, earliest first.

    Exits that a method attaches and drops are programmed beside the backbone of the same chip. Of a network
    whose exits stay the backbone alone is told, too, as `backbone`. Empty where there are no exits.
    """
    if objective.exits is None and not isinstance(objective.model, MultiExit):
        return {}
    device = next(objective.model.parameters()).device
    hits: Tensor | float = 0.0
    with evaluating(objective):
        for chip in range(chips):
            written = _programmed(objective, chip)
            for images, labels in zip(torch.split(data.x, BATCH), torch.split(data.y, BATCH), strict=True):
                batch = laid_out(images.to(device), layout)
                outputs = _outputs(objective, written, batch)
                hits = hits + (outputs.argmax(-1) == labels.to(device)).double().sum(-1).cpu()
    shares = (torch.as_tensor(hits) / (chips * len(data))).tolist()
    named = {f"exit{n}": share for n, share in enumerate(shares, 1)}
    if isinstance(objective.model, MultiExit):
        named["backbone"] = named.pop(f"exit{len(shares)}")
    return named


def _programmed(objective: Objective, chip: int) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The chip of the model and that of the exits beside it."""
    path = ("validate", chip)
    written = disturb(
        objective.weights, objective.hardware, seed=objective.seed, path=path, columns=objective.columns
    )
    if objective.exits is None:
        return written, {}
    heads = {name: p for name, p in objective.exits.named_parameters() if p.ndim >= 2}
    hardware = getattr(objective.method, "exit_device", None)
    cells = objective.hardware if hardware is None else objective.hardware.replace(device=hardware)
    return written, disturb(heads, cells, seed=objective.seed, path=(*path, "exits"))


def _outputs(objective: Objective, written: tuple[Mapping[str, Tensor], ...], x: Tensor) -> Tensor:
    chip, heads = written
    if isinstance(objective.model, MultiExit):
        return all_outputs(objective.model, chip, x)
    assert objective.exits is not None
    with objective.exits.tap(objective.model) as taps:
        run(objective.model, chip, x)
    return torch.stack(objective.exits.logits(taps, chip=heads))
