"""An entry of the zoo from a complete run: round the weights, prove them again, write card and hashes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from everychip.config.toml import write_toml
from everychip.errors import ConfigError, StoreError
from everychip.evaluation.draws import Draws
from everychip.progress import Progress
from everychip.storage.files import digest, make_folder, write_proven, write_record, write_text
from everychip.study import store
from everychip.study.environment import environment
from everychip.study.experiment import Experiment
from everychip.study.measured import measure_chips, measure_digital
from everychip.study.trained import asked_of, trained_model
from everychip.tasks import Classification
from everychip.zoo.entry import FORMAT
from everychip.zoo.places import CARD, DRAWS, ENTRY, FILES, MODEL, RECIPE


def write_entry(
    run: str | Path,
    folder: str | Path,
    *,
    half: bool = False,
    chips: int | None = None,
    note: str = "",
    progress: Progress = None,
) -> Path:
    """Make an entry of the zoo from the folder of a complete run.

    Args:
        run: the folder, whose files are verified.
        folder: of the entry, new or empty; its last part is the entry's name.
        half: round weights to float16, which halves the file; what is proven are the rounded ones.
        chips: how many chips prove it; absent, as many as the recipe says.
        note: a sentence for the card, such as what the entry is to be compared with.
        progress: as in `everychip.evaluate`.

    Returns:
        The folder of the entry.
    """
    source, goal = Path(run), Path(folder)
    if goal.exists() and any(goal.iterdir()):
        raise StoreError(str(goal), found="a folder with files", expected="a new or empty one")
    experiment = _to_be_proven(source, chips)
    splits = experiment.data.load()
    model = trained_model(experiment, source / store.MODEL, splits=splits)
    weights = {name: _rounded(value, half) for name, value in model.state_dict().items()}
    model.load_state_dict(weights)
    draws = measure_chips(experiment, model, splits, experiment.hardware, progress=progress)
    digital = measure_digital(experiment, model, splits)
    make_folder(goal)
    write_text(goal / RECIPE, write_toml(experiment.table()))
    proof = write_proven(goal / MODEL, lambda draft: save_file(weights, draft))
    draws.save(goal / DRAWS)
    facts = {
        "name": goal.name,
        "input_shape": list(splits.input_shape),
        "classes": splits.classes,
        "digital": digital,
        "mean": float(draws.accuracy.mean()),
        "worst": float(draws.accuracy.min()),
        "chips": len(draws),
        "images": draws.images,
        "run": store.open_run(source).id,
        "rounded": "float16" if half else "float32",
        "environment": environment(experiment.compute),
    }
    write_text(goal / CARD, card(experiment, draws, facts, weights, note))
    hashes = {**{file: digest(goal / file) for file in FILES}, MODEL: proof}
    write_record(goal / ENTRY, {"format": FORMAT, **facts, "sha256": hashes})
    return goal


def _to_be_proven(source: Path, chips: int | None) -> Experiment:
    """The recipe of the run at the hardware that it trains for, measured on the whole test set."""
    experiment = asked_of(source, [f"evaluation.chips={chips}"] if chips else [])
    if experiment.task != Classification():
        found = f"a network for {experiment.task.kind}"
        raise ConfigError(
            str(source), found=found, expected="one for classification, whose accuracy a card says"
        )
    whole = experiment.evaluation.replace(sigma=(), images=None, until=None)
    return experiment.replace(title="", evaluation=whole)


def _rounded(value: Tensor, half: bool) -> Tensor:
    small = half and value.dtype == torch.float32
    return value.detach().half().contiguous() if small else value.detach().clone().contiguous()


def card(
    experiment: Experiment, draws: Draws, facts: Mapping[str, Any], weights: Mapping[str, Tensor], note: str
) -> str:
    """The card of an entry: what it is, what it reaches, how it was made, what it must not be used for."""
    device = experiment.hardware.device
    sigma = "" if device.nominal_sigma is None else f" at σ = {device.nominal_sigma:g}"
    method = experiment.labels.get("method") or experiment.method.kind
    numbers = sum(value.numel() for value in weights.values() if value.is_floating_point())
    rounded = " Weights are rounded to float16; what is proven are the rounded ones."
    made = facts["environment"]
    return f"""# {facts["name"]}

{experiment.model.label} for {experiment.data.label}, trained by {method}; proven on {device.label}{sigma};
{numbers:,} numbers.{rounded if facts["rounded"] == "float16" else ""}
{note}

| {experiment.data.label} | accuracy |
| --- | --- |
| digital | {_percent(facts["digital"])} |
| mean of {len(draws)} chips | {_percent(facts["mean"])} |
| worst of {len(draws)} chips | {_percent(facts["worst"])} |

Verdict: {draws.verdict()}.
Measured on {draws.images} test images. One training seed ({experiment.seed}): no claim about the method.

Proven again by:

```sh
everychip evaluate {facts["name"]}
```

Run {facts["run"]} of everychip {made["everychip"]}, PyTorch {made["torch"]}. Weights: Apache-2.0,
as everychip; the data set has a licence of its own. For research on devices, not for decisions about people.
"""


def _percent(share: float) -> str:
    return f"{100 * share:.2f} %"
