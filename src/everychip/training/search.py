"""Hyper-parameter search on validation chips, with the same small budget for every method."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from torch import nn

from everychip.config.arguments import index, number, one_of, optional, takes, whole
from everychip.config.component import merge
from everychip.config.validation import must_be
from everychip.data import Examples, split_holdout
from everychip.errors import ConfigError
from everychip.evaluation.draws import Draws
from everychip.evaluation.monte_carlo import evaluate
from everychip.hardware.arguments import HARDWARE, MODEL
from everychip.hardware.hardware import Hardware
from everychip.methods import Method
from everychip.progress import Event, Listener, listening, quiet
from everychip.rng import rng_for, seed_for
from everychip.scores import ACCURACY
from everychip.scores import Score as Judged
from everychip.statistics.outcome import words_of as outcome
from everychip.statistics.percentiles import kpp
from everychip.tasks import Task
from everychip.training.config import Training
from everychip.training.loop import Fitted, train

Score = Literal["kpp", "mean"]


@dataclass(frozen=True)
class Trial:
    """One setting of a method: what it scored on validation chips, and what it cost in forwards."""

    settings: dict[str, Any]
    method: Method
    score: float
    mean: float
    kpp: float
    fitted: Fitted


@dataclass(frozen=True)
class Search:
    """Every trial of a search, in the order they ran."""

    trials: tuple[Trial, ...]
    by: Score

    judged: Judged = ACCURACY

    @property
    def best(self) -> Trial:
        """The trial of the best score, which of an error is the lowest; of equals, the earliest."""
        return max(self.trials, key=lambda trial: self.judged.sign * trial.score)

    def __str__(self) -> str:
        lines = []
        for trial in self.trials:
            words = ", ".join(f"{key} = {value}" for key, value in trial.settings.items()) or "as given"
            digits = 1 if self.judged.unit == "%" else None
            mean, tail = (self.judged.text(value, digits=digits) for value in (trial.mean, trial.kpp))
            numbers = f"mean{self.judged.named} {mean}, KPP {tail}"
            best = f"; the best by {self.by}" if trial is self.best else ""
            lines.append(f"{words}: {numbers}, {outcome(trial.fitted.status)}{best}")
        return "\n".join(lines)


@takes(
    model=MODEL,
    hardware=HARDWARE,
    by=one_of(*get_args(Score)),
    k=number(above=0, below=100),
    chips=whole(least=1),
    trials=optional(whole(least=1)),
    share=number(above=0, below=1),
    seed=index,
)
def search(
    model: nn.Module,
    method: Method | Mapping[str, Any] | str,
    grid: Mapping[str, Sequence[Any]],
    data: Any,
    *,
    hardware: Hardware,
    by: Score = "kpp",
    k: float = 5.0,
    chips: int = 40,
    trials: int | None = None,
    share: float = 0.1,
    task: Task | Mapping[str, Any] | str = "classification",
    seed: int = 0,
    progress: Listener | None = None,
    **options: Any,
) -> Search:
    """Train copies of the model under every setting of a grid and score each on validation chips.

    grid: values by field of the method, dotted for fields of its parts: {"beta": (0.01, 0.1),
    "constraint.alpha": (1.5, 2.0)}. trials: a budget; of a larger grid a random part of that size is taken,
    the same one for the same seed. by: KPP_k (its order statistic) or the mean of the task's score, such as
    accuracy. share: of the training data kept for the score; chips and images of the score are neither those
    that choose an epoch nor those of any evaluation. task: the network's task. options: the fields of
    `Training`. The given model stays as it is.

    Source: the automated choice of σ_t and th in Yan et al., ICCAD 2023, arXiv 2307.15853, as a plain grid.

    >>> import torch, everychip as ec
    >>> x = torch.randn(256, 4, generator=ec.rng_for(0)); y = (x[:, 0] > 0).long()
    >>> hw = ec.Hardware(device=ec.devices.Gaussian(sigma=0.1))
    >>> found = search(torch.nn.Linear(4, 2), ec.methods.Censored(), {"threshold": (0.5, 1.0)}, (x, y),
    ...                hardware=hw, chips=4, epochs=1, lr=0.1)
    >>> len(found.trials), found.best.score == max(trial.score for trial in found.trials)
    (2, True)
    """
    training, method, task = Training(**options), Method.parse(method), Task.parse(task)
    chosen = settings(grid, limit=trials, seed=seed)
    variants = [varied(method, setting) for setting in chosen]
    kept, held = split_holdout(task.examples(data, split="train"), share, seed=seed_for(seed, "search"))
    done = []
    with listening(progress) as tell:
        for setting, variant in zip(chosen, variants, strict=True):
            how: dict[str, Any] = {"training": training, "seed": seed, "task": task}
            fitted = train(copy.deepcopy(model), variant, kept, hardware=hardware, **how)
            draws = _on_validation_chips(fitted.model, fitted.hardware, kept, held, chips=chips, **how)
            mean, tail = float(draws.values.mean()), kpp(draws.values, k=k, score=draws.score).estimate
            done.append(Trial(setting, variant, tail if by == "kpp" else mean, mean, tail, fitted))
            tell(Event("trials", len(done), len(chosen), {"score": done[-1].score}))
    return Search(tuple(done), by, task.headline)


def _on_validation_chips(
    model: nn.Module,
    hardware: Hardware,
    kept: Examples,
    held: Examples,
    *,
    training: Training,
    chips: int,
    seed: int,
    task: Task,
) -> Draws:
    return evaluate(
        model,
        hardware,
        held,
        task=task,
        chips=chips,
        seed=seed_for(seed, "search"),
        purpose="validate",
        precision=training.precision,
        calibration=None if not hardware.arrays else kept,
        progress=quiet,
    )


def settings(
    grid: Mapping[str, Sequence[Any]], *, limit: int | None = None, seed: int = 0
) -> list[dict[str, Any]]:
    """The settings of a grid, the last field varying fastest; at most `limit`, drawn at random.

    >>> settings({"a": (1, 2), "b": ("x",)})
    [{'a': 1, 'b': 'x'}, {'a': 2, 'b': 'x'}]
    """
    if limit is not None:
        must_be(limit, "search.trials", whole=True, least=1)
    every = [dict(zip(grid, values, strict=True)) for values in itertools.product(*_values(grid))]
    if limit is None or limit >= len(every):
        return every
    drawn = torch.randperm(len(every), generator=rng_for(seed, "search"))[:limit].sort().values
    return [every[n] for n in drawn.tolist()]


def _values(grid: Any) -> list[list[Any]]:
    if not isinstance(grid, Mapping):
        raise ConfigError(
            "search.grid", found=repr(grid), expected='lists by field, as in {"beta": [0.1, 1]}'
        )
    lists = []
    for name, values in grid.items():
        several = isinstance(values, Iterable) and not isinstance(values, str | bytes | Mapping | Set)
        lists.append(list(values) if several else [])
        if not lists[-1] or not isinstance(name, str):
            raise ConfigError(
                f"search.grid.{name}", found=repr(values), expected="a list of at least one value, in order"
            )
    return lists


def varied(method: Method, setting: Mapping[str, Any]) -> Method:
    """The method with some fields changed, by dotted name.

    >>> from everychip.methods import NoiseInjection
    >>> varied(NoiseInjection(), {"constraint.kind": "clip", "constraint.alpha": 2.0}).constraint
    Clip(alpha=2.0)
    """
    table = method.table()
    for key, value in setting.items():
        change: Any = value
        for part in reversed(key.split(".")):
            change = {part: change}
        table = merge(table, change)
    return Method.parse(table, where=f"method {method.kind}")
