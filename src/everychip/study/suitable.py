"""What a recipe would be refused for only after its training, found out before it."""

from __future__ import annotations

from torch import nn

from everychip.data import Examples, Splits, split_holdout
from everychip.data.inputs import taken
from everychip.evaluation.folding import must_fold
from everychip.network.probing import probe
from everychip.study.experiment import Experiment


def validate_for(experiment: Experiment, model: nn.Module, splits: Splits) -> None:
    """Refuse a mitigation, a policy or folding that does not suit the recipe's model, hardware or data.

    >>> from everychip.errors import ModelError
    >>> experiment = Experiment.from_toml("digits", ["model=mlp", "evaluation.mitigation=bn_recalibration"])
    >>> splits = experiment.data.load()
    >>> model = experiment.model.build(splits.input_shape, splits.classes)
    >>> try:
    ...     validate_for(experiment, model, splits)
    ... except ModelError as error:
    ...     print(error.found)
    no batch norm with running statistics
    """
    if experiment.evaluation.folded:
        must_fold(model, experiment.hardware)
    treated = experiment.evaluation.mitigation, experiment.evaluation.policy
    if treated == (None, None):
        return
    probe(model, taken(splits.train.x, slice(2)))  # a model that does not take the data is refused for that
    hardware, data = experiment.conditions()[0].hardware, calibration_of(experiment, splits)
    for one in treated:
        if one is not None:
            one.validate_for(model, hardware, data, seed=experiment.seed)


def calibration_of(experiment: Experiment, splits: Splits) -> Examples | None:
    """The data that an evaluation measures chips with: training data, or the validation split for a policy.

    A policy that chose on training data would take how sure the network is of what it has learned by heart.
    """
    asked = experiment.evaluation
    if asked.policy is not None:
        return split_holdout(splits.train, experiment.training.validation, seed=experiment.seed)[1]
    needed = asked.mitigation is not None or bool(experiment.hardware.arrays)
    return splits.train if needed else None
