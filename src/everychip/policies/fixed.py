"""Policies that are the same for every chip and need no data: one output, or all of them combined."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor, nn

from everychip.errors import ConfigError
from everychip.exits.multi_exit import NEVER
from everychip.hardware.hardware import Hardware
from everychip.mitigate import BoundMitigation
from everychip.mitigate.base import Address
from everychip.policies.base import Policy, one_hot


class Combined(Policy):
    """Every input gets the combination of all outputs, z = Σ_n w_n·z_n, as the network was trained.

    >>> Combined().table()
    {'kind': 'combined'}
    """

    def bind(
        self, model: nn.Module, hardware: Hardware, calibration: Any = None, *, seed: int = 0
    ) -> BoundMitigation:
        network = self.network(model)
        return Set(network.combination.detach(), _never(network.thresholds))


class Last(Policy):
    """Every input gets the backbone's own logits: the network as if it had no exits.

    >>> Last().table()
    {'kind': 'last'}
    """

    def bind(
        self, model: nn.Module, hardware: Hardware, calibration: Any = None, *, seed: int = 0
    ) -> BoundMitigation:
        network = self.network(model)
        return Set(one_hot(network, len(network.thresholds)), _never(network.thresholds))


class Only(Policy):
    """Every input gets the logits of one exit. exit: its number, the earliest is 1.

    >>> Only(exit=2).table()
    {'kind': 'only', 'exit': 2}
    """

    exit: Annotated[int, Field(ge=1)] = 1

    def bind(
        self, model: nn.Module, hardware: Hardware, calibration: Any = None, *, seed: int = 0
    ) -> BoundMitigation:
        network = self.network(model)
        if self.exit > len(network.thresholds):
            raise ConfigError(
                "policy.only.exit",
                found=f"exit {self.exit} of a network with {len(network.thresholds)}",
                expected=f"1 … {len(network.thresholds)}",
                remedy='policy = "last" is the backbone alone',
            )
        return Set(one_hot(network, self.exit - 1), _never(network.thresholds))


class Set(BoundMitigation):
    """A chip with a given combination and thresholds."""

    def __init__(
        self, combination: Tensor, thresholds: Tensor, facts: tuple[Mapping[str, Any], ...] = ()
    ) -> None:
        self.combination, self.thresholds, self._facts = combination, thresholds, facts

    def __call__(self, chip: Mapping[str, Tensor], *, seed: int, path: Address) -> dict[str, Tensor]:
        return {**chip, "combination": self.combination, "thresholds": self.thresholds}

    def metadata(self) -> tuple[Mapping[str, Any], ...]:
        return self._facts


def _never(thresholds: Tensor) -> Tensor:
    """Thresholds that no probability reaches."""
    return torch.full_like(thresholds, NEVER)
