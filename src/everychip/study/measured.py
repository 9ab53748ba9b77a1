"""What an experiment measures of its network: its chips under one hardware, and its score without any."""

from __future__ import annotations

from torch import nn

from everychip.data import Splits
from everychip.evaluation.draws import Draws
from everychip.evaluation.measuring import measure
from everychip.evaluation.monte_carlo import evaluate
from everychip.hardware.hardware import Hardware
from everychip.progress import Progress
from everychip.rng import seeded_global_generator
from everychip.study.experiment import Experiment
from everychip.study.suitable import calibration_of


def measure_chips(
    experiment: Experiment,
    model: nn.Module,
    splits: Splits,
    hardware: Hardware,
    *,
    chips: range | None = None,
    progress: Progress = None,
) -> Draws:
    """The chips that an experiment asks for, on its test set.

    Args:
        experiment: says how many chips, of which seed, and what is done to them.
        model: with the weights that are programmed.
        splits: the experiment's data.
        hardware: that of one of its conditions.
        chips: the numbers of those measured, without a rule of stopping; None, all that are asked for.
        progress: as in `everychip.evaluate`.

    Returns:
        The draws.
    """
    asked = experiment.evaluation
    numbers = range(asked.chips) if chips is None else chips
    return evaluate(
        model,
        # A recipe's scale is its word, written or not; its report says what it does to outliers.
        hardware.with_mappings(lambda mapping: mapping.replace()),
        splits.test,
        task=experiment.task,
        chips=len(numbers),
        first=numbers.start,
        seed=experiment.seed,
        batch_size=asked.batch_size,
        precision=asked.precision,
        at_once=asked.at_once or 1,
        folded=asked.folded or False,
        images=asked.images,
        until=asked.until if chips is None else None,
        mitigation=asked.mitigation,
        policy=asked.policy,
        calibration=calibration_of(experiment, splits),
        progress=progress,
    )


def measure_digital(experiment: Experiment, model: nn.Module, splits: Splits) -> float:
    """The headline score of a network on the whole test set without any hardware.

    Args:
        experiment: says the task and the precision.
        model: with its weights.
        splits: the experiment's data.

    Returns:
        The score, 0 … 1 of an accuracy.
    """
    task, asked = experiment.task, experiment.evaluation
    with seeded_global_generator(experiment.seed, "digital"):
        test = task.examples(splits, split="test")
        scores = measure(model, {}, test, task=task, batch_size=asked.batch_size, precision=asked.precision)
        return scores[task.headline.name]
