"""What a training gives: the model, how it went, and the hardware that the model belongs to."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

from torch import nn

from everychip.errors import ConfigError
from everychip.hardware.hardware import Hardware
from everychip.hardware.learned import Learned
from everychip.methods import Method
from everychip.statistics.outcome import Status, words_of


@dataclass(frozen=True)
class Fitted:
    """A trained model and how its training went.

    hardware: what its chips are programmed into, with the full scales that were learned (`LearnedInputs`,
    `LearnedScales`); else what it was trained for. learned: these alone; None, there are none.
    """

    model: nn.Module
    history: list[dict[str, float]]
    status: Status
    words: str
    best_epoch: int
    forwards: int
    hardware: Hardware
    learned: Learned | None = None

    def warn(self, *, stacklevel: int) -> None:
        """Warn of a training that diverged or stayed at chance, and say what to try."""
        if self.status != "above_chance":
            warnings.warn(f"training {words_of(self.status)}: {self.words}", stacklevel=stacklevel)


def must_learn_weights_alone(method: Method) -> None:
    """Refuse a method that learns more than `fit` returns."""
    if method.inputs is not None or method.scales is not None:
        raise ConfigError(
            f"method {method.kind}",
            found="full scales to be learned, which are no part of the model that fit returns",
            expected="a method without inputs and scales",
            remedy="everychip.fitted(…), whose result has .model and the .hardware that it belongs to",
        )
