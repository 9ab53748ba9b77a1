"""What a recipe would be refused for only after its training, found out before it."""

from __future__ import annotations

from torch import nn

from everychip.data import Splits
from everychip.running import probe
from everychip.study.experiment import Experiment


def must_suit(experiment: Experiment, model: nn.Module, splits: Splits) -> None:
    """Refuse a mitigation that does not suit the recipe's model, hardware or training data.

    >>> from everychip.errors import ModelError
    >>> experiment = Experiment.from_toml("digits", ["model=mlp", "evaluation.mitigation=bn_recalibration"])
    >>> splits = experiment.data.load()
    >>> model = experiment.model.build(splits.input_shape, splits.classes)
    >>> try:
    ...     must_suit(experiment, model, splits)
    ... except ModelError as error:
    ...     print(error.found)
    no batch norm with running statistics
    """
    mitigation = experiment.evaluation.mitigation
    if mitigation is None:
        return
    probe(model, splits.train.x[:2])  # a model that does not take the data is refused for that
    hardware = experiment.conditions()[0].hardware
    mitigation.must_suit(model, hardware, splits.train, seed=experiment.seed)
