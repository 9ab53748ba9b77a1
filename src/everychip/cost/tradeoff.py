"""Accuracy against multiplications: a network whose exits stay, answered in every way on the same chips."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pydantic.dataclasses import dataclass
from torch import nn

from everychip.config.columns import VALUES
from everychip.cost.answers import Answer, answers
from everychip.data import as_arrays
from everychip.errors import ConfigError
from everychip.evaluation.draws import Draws
from everychip.evaluation.monte_carlo import evaluate
from everychip.exits import multi_exit
from everychip.hardware.hardware import Hardware
from everychip.policies import Combined, Early, Last, Only, Policy

if TYPE_CHECKING:
    import altair as alt

LOSSES = (0.005, 0.01, 0.02, 0.05)
"""The losses ε that `Early` is tried with."""


@dataclass(frozen=True, config=VALUES)
class Tradeoff:
    """One network's ways to answer, each with the draws of its chips and what an input takes.

    labels: what to call each. answers: MACs, layers, energy and time per input. draws: of the same chips.
    left_out: losses that `Early` cannot keep on these chips, and why.
    """

    labels: tuple[str, ...]
    answers: tuple[Answer, ...]
    draws: tuple[Draws, ...]
    left_out: tuple[str, ...] = ()

    def plot(self) -> alt.LayerChart:
        """Accuracy against MACs, with the band of 90 % of the chips.

        Returns:
            An Altair chart: a notebook shows it, and `.save("tradeoff.svg")` writes it.
        """
        from everychip.charts.macs_chart import Point, altair_chart

        rows = zip(self.labels, self.answers, self.draws, strict=True)
        return altair_chart(
            [
                Point.of(label, answer.name, answer.macs, draws.verdict(), draws.accuracy.tolist())
                for label, answer, draws in rows
            ]
        )

    def __str__(self) -> str:
        rows = zip(self.labels, self.answers, self.draws, strict=True)
        return "\n".join(
            f"{label:<12} {100 * float(draws.accuracy.mean()):5.1f} %  worst "
            f"{100 * float(draws.accuracy.min()):5.1f} %  {answer.of_combined:6.1%} of the MACs"
            for label, answer, draws in rows
        )


def tradeoff(
    model: nn.Module,
    hardware: Hardware,
    data: Any,
    *,
    policies: Mapping[str, Policy] | None = None,
    calibration: Any = None,
    chips: int = 100,
    seed: int = 0,
    **options: Any,
) -> Tradeoff:
    """Evaluate a network whose exits stay under every policy, on the same chips.

    Args:
        model: a network with exits (`everychip.MultiExit`).
        hardware: what its chips are programmed into.
        data: test data in any form `evaluate` takes.
        policies: what to compare, by label; by default every output alone, the combination, and, where there
            is calibration data, `Early` at losses of 0.5, 1, 2 and 5 %.
        calibration: labelled data that was not trained on; `Early` chooses its thresholds on it.
        chips, seed, options: as `evaluate` takes them.

    Returns:
        The draws and the cost of each.

    >>> import torch, everychip as ec
    >>> net = ec.MultiExit(nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 4)), torch.ones(2, 8))
    >>> hw = ec.Hardware(device=ec.devices.Gaussian(sigma=0.1))
    >>> x = torch.randn(40, 8, generator=ec.rng_for(0))
    >>> print(tradeoff(net, hw, (x, net(x).argmax(1)), chips=3).labels)
    ('exit 1', 'last', 'combined')
    """
    network = multi_exit(model, where="tradeoff")
    chosen = _every(len(network.thresholds), early=calibration is not None) if policies is None else policies
    test = as_arrays(data, split="test")
    ways = answers(network, hardware, test.x[:2])
    asked: dict[str, Any] = {"calibration": calibration, "chips": chips, "seed": seed, **options}
    found: dict[str, tuple[Answer, Draws]] = {}
    left_out = []
    for label, policy in chosen.items():
        try:
            draws = evaluate(network, hardware, test, policy=policy, **asked)
        except ConfigError as error:
            if policies is not None or error.where != "policy.early.loss":
                raise
            left_out.append(f"{label}: {error.found}")
            continue
        found[label] = ways.of(policy, draws.treatment), draws
    taken, drawn = zip(*found.values(), strict=True)
    return Tradeoff(tuple(found), taken, drawn, tuple(left_out))


def _every(exits: int, *, early: bool, losses: Sequence[float] = LOSSES) -> dict[str, Policy]:
    found: dict[str, Policy] = {f"exit {n}": Only(exit=n) for n in range(1, exits + 1)}
    found |= {"last": Last(), "combined": Combined()}
    return found | {f"early {100 * loss:g} %": Early(loss=loss) for loss in losses if early}
