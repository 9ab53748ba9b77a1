"""The keyword arguments of `fit` beside its own, typed so that editors complete them."""

from __future__ import annotations

from typing import Literal, TypedDict

from everychip.data import Augment
from everychip.network.running import Precision
from everychip.training.optimizers import Optimizer, Schedule


class TrainingOptions(TypedDict, total=False):
    """The fields of `Training`, whose docstring explains them and whose bounds hold."""

    epochs: int
    passes: float | None
    batch_size: int
    lr: float
    optimizer: Optimizer
    momentum: float
    weight_decay: float
    schedule: Schedule
    precision: Precision
    validation: float
    validation_chips: int
    validation_images: int
    average: float | None
    keep: Literal["last"] | None
    augment: Augment | None
    warmup: float | None
    rates: dict[str, float] | None
    parts: int | None
    recompute: tuple[str, ...] | None
    redraw: bool | None
