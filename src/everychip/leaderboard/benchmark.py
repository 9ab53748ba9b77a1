"""Measuring networks on a task of the leaderboard: the same code for its table and for its users."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from everychip.config.arguments import a, takes
from everychip.config.validation import must_be
from everychip.data import Splits
from everychip.errors import ConfigError, ModelError
from everychip.evaluation.draws import Draws
from everychip.evaluation.measuring import measure
from everychip.evaluation.monte_carlo import evaluate
from everychip.leaderboard.entry import Entry, Training
from everychip.leaderboard.task import LeaderboardTask
from everychip.progress import Progress
from everychip.statistics.verdict import Verdict, summarize
from everychip.study.compute import Compute
from everychip.study.environment import environment
from everychip.study.start import weights_hash


@dataclass(frozen=True)
class Benchmark:
    """What networks reached on a task: draws, digital accuracy and weights' hash of each training seed."""

    task: LeaderboardTask
    draws: Mapping[int, Draws]
    digital: Mapping[int, float]
    weights: Mapping[int, str]

    @property
    def verdict(self) -> Verdict:
        """The statistics of all chips; over seeds where there are three or more."""
        return summarize({seed: draws.accuracy for seed, draws in self.draws.items()})

    def __str__(self) -> str:
        digital = sum(self.digital.values()) / len(self.digital)
        return f"{self.task.id}: digital {100 * digital:.1f} %; on chips {self.verdict}"

    def entry(
        self,
        *,
        method: str,
        recipe: str,
        selection: str,
        authors: str = "",
        link: str = "",
        claimed: float | None = None,
        unreliable: str = "",
    ) -> Entry:
        """The entry of these measurements; `entry.write("mine.json")` makes the file.

        Args:
            method: what it is called.
            recipe: all that makes the weights again, as text.
            selection: "validation" or "none", see `Entry`.
            authors, link: who and where.
            claimed: the mean accuracy that is reported elsewhere, 0 … 1.
            unreliable: why the number is not to be trusted, if so.

        Returns:
            The entry; `entry.refusals()` says what keeps it from the table.
        """
        trainings = tuple(
            Training(
                seed=seed,
                weights=self.weights[seed],
                digital=self.digital[seed],
                accuracy=tuple(draws.accuracy.tolist()),
            )
            for seed, draws in self.draws.items()
        )
        about: dict[str, Any] = {
            "method": method,
            "recipe": recipe,
            "selection": selection,
            "authors": authors,
            "link": link,
        }
        return Entry(
            task=self.task.id,
            trainings=trainings,
            claimed=claimed,
            unreliable=unreliable,
            environment=environment(Compute()),
            **about,
        )


@takes(
    model=a((nn.Module, Mapping), "a network, or those of several training seeds by seed"),
    task=a((str, Path, LeaderboardTask), "the name of a task, its TOML file, or a LeaderboardTask"),
)
def benchmark(
    model: nn.Module | Mapping[int, nn.Module],
    task: str | Path | LeaderboardTask,
    *,
    progress: Progress = None,
) -> Benchmark:
    """Measure trained networks on a task of the leaderboard, as its table does.

    Args:
        model: one network, or those of several training seeds by seed; an entry needs three.
        task: such as "cifar10-vgg8w16-rram1-0.4@1", a TOML file, or a `LeaderboardTask`.
        progress: as in `everychip.evaluate`.

    Returns:
        Draws, digital accuracy and weights' hash of each.

    Raises:
        ModelError: where the network is not the task's, or larger than it allows.

    >>> import everychip as ec
    >>> net = ec.models.MLP(hidden=(32,)).build((1, 8, 8), 10)
    >>> done = benchmark(net, "digits-mlp-gaussian-0.2@1")
    >>> len(done.draws[0]), done.entry(method="none", recipe="", selection="").refusals()[0]
    (50, 'trainings: found 1 seeds; expected at least 3')
    """
    chosen = LeaderboardTask.of(task)
    networks = {0: model} if isinstance(model, nn.Module) else _by_seed(model)
    splits = chosen.data.load()
    for network in networks.values():
        _must_be_allowed(network, chosen, splits)
    draws = {
        seed: evaluate(
            network,
            chosen.hardware,
            splits.test,
            chips=chosen.chips,
            seed=chosen.chip_seed,
            calibration=None if chosen.hardware.array is None else splits.train,
            progress=progress,
        )
        for seed, network in networks.items()
    }
    digital = {seed: measure(network, {}, splits.test)["accuracy"] for seed, network in networks.items()}
    hashes = {seed: weights_hash(network.state_dict()) for seed, network in networks.items()}
    return Benchmark(chosen, draws, digital, hashes)


def _by_seed(models: Mapping[int, nn.Module]) -> dict[int, nn.Module]:
    if not models:
        raise ConfigError("benchmark.model", found="no network", expected="one for each training seed")
    for seed, network in models.items():
        must_be(seed, "benchmark.model, a training seed", whole=True, least=0)
        a(nn.Module, "a network")(network, f"benchmark.model[{seed}]")
    return dict(models)


def _must_be_allowed(model: nn.Module, task: LeaderboardTask, splits: Splits) -> None:
    if task.network is None:
        size = sum(parameter.numel() for parameter in model.parameters())
        if task.most_parameters is not None and size > task.most_parameters:
            raise ModelError(task.id, found=f"{size} parameters", expected=f"at most {task.most_parameters}")
        return
    own = {name: list(value.shape) for name, value in model.state_dict().items()}
    asked = task.network.build(splits.input_shape, splits.classes)
    theirs = {name: list(value.shape) for name, value in asked.state_dict().items()}
    if own != theirs:
        name = next(name for name in (*own, *theirs) if own.get(name) != theirs.get(name))
        raise ModelError(
            task.id,
            found=f"{name} of shape {own.get(name)}",
            expected=f"the task's network, {theirs.get(name)}",
        )
