"""Do exits tell a bad chip without labels? `python tools/docs/screened.py STUDY_FOLDER`, and the table of it.

For each complete training of the network with exits in the study, 200 chips are screened by how much their
outputs disagree on 2000 test images, and judged by their accuracy on these. The scores and accuracies are
kept in results/unfinished/screened.json, by σ and seed; what is there is not measured again.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch
from each_training import measure_each

from everychip.evaluation.screening import Screening, screen
from everychip.report.wording import percent
from everychip.study import store
from everychip.study.experiment import Experiment
from everychip.study.trained import trained_model

TARGET = Path(__file__).parents[2] / "results" / "unfinished" / "screened.json"
NETWORK = {"model": "vgg8 with exits", "method": "ramp + clip"}
CHIPS, IMAGES = 200, 2000


def screened(folder: Path) -> dict[str, list[float]]:
    """Disagreement and accuracy of every chip of a complete run."""
    experiment = Experiment.from_toml(folder / store.RECIPE)
    splits = experiment.data.load()
    model = trained_model(experiment, folder / store.MODEL, splits=splits)
    data = splits.test.take(list(range(IMAGES)))
    found = screen(model, experiment.hardware, data, chips=CHIPS, seed=experiment.seed)
    return {"disagreement": found.disagreement.tolist(), "accuracy": found.accuracy.tolist()}


def table() -> str:
    """A row for each training: how well the disagreement finds its worst 5 % of chips."""
    lines = [
        "| σ | training | worst chip | mean of the worst 5 % | AUROC [95 %] |",
        "|---|---|---:|---:|---:|",
    ]
    known = json.loads(TARGET.read_text(encoding="utf-8"))
    for sigma in sorted(known):
        for seed in sorted(known[sigma]):
            score, accuracy = (torch.tensor(known[sigma][seed][k]) for k in ("disagreement", "accuracy"))
            found = Screening.of(score.double(), accuracy.double())
            bad = float(found.accuracy[found.worst].mean())
            auroc = f"{found.auroc.estimate:.2f} {found.auroc.bounds(scale=1, digits=2)}"
            low = percent(float(accuracy.min()))
            lines.append(f"| {sigma} | seed {seed} | {low} | {percent(bad)} | {auroc} |")
    return "\n".join(lines)


if __name__ == "__main__":
    torch.set_num_threads(1)
    measure_each(Path(sys.argv[1]), NETWORK, TARGET, screened)
