"""What every policy is: a way to answer with several outputs, written into a chip's digital numbers."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from everychip.config.component import Component
from everychip.data import Examples
from everychip.errors import DataError
from everychip.exits import MultiExit, multi_exit
from everychip.hardware.hardware import Hardware
from everychip.mitigate import BoundMitigation
from everychip.mitigate.base import random_part
from everychip.rng import rng_for


class Policy(Component, family="policy"):
    """How a network whose exits stay (`everychip.MultiExit`) answers.

    A policy is bound to a model once, and then sets `combination` and `thresholds` of every chip: numbers
    that are computed digitally, and that the network's forward reads. The model is not touched.
    """

    per_chip: ClassVar[bool] = False
    """Whether every chip is measured; tables keep such results apart from those of one network for all."""

    @abstractmethod
    def bind(
        self, model: nn.Module, hardware: Hardware, calibration: Any = None, *, seed: int = 0
    ) -> BoundMitigation:
        """Prepare the policy for one model, once for all its chips.

        Args:
            model: a network with exits; any other is refused.
            hardware: what its chips are programmed into.
            calibration: labelled data that was not trained on, in any form `evaluate` takes, for the policies
                that choose or fit something.
            seed: of the choice of calibration images, and of the chips that thresholds are chosen on.

        Returns:
            What turns a chip into one that answers so.
        """

    def validate_for(
        self, model: nn.Module, hardware: Hardware, calibration: Any = None, *, seed: int = 0
    ) -> None:
        """Refuse before a training what `bind` would refuse after it: here, a network without exits.

        Args:
            model: the network, any `nn.Module`; it is left as it is.
            hardware: device, mapping and array that it is programmed into.
            calibration: training data, in any form that `evaluate` takes.
            seed: of all draws, a whole number.
        """
        self.network(model)

    def network(self, model: nn.Module) -> MultiExit:
        """The network with exits that the model is, or a refusal.

        Args:
            model: the network, any `nn.Module`; it is left as it is.

        Returns:
            The same network, as what it is.
        """
        return multi_exit(model, where=f"policy.{self.kind}")

    def calibration_inputs(self, calibration: Any, count: int, *, classes: int, seed: int) -> Examples:
        """`count` random calibration inputs, every class among them, the same for every chip.

        Args:
            calibration: training data, in any form that `evaluate` takes.
            count: how many.
            classes: how many logits there are.
            seed: of all draws, a whole number.

        Returns:
            The inputs with their labels.
        """
        where = f"policy.{self.kind}"
        taken = random_part(
            calibration,
            count,
            where=where,
            expected="inputs with labels that were not trained on",
            rng=rng_for(seed, "policy"),
        )
        missing = sorted(set(range(classes)) - set(torch.unique(taken.y).tolist()))
        if missing:
            raise DataError(
                f"{where}.images",
                found=f"{count} calibration inputs without any of class {missing[0]}"
                + (f" (and {len(missing) - 1} more)" if len(missing) > 1 else ""),
                expected="inputs of every class",
                remedy="more calibration inputs, or a set that has all classes",
            )
        return taken


def one_hot(network: MultiExit, output: int) -> Tensor:
    """The combination that is one output alone.

    >>> net = MultiExit(nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 4)), torch.ones(2, 8))
    >>> one_hot(net, 1).tolist()
    [0.0, 1.0]
    """
    weights = torch.zeros_like(network.combination.detach())
    weights[output] = 1.0
    return weights
