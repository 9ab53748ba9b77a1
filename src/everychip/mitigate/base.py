"""What every mitigation is: something done to a programmed chip before it is used."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from everychip.config.component import Component
from everychip.data import Examples, as_calibration
from everychip.errors import ConfigError, DataError
from everychip.hardware.hardware import Hardware
from everychip.rng import rng_for

Address = tuple[str | int, ...]


Metadata = Mapping[str, Any]
"""What is worth reporting of one mitigation: its kind under `mitigation`, then words and numbers."""


class BoundMitigation(ABC):
    """A mitigation bound to one model: chip in, chip out; the chip it was given stays as it is."""

    @abstractmethod
    def __call__(self, chip: Mapping[str, Tensor], *, seed: int, path: Address) -> dict[str, Tensor]:
        """The chip as it is after the mitigation; (seed, *path) is the address it was programmed at."""

    def metadata(self) -> tuple[Metadata, ...]:
        """What a report says of it beside the accuracies, the same for every chip; nothing by default."""
        return ()


class Mitigation(Component, family="mitigation"):
    """What is done to a trained model's chips after programming, before they are used."""

    per_chip: ClassVar[bool] = True
    """Whether every chip is measured or written again; tables keep such results apart from "population"."""

    @abstractmethod
    def bind(
        self, model: nn.Module, hardware: Hardware, calibration: Any = None, *, seed: int = 0
    ) -> BoundMitigation:
        """Prepare the mitigation for one model, once for all its chips.

        Args:
            model: the network, any `nn.Module`; it is left as it is.
            hardware: device, mapping and array that it is programmed into.
            calibration: training data, in any form that `evaluate` takes.
            seed: which calibration data are used.

        Returns:
            What is done to each chip.
        """

    def validate_for(
        self, model: nn.Module, hardware: Hardware, calibration: Any = None, *, seed: int = 0
    ) -> None:
        """Refuse at once, and before a training, what `bind` would refuse after it; nothing by default.

        Args:
            model: of the layers that are to be treated, with any weights.
            hardware: device, mapping and array that it is programmed into.
            calibration: training data, in any form that `evaluate` takes.
            seed: which calibration data are used.
        """

    def calibration_images(self, calibration: Any, images: int, *, seed: int) -> Examples:
        """As many random training images as this mitigation uses, the same ones for every chip.

        Args:
            calibration: training data, in any form that `evaluate` takes.
            images: how many.
            seed: of all draws, a whole number.

        Returns:
            The images, with their labels where there are any.
        """
        return random_part(
            calibration,
            images,
            where=f"mitigation {self.kind}",
            expected="training images to measure the chip with",
            rng=rng_for(seed, "calibration"),
        )


def random_part(calibration: Any, count: int, *, where: str, expected: str, rng: torch.Generator) -> Examples:
    """`count` random inputs of the calibration data, or a line that says what it lacks.

    Args:
        calibration: data in any form `evaluate` takes, or None.
        count: how many inputs are taken.
        where: who asks, at the head of the line.
        expected: what the data is for.
        rng: of the choice.
    """
    if calibration is None:
        raise ConfigError(
            where, found="no calibration data", expected=expected, remedy="evaluate(…, calibration=(x, y))"
        )
    data = as_calibration(calibration)
    if len(data) < count:
        raise DataError(
            f"{where}.images",
            found=f"{len(data)} calibration images",
            expected=f"at least the {count} that are requested",
            remedy=f"images = {len(data)}",
        )
    return data.take(torch.randperm(len(data), generator=rng)[:count])
