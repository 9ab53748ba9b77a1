"""Regression: one or several numbers for each input."""

from __future__ import annotations

import math
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from everychip.errors import DataError
from everychip.scores import Score
from everychip.tasks.base import Task, full, refuse_shapes
from everychip.tasks.divergence import full_precision


class Regression(Task):
    """Numbers to be predicted: outputs and targets [n] or [n, k], in the same unit.

    RMSE = √(mean (ŷ − y)²), MAE = mean |ŷ − y|, R2 = 1 − Σ(ŷ − y)² / Σ(y − ȳ)², the mean of several targets.
    Outputs that are no finite numbers make errors infinite and R2 −∞. Chance is the mean of the targets.

    error: what is trained: "squared" (the mean squared error) or "absolute".
    unit: of the targets; printed after the errors, and nothing else.

    Source: torchmetrics' MeanSquaredError, MeanAbsoluteError and R2Score.

    >>> meter = Regression(unit="K").meter()
    >>> meter.update(torch.tensor([1.0, 2.0]), torch.tensor([1.0, 4.0]))
    >>> {name: round(value, 3) for name, value in meter.compute().items()}
    {'RMSE': 1.414, 'MAE': 1.0, 'R2': 0.111}
    """

    error: Literal["squared", "absolute"] = "squared"
    unit: str = ""

    has_scale: ClassVar[bool] = True

    scores: ClassVar[tuple[Score, ...]] = (
        Score("RMSE", higher_is_better=False, within=(0.0, math.inf)),
        Score("MAE", higher_is_better=False, within=(0.0, math.inf)),
        Score("R2", within=(-math.inf, 1.0)),
    )

    @property
    def headline(self) -> Score:
        """The score that is judged, with the unit of the targets."""
        found = super().headline
        unit = "" if found.name == "R2" else self.unit
        return Score(found.name, found.higher_is_better, found.within, unit)

    def validate_for(self, answer: Any, y: Any, *, every: Any = None) -> None:
        """As many targets as outputs, finite numbers."""
        expected = "a number for every output, [n] or [n, k]"
        if not isinstance(y, Tensor) or _columns(answer).shape != _columns(y).shape:
            raise refuse_shapes(answer, y, expected=expected)
        y = y if every is None else every
        if y.is_complex() or not bool(y.isfinite().all()):
            odd = (
                "complex numbers"
                if y.is_complex()
                else f"{int((~y.isfinite()).sum())} NaN or infinite targets"
            )
            raise DataError("y", found=odd, expected="finite real numbers", remedy="leave those rows out")

    def loss(self, answer: Tensor, y: Tensor, *, label_smoothing: float = 0.0) -> Tensor:
        """Mean squared or mean absolute error."""
        z = _columns(answer)
        z = z.float() if z.dtype in (torch.bfloat16, torch.float16) else z
        distance = F.mse_loss if self.error == "squared" else F.l1_loss
        return distance(z, _columns(y).to(z.dtype))

    def divergence(self, true: Tensor, other: Tensor, y: Any = None, *, temperature: float = 1.0) -> Tensor:
        """The mean squared error: a prediction has a scale, and no temperature."""
        t, z = (full_precision(_columns(answer)) for answer in (true, other))
        return F.mse_loss(z, t)

    def meter(self) -> _Errors:
        """Sums of errors in float64."""
        return _Errors()

    def chance(self, y: Tensor) -> float:
        """The score of saying always the mean."""
        target = _columns(y).double()
        meter = self.meter()
        meter.update(target.mean(0, keepdim=True).expand_as(target), target)
        return meter.compute()[self.headline.name]

    def outputs(self, y: Tensor) -> int:
        """The number of targets."""
        return _columns(y).shape[1]


class _Errors:
    def __init__(self) -> None:
        self.metrics, self.finite, self.rows = {}, True, 0  # type: ignore[var-annotated]

    def update(self, answer: Tensor, y: Tensor) -> None:
        z, target = _columns(full(answer)).cpu().double(), _columns(y).cpu().double()
        self.finite = self.finite and bool(z.isfinite().all())
        if not self.metrics:
            self.metrics = _metrics()
        self.rows += len(target)
        for metric in self.metrics.values():
            metric.update(*(_flat(one) for one in (z, target)))

    def compute(self) -> dict[str, float]:
        if not self.finite:
            return {"RMSE": math.inf, "MAE": math.inf, "R2": -math.inf}
        # R2 of one row is not defined: torchmetrics refuses it.
        undefined = {"R2"} if self.rows < 2 else set()
        return {
            name: -math.inf if name in undefined else float(metric.compute())
            for name, metric in self.metrics.items()
        }


def _metrics() -> dict[str, Any]:
    from torchmetrics import regression as known

    made = {
        "RMSE": known.MeanSquaredError(squared=False),
        "MAE": known.MeanAbsoluteError(),
        "R2": known.R2Score(),
    }
    return {name: metric.set_dtype(torch.float64) for name, metric in made.items()}


def _columns(values: Tensor) -> Tensor:
    """[n, k], also where there is one number and no axis for it."""
    return values.reshape(len(values), -1)


def _flat(columns: Tensor) -> Tensor:
    """What torchmetrics takes: whole memory, and no axis for one target, of which R2Score warns."""
    return (columns[:, 0] if columns.shape[1] == 1 else columns).contiguous()
