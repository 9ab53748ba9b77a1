"""The worst chip within a given distance: an attack on the weights, to see how much the average hides."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import field
from typing import Annotated, Any

import torch
from pydantic.dataclasses import dataclass
from torch import Tensor, nn

from everychip.config.arguments import index, number, takes, whole
from everychip.config.columns import TENSOR, VALUES
from everychip.data import Data, Examples, Splits, as_calibration, split_holdout
from everychip.data.inputs import moved, rows_of, taken
from everychip.errors import DataError
from everychip.evaluation.bench import Asked
from everychip.hardware.arguments import HARDWARE, MODEL
from everychip.hardware.hardware import Hardware
from everychip.hardware.placement import Placed
from everychip.mapping.base import full_scale
from everychip.network.modes import evaluating
from everychip.network.running import Runner
from everychip.rng import rng_for, seeded_global_generator
from everychip.scores import ACCURACY, Score
from everychip.tasks import Task

Perturbation = Mapping[str, Annotated[Tensor, TENSOR]]

_HOLDOUT = 0.1
"""The share of the training data that `Training.validation` holds out, by default."""


@dataclass(frozen=True, config=VALUES)
class WorstCase:
    """What the worst perturbation found does beside a random one of equal size: the task's score of each.

    th: the bound on |ΔW|, in units of max|W| of each layer. perturbation: the worst ΔW, by name. score: what
    is judged.
    """

    clean: float
    random: float
    worst: float
    th: float
    perturbation: Perturbation = field(repr=False, compare=False)
    score: Score = ACCURACY

    def __str__(self) -> str:
        digits = 1 if self.score.unit == "%" else None
        worst, random, clean = (
            self.score.text(value, digits=digits) for value in (self.worst, self.random, self.clean)
        )
        return (
            f"|ΔW| ≤ {self.th:g}·max|W|: worst{self.score.named} {worst}, random of equal size {random}, "
            f"clean {clean}"
        )


@takes(
    model=MODEL,
    hardware=HARDWARE,
    th=number(above=0),
    steps=whole(least=1),
    restarts=whole(least=1),
    batch_size=whole(least=1),
    seed=index,
)
def worst_case_search(
    model: nn.Module,
    hardware: Hardware,
    data: Any,
    *,
    th: float,
    task: Task | Mapping[str, Any] | str = "classification",
    steps: int = 20,
    restarts: int = 3,
    test: Any = None,
    batch_size: int = 500,
    seed: int = 0,
) -> WorstCase:
    """Search the crossbar weights' worst perturbation by projected sign ascent of the task's loss L.

    ΔW ← clip(ΔW + η·max|W|·sign(∂L/∂ΔW), ±th·max|W|), `steps` times with η = 2.5·th/steps, from ΔW = 0 and,
    in further restarts, from random points; the ΔW of the worst score on the way is kept, ties to the higher
    loss. The random perturbation has the same magnitudes and random signs; its score is the mean over as many
    draws as there are restarts.

    Args:
        model: the network, any `nn.Module`; it is left as it is.
        hardware: device, mapping and array that it is programmed into.
        data: validation data to search on, in any form that `evaluate` takes, all of it; of an
            `everychip.data` component, which has no validation data of its own, the tenth of its training
            part that `fit` holds out for the same seed.
        th: the bound of |ΔW| / max|W|.
        task: the network's task: a name, a table or one of `everychip.tasks`. Its loss is ascended (of a
            classification cross-entropy), its score judges (accuracy).
        steps: of the ascent.
        restarts: of the ascent, and how many random perturbations.
        test: where the scores are measured (of a component, its test part); None, on the data of the
            search.
        batch_size: inputs that are run at once.
        seed: of all draws, a whole number.

    Returns:
        Scores of the worst and of random perturbations, accuracies being 0 … 1, and the worst one.

    Source: Yan et al., ICCAD 2022, arXiv 2207.07626; the ascent is that of Büchel et al., ICLR 2022.

    >>> import everychip as ec
    >>> model, hw = nn.Linear(4, 2), ec.Hardware(device=ec.devices.Ideal())
    >>> x = torch.randn(64, 4, generator=ec.rng_for(0)); y = model(x).argmax(1)
    >>> found = worst_case_search(model, hw, (x, y), th=0.2)
    >>> found.worst < found.random < found.clean
    True
    """
    asked = Asked.of(task)
    batches = _Batches.of(asked, model, _validation(asked.task, data, seed), batch_size=batch_size)
    placed = Placed.of(model, hardware)
    weights = {name: placed.columns[name].clipped(p.detach()) for name, p in placed.weights.items()}
    bounds = {name: th * full_scale(weight) for name, weight in weights.items()}
    measured = None if test is None else _test(asked.task, test)
    seen = batches if measured is None else _Batches.of(asked, model, measured, batch_size=batch_size)
    best = _Best()
    with evaluating(model):
        for restart in range(restarts):
            rng = rng_for(seed, "worst-case", "start", restart)
            delta = {name: _start(weights[name], bounds[name], restart, rng) for name in weights}
            best = min(best, _ascend(batches, weights, delta, bounds, steps), key=lambda one: one.rank)
        random = [
            seen.score(weights, _random_signs(best.delta, rng_for(seed, "worst-case", "random", n)))
            for n in range(restarts)
        ]
        # The model's own weights, but for those that learned full scales clip.
        clipped = {name: w for name, w in weights.items() if placed.columns[name].full is not None}
        unmoved = {name: torch.zeros_like(w) for name, w in clipped.items()}
        clean, worst = seen.score(weights, unmoved), seen.score(weights, best.delta)
    return WorstCase(clean, sum(random) / restarts, worst, th, best.delta, asked.score)


def _validation(task: Task, data: Any, seed: int) -> Examples:
    every = Examples(as_calibration(data).x) if task.relative else task.examples(data, split="train")
    return split_holdout(every, _HOLDOUT, seed=seed)[1] if isinstance(data, Data | Splits) else every


def _test(task: Task, data: Any) -> Examples:
    try:
        return task.examples(data, split="test")
    except DataError as error:  # the argument is called otherwise here
        where = "test" + error.where.removeprefix("data") if error.where.startswith("data") else error.where
        raise DataError(where, found=error.found, expected=error.expected, remedy=error.remedy) from None


@dataclass(frozen=True, config=VALUES)
class _Best:
    goodness: float = math.inf
    loss: float = -math.inf
    delta: Perturbation = field(default_factory=dict)

    @property
    def rank(self) -> tuple[float, float]:
        return self.goodness, -self.loss


@dataclass(frozen=True, config=VALUES)
class _Batches:
    """A model with the data on which its perturbed weights are measured."""

    runner: Runner
    task: Task
    data: Examples

    @classmethod
    def of(cls, asked: Asked, model: nn.Module, data: Examples, *, batch_size: int) -> _Batches:
        """Of data that suits the task, which is refused here otherwise."""
        return cls(Runner(model, batch_size=batch_size), asked.task, asked.bench(model, data).data)

    def score(self, weights: Perturbation, delta: Perturbation) -> float:
        """Of the model with W + ΔW."""
        with torch.no_grad():
            return self.measure({name: weights[name] + change for name, change in delta.items()})[0]

    def measure(self, chip: Perturbation, *, gradient: bool = False) -> tuple[float, float, list[Tensor]]:
        """The score, the mean loss and, if asked, its gradient at every weight of the chip."""
        loss, slopes, meter = 0.0, [torch.zeros_like(weight) for weight in chip.values()], self.task.meter()
        size = self.runner.batch_size
        for n, x in enumerate(self.runner.batches(self.data.x)):
            y = moved(taken(self.data.y, slice(n * size, (n + 1) * size)), self.runner.device)
            with evaluating(self.runner.model), seeded_global_generator(0, "worst-case"):
                answer = self.task.answer(self.runner.outputs(chip, x))
            part = self.task.loss(answer, y) * (rows_of(x) / len(self.data))
            if gradient:
                found = torch.autograd.grad(
                    part, list(chip.values()), allow_unused=True, materialize_grads=True
                )
                slopes = [s + g for s, g in zip(slopes, found, strict=True)]
            loss += float(part.detach())
            meter.update(answer.detach(), y)
        return meter.compute()[self.task.headline.name], loss, slopes


def _ascend(
    batches: _Batches, weights: Perturbation, delta: Perturbation, bounds: Perturbation, steps: int
) -> _Best:
    """The worst of the points that one ascent passes, its two ends included."""
    best, sign = _Best(), batches.task.headline.sign
    for step in range(steps + 1):
        with torch.enable_grad():
            chip = {name: (weights[name] + delta[name]).requires_grad_() for name in weights}
            found, loss, slopes = batches.measure(chip, gradient=step < steps)
        best = min(best, _Best(sign * found, loss, delta), key=lambda one: one.rank)
        delta = {
            name: (delta[name] + 2.5 / steps * bounds[name] * slope.nan_to_num().sign()).clamp(
                -bounds[name], bounds[name]
            )
            for name, slope in zip(weights, slopes, strict=True)
        }
    return best


def _start(weight: Tensor, bound: Tensor, restart: int, rng: torch.Generator) -> Tensor:
    """Zero for the first ascent, a random point within the bound for the others."""
    if restart == 0:
        return torch.zeros_like(weight)
    return (torch.rand(weight.shape, generator=rng).to(weight) * 2 - 1) * bound


def _random_signs(delta: Perturbation, rng: torch.Generator) -> dict[str, Tensor]:
    return {
        name: change.abs() * (torch.randint(2, change.shape, generator=rng).to(change) * 2 - 1)
        for name, change in delta.items()
    }
