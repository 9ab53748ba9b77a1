"""The network of a run as ONNX, its card with the verdicts of the run's own draws."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from everychip.data.inputs import taken
from everychip.devices.ageing import duration
from everychip.evaluation.draws import Draws
from everychip.export.onnx_file import save_onnx
from everychip.scores import Score
from everychip.study import store
from everychip.study.experiment import Experiment
from everychip.study.inputs import refuse_others
from everychip.study.trained import refuse_diverged, trained_model


def write_onnx(run: str | Path, output: str | Path) -> Path:
    """Write the network of a complete run as ONNX with its noise card (`save_onnx`).

    Args:
        run: the folder of the run, whose files are compared with their SHA-256.
        output: a new folder, or one of an earlier export.

    Returns:
        The folder.
    """
    found = store.open_run(Path(run))
    experiment = Experiment.from_toml(found.folder / store.RECIPE)
    refuse_others(found.folder, found.record, experiment)
    splits = experiment.data.load()
    model = trained_model(experiment, found.folder / store.MODEL, splits=splits).cpu()
    refuse_diverged(model, found.folder)
    return save_onnx(
        model,
        experiment.hardware,
        taken(splits.test.x, slice(2)),
        output,
        draws=dict(_conditions(found)),
        note=experiment.title or experiment.name,
    )


def _conditions(run: store.Run) -> Iterator[tuple[str, Draws]]:
    """The draws of a run under each condition, by its words."""
    columns, score = run.draws(), Score.of(run.record.get("score"))
    rows: dict[tuple[float | None, float | None], list[int]] = {}
    for place, condition in enumerate(zip(columns["sigma"], columns["time"], strict=True)):
        rows.setdefault(condition, []).append(place)
    for (sigma, time), places in rows.items():
        words = ["" if sigma is None else f"σ {sigma:g}", "" if time is None else duration(time)]
        first = places[0]
        yield (
            ", ".join(filter(None, words)) or "on the device",
            Draws(
                scores={score.name: [columns[score.name][i] for i in places]},  # type: ignore[dict-item]
                chip=[columns["chip"][i] for i in places],  # type: ignore[arg-type]
                seed=columns["seed"][first],
                images=columns["images"][first],
                whole_test=columns["whole_test"][first],
                score=score,
                digital=run.record.get("digital"),
            ),
        )
