"""What the answers of a run's network take, where its exits stay: kept in the run's record."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from torch import nn

from everychip.cost import answers
from everychip.data import Splits
from everychip.errors import ModelError
from everychip.exits import MultiExit
from everychip.study.experiment import Experiment


def answered(
    experiment: Experiment,
    model: nn.Module,
    splits: Splits,
    treatments: Sequence[Iterable[Mapping[str, Any]]],
) -> dict[str, Any]:
    """MACs, layers, energy and time per input, under every condition; nothing where no exits stay.

    Args:
        experiment: whose policy answers, and under which conditions.
        model: its network.
        splits: its data, of which one input is run.
        treatments: what the treatment of the chips reported under each condition, in their order; none where
            the training diverged, so that no chip was measured.

    Returns:
        `{"answers": […]}`, an entry per condition, or nothing.
    """
    if not isinstance(model, MultiExit) or not treatments:
        return {}
    sample = splits.train.x[:2].to(experiment.compute.place)
    try:
        ways = answers(model, experiment.hardware, sample)
    except ModelError:  # a forward that cannot be traced, which is no reason to lose the run
        return {}
    policy = experiment.evaluation.policy
    rows = [
        {"sigma": condition.sigma, **ways.of(policy, facts).facts()}
        for condition, facts in zip(experiment.conditions(), treatments, strict=True)
    ]
    return {"answers": rows}
