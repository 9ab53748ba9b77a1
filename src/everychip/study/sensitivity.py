"""Which layers of a finished run the noise hurts, and how much of it the run bears: kept beside it."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import Field
from torch import nn

from everychip.config.result import Result
from everychip.data import Splits
from everychip.devices import Device
from everychip.errors import ConfigError
from everychip.evaluation.break_even import BreakEven, break_even
from everychip.evaluation.sensitivity import Advice, Mode, Sensitivity, sensitivity
from everychip.progress import Listener
from everychip.statistics.intervals import Interval
from everychip.storage.files import locked, write_record
from everychip.study import store
from everychip.study.environment import environment
from everychip.study.experiment import Experiment
from everychip.study.trained import asked_of, refuse_diverged, trained_model

FORMAT, FILE = "everychip-sensitivity/1", "sensitivity.json"
DROP = "1 point"
_TOLERANCE = 0.02
_BIAS = 0.01  # of G_max: a smaller one is not worth a line


@dataclass(frozen=True)
class Question:
    """The questions to a run.

    chips: how many are programmed for every layer. mode: as in `sensitivity`. target, drop: as in
    `break_even`; neither, one point. settings: `a.b=c` changes of what is no part of the training.
    """

    chips: int = 20
    mode: Mode = "only"
    target: float | None = None
    drop: str | None = None
    settings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Answer:
    """What came of it; break_even is None for a device without a nominal σ. remarks: what was left out."""

    experiment: Experiment
    sensitivity: Sensitivity
    break_even: BreakEven | None
    remarks: tuple[str, ...]


class Layer(Result):
    """One layer: its shares, its noise, and what it costs (0 … 1)."""

    layer: str
    weights: float
    macs: float | None
    of_max: float | None = None
    of_rms: float
    accuracy: float | None = None
    lost: float
    low: float | None
    high: float | None
    advice: Advice


class Layers(Result):
    """The layers of one run, the costliest first."""

    mode: Mode
    clean: float
    noisy: Interval | None = None
    layers: tuple[Layer, ...]
    chips: int | None = None
    seed: int | None = None
    images: int | None = None


class Step(Result):
    """The mean accuracy at one σ."""

    sigma: float
    mean: float
    low: float | None
    high: float | None


class Crossing(Result):
    """The σ at which the accuracy crosses its target."""

    target: float
    clean: float | None = None
    sigma: float | None
    low: float
    high: float | None
    of_max: float | None = None
    of_rms: float | None = None
    chips: int | None = None
    largest: float | None = None
    steps: tuple[Step, ...]


class SensitivityRecord(Result):
    """sensitivity.json; what older files lack is None."""

    device: str
    sigma: float | None
    settings: tuple[str, ...] = ()
    sensitivity: Layers
    words: str
    break_even: Crossing | None
    break_even_words: str
    remarks: tuple[str, ...]
    environment: dict[str, Any] = Field(default_factory=dict)
    seconds: float | None = None


def ask(folder: Path, question: Question, *, progress: Listener | None = None) -> Answer:
    """Measure the trained model of a run folder layer by layer, and write sensitivity.json into it."""
    experiment = asked_of(folder, question.settings)
    _refuse(experiment, question)
    splits = experiment.data.load()
    started = time.monotonic()
    with locked(folder), experiment.compute.used():
        model = trained_model(experiment, folder / store.MODEL, splits=splits)
        refuse_diverged(model, folder)
        answer = _answer(experiment, model, splits, question, progress)
        seconds = time.monotonic() - started
        write_record(folder / FILE, _record(answer, question, seconds=seconds))
    return answer


def _refuse(experiment: Experiment, question: Question) -> None:
    """What `break_even` would refuse only after the layers were measured."""
    asked = [name for name in ("target", "drop") if getattr(question, name) is not None]
    if len(asked) > 1:
        raise ConfigError("sensitivity", found="both a target and a drop", expected="one of them")
    device = experiment.hardware.device
    if asked and device.nominal_sigma is None:
        raise ConfigError(
            f"--{asked[0]}",
            found=f"that {device.label} has no nominal σ, and so no break-even σ",
            expected=f"no --{asked[0]}, or a device with one (gaussian, levels, log_normal, mismatch)",
        )


def _answer(
    experiment: Experiment, model: nn.Module, splits: Splits, question: Question, progress: Listener | None
) -> Answer:
    hardware, asked = experiment.hardware, experiment.evaluation
    options: dict[str, Any] = {
        "chips": question.chips,
        "seed": experiment.seed,
        "task": experiment.task,
        "batch_size": asked.batch_size,
        "precision": asked.precision,
        "images": asked.images,
        "calibration": None if not hardware.arrays else splits.train,
        "progress": progress,
    }
    crossing = None  # first, since it refuses a target that the network misses even without noise
    asks_nothing = question.target is None and question.drop is None
    points = experiment.task.headline.unit == "%"
    if hardware.device.nominal_sigma is not None and (points or not asks_nothing):
        drop = DROP if question.target is None and question.drop is None else question.drop
        goal: dict[str, Any] = {"target": question.target, "drop": drop, "tolerance": _TOLERANCE}
        crossing = break_even(model, hardware, splits.test, **goal, **options)
    found = sensitivity(model, hardware, splits.test, mode=question.mode, **options)
    return Answer(experiment, found, crossing, tuple(_remarks(experiment)))


def _remarks(experiment: Experiment) -> Iterable[str]:
    device, asked = experiment.hardware.device, experiment.evaluation
    if asked.mitigation is not None:
        yield f"The chips are as they were programmed: {asked.mitigation.kind} is left out."
    if experiment.hardware.arrays:
        yield "Through the array: without noise means without that of the cells."
    score = experiment.task.headline
    if score.unit != "%":
        yield f"No break-even of {score.name} without --target or --drop."
    if _is_biased(device):
        yield (
            f"{device.label} has a bias (drift, a lowest conductance): without noise means without it, too, "
            "and a network trained on such cells may do better with them than without."
        )
    if device.nominal_sigma is None:
        yield f"No break-even: {device.label} has no nominal σ to change."


def _is_biased(device: Device) -> bool:
    """Whether cells hold something else than their target, as a mean."""
    g = torch.linspace(0, 1, 9)
    return bool((device.mean(g) - g).abs().max() > _BIAS)


def _record(answer: Answer, question: Question, *, seconds: float) -> Mapping[str, Any]:
    experiment, crossing = answer.experiment, answer.break_even
    device = experiment.hardware.device
    record = SensitivityRecord(
        device=device.label,
        sigma=device.nominal_sigma,
        settings=question.settings,
        sensitivity=Layers.model_validate(answer.sensitivity.table()),
        words=answer.sensitivity.words,
        break_even=None if crossing is None else Crossing.model_validate(crossing.table()),
        break_even_words="" if crossing is None else str(crossing),
        remarks=answer.remarks,
        environment=environment(experiment.compute),
        seconds=seconds,
    )
    return {"format": FORMAT, **record.facts()}
