"""What exits add to training, and nothing to inference: parameters and multiplications of their heads."""

from __future__ import annotations

from pydantic.dataclasses import dataclass
from torch import Tensor, nn

from everychip.config.columns import VALUES
from everychip.exits import Exits
from everychip.methods import Method
from everychip.methods.internal_exits import InternalExits
from everychip.network.macs import trace


@dataclass(frozen=True, config=VALUES)
class ExitCost:
    """What training costs beside one plain forward and backward.

    forwards: of the backbone, each with its backward. parameters, macs: of the heads, per input; both are 0
    without exits, and the heads are dropped after training. of_parameters, of_macs: over the backbone's.
    """

    method: str
    forwards: float
    positions: tuple[str, ...]
    parameters: int
    macs: int
    of_parameters: float
    of_macs: float

    @property
    def factor(self) -> float:
        """Multiplications of a training step over those of a plain one: forwards · (1 + heads / backbone)."""
        return self.forwards * (1 + self.of_macs)


def exit_cost(model: nn.Module, method: Method, sample: Tensor, *, seed: int = 0) -> ExitCost:
    """Count the heads that a method attaches, if it attaches any.

    >>> import torch
    >>> from everychip.methods import IRS
    >>> model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 4))
    >>> found = exit_cost(model, IRS(positions=("1",), hidden=10), torch.ones(2, 8))
    >>> found.macs == 16 * 10 + 10 * 4, round(found.factor, 2)
    (True, 2.04)
    """
    exits = method.exits(model, sample, seed=seed) if isinstance(method, InternalExits) else None
    backbone = trace(model, sample[:1]).total
    parameters = sum(p.numel() for p in model.parameters())
    heads = sum(p.numel() for p in exits.parameters()) if exits else 0
    macs = _products(exits) if exits else 0
    return ExitCost(
        method=method.kind,
        forwards=method.forwards,
        positions=exits.positions if exits else (),
        parameters=heads,
        macs=macs,
        of_parameters=heads / parameters,
        of_macs=macs / backbone,
    )


def _products(exits: Exits) -> int:
    return sum(module.weight.numel() for module in exits.modules() if isinstance(module, nn.Linear))
