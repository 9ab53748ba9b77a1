"""Several chips of one network run in one call."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from everychip.data import Examples
from everychip.data.inputs import in_batches, moved, taken
from everychip.errors import ModelError
from everychip.network.exclusive import exclusive
from everychip.network.modes import evaluating
from everychip.network.running import Runner


class NotTogetherError(ModelError):
    """Why chips cannot be run in one call, such as memory that ends in the midst of them."""

    def __init__(self, found: str) -> None:
        super().__init__("several chips in one call", found=found, expected="chips one by one: at_once = 1")


def each_together(
    runner: Runner, chips: Mapping[str, Tensor], data: Examples, take: Callable[[Any, Any], None]
) -> None:
    """Run several chips over all inputs in evaluation mode and hand every batch's output over.

    A call takes the memory of so many batches. Logits are those of chips run one by one but for rounding.

    Args:
        runner: of the network.
        chips: programmed tensors by name, [chips, …] each.
        data: inputs with targets.
        take: takes the network's output of a batch, every tensor of it [chips, …], and the batch's targets.

    Raises:
        NotTogetherError: a network that draws in evaluation or that vmap cannot run.
    """
    every = {alias: chips[name] for name in chips for alias in runner.aliases.get(name, (name,))}
    model, size, device = runner.model, runner.batch_size, runner.device
    with torch.no_grad(), exclusive(model, parts=runner.parts), evaluating(model), runner.autocast():
        # As they come: stacked kernels run faster on images that are not channels-last.
        for n, x in enumerate(moved(batch, device) for batch in in_batches(data.x, size)):
            y = None if data.y is None else moved(taken(data.y, slice(n * size, (n + 1) * size)), device)
            take(_outputs(runner, every, x), y)


def stacked(chips: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """Programmed tensors of several chips, of the same names and shapes, as [chips, …] by name.

    Raises:
        NotTogetherError: chips on tiles.
    """
    if any(type(tensor) not in (Tensor, nn.Parameter) for chip in chips for tensor in chip.values()):
        raise NotTogetherError("chips on the tiles of an array")
    return {name: torch.stack([chip[name] for chip in chips]) for name in chips[0]}


def _outputs(runner: Runner, every: dict[str, Tensor], x: Any) -> Any:
    try:
        return runner.vectorised(every, runner.typed(x))
    except (RuntimeError, NotImplementedError, ValueError, TypeError) as error:
        words = " ".join(str(error).split()) or type(error).__name__
        raise NotTogetherError(f"a network that torch.func.vmap cannot run: {words[:200]}") from error
