"""How a method is trained: epochs, rate, schedule, validation."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from everychip.config.component import Config, refusal
from everychip.config.switches import OnRequest
from everychip.data import Augment
from everychip.network.running import Precision
from everychip.training.optimizers import Optimizer, Schedule


def _trains(epochs: Any) -> Any:
    """Refuse no epochs at all, and say what measures a network as it is."""
    if epochs == 0 and not isinstance(epochs, bool):
        raise refusal(
            (),
            "0",
            "at least 1; what measures a network without training it is everychip.evaluate in Python, and "
            "`everychip evaluate` on the command line",
        )
    return epochs


class Training(Config):
    """How a method is trained.

    lr: the learning rate at the start. schedule: "cosine" falls to 0 over all steps, "step" to a tenth of lr
    for the last fifth of them. validation: the share of the training data kept for choosing the epoch.
    validation_chips, validation_images: how many chips, disjoint from those of any evaluation, meet how many
    of them after each epoch. precision: of the products. passes: what the training may cost, in passes over
    its data forward and backward, in place of epochs: a method of twice the cost a step
    (`Method.forwards`) gets half the steps, so methods compare at equal compute; the last epoch may be a part
    of one. average: d of an average over the steps, of all weights and statistics,
    W̄ ← d·W̄ + (1 − d)·W, which is then validated and kept in place of the last.
    keep: "last" returns the weights of the last epoch; absent, those of the best on validation.
    optimizer: "adam", "adamw" (whose weight_decay is apart from the gradient) or "sgd". warmup: the share of
    the steps over which the rate rises to that of the schedule, evenly. rates: factors of the rate for the
    parameters of a pattern, the first that matches counting: { "head" = 10, "*.bias" = 0.1 }. parts: each
    batch goes through the network in so many parts, one after another on the same chip, whose gradients add
    up to that of the batch, for less memory (batch norm then takes the statistics of a part). recompute:
    modules whose activations are not kept but computed again in the backward, by pattern: ["blocks.*"].
    redraw: chips are not kept for the backward but drawn there again, equal to the bit, for less memory
    (weights in float32; neither tiles nor noise_gradient = "clean").

    Source: Adam, cosine, batch 128, lr 1e-3 are those of arXiv 2305.14561 for VGG-8 (over 200 epochs);
    averaging: Polyak and Juditsky, SIAM J. Control Optim. 30 (1992), exponential as in PyTorch's swa_utils;
    the step: the public code of Büchel et al., ICLR 2022 (32 epochs and 8 of a tenth of the rate); AdamW:
    Loshchilov and Hutter, ICLR 2019; recomputation: Chen et al., arXiv 1604.06174.

    >>> Training(epochs=3).optimizer
    'adam'
    """

    epochs: Annotated[int, Field(ge=1, le=1_000_000), BeforeValidator(_trains)] = 10
    passes: Annotated[float, Field(gt=0, le=1_000_000)] | None = None
    batch_size: Annotated[int, Field(ge=2, le=1_000_000_000)] = 128
    lr: Annotated[float, Field(gt=0)] = 1e-3
    optimizer: Optimizer = "adam"
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    schedule: Schedule = "cosine"
    precision: Precision = "float32"
    validation: Annotated[float, Field(gt=0, lt=1)] = 0.1
    validation_chips: Annotated[int, Field(ge=1, le=1_000_000)] = 4
    validation_images: Annotated[int, Field(ge=1)] = 1000
    average: Annotated[float, Field(gt=0, lt=1)] | None = None
    keep: Literal["last"] | None = None
    augment: Augment | None = None
    warmup: Annotated[float, Field(gt=0, lt=1)] | None = None
    rates: dict[str, Annotated[float, Field(gt=0, le=1_000_000)]] | None = None
    parts: Annotated[int, Field(ge=2, le=1_000_000)] | None = None
    recompute: tuple[str, ...] | None = None
    redraw: OnRequest = None

    def steps(self, batches: int, *, forwards: float) -> int:
        """How many steps training has, of so many batches an epoch and so many forwards a step.

        >>> Training(epochs=3).steps(100, forwards=4), Training(passes=3).steps(100, forwards=4)
        (300, 75)
        """
        if self.passes is None:
            return self.epochs * batches
        return max(1, math.floor(self.passes * batches / forwards))
