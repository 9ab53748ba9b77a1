"""Two chips of the same network averaged: `python tools/docs/two_chips.py STUDY_FOLDER`.

For each complete training of the backbone alone in the study, two chips of it are programmed and the mean
of their logits is the answer: twice the cells, and the control of any network that combines outputs. The
accuracies are kept in results/unfinished/two-chips.json, by σ and seed; what is there is not measured again.
"""

from __future__ import annotations

import copy
import sys
from pathlib import Path

import torch
from each_training import measure_each
from torch import Tensor, nn

from everychip.evaluation.monte_carlo import evaluate
from everychip.study import store
from everychip.study.experiment import Experiment
from everychip.study.trained import trained_model

TARGET = Path(__file__).parents[2] / "results" / "unfinished" / "two-chips.json"
BACKBONE = {"model": "vgg8", "method": "ramp + clip"}


class Averaged(nn.Module):
    """The mean of the logits of several copies of a network, each with cells of its own."""

    def __init__(self, model: nn.Module, *, copies: int = 2) -> None:
        super().__init__()
        self.copies = nn.ModuleList(copy.deepcopy(model) for _ in range(copies))

    def forward(self, x: Tensor) -> Tensor:
        return torch.stack([one(x) for one in self.copies]).mean(0)


def accuracies(folder: Path) -> list[float]:
    """What pairs of chips of a complete run reach, as many pairs as the run has chips at its σ."""
    experiment = Experiment.from_toml(folder / store.RECIPE)
    asked, splits = experiment.evaluation, experiment.data.load()
    torch.set_num_threads(experiment.compute.threads or torch.get_num_threads())
    draws = evaluate(
        Averaged(trained_model(experiment, folder / store.MODEL, splits=splits)),
        experiment.hardware,
        splits.test,
        chips=asked.chips,
        seed=experiment.seed,
        batch_size=asked.batch_size,
        precision=asked.precision,
    )
    return [float(value) for value in draws.accuracy]


if __name__ == "__main__":
    measure_each(Path(sys.argv[1]), BACKBONE, TARGET, accuracies)
