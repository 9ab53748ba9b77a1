"""One recipe: data, model, hardware, method, training, evaluation, seed; all a run needs, nothing else."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import Field, WithJsonSchema, field_validator, model_validator

from everychip.config.component import Config, merge, override, refusal
from everychip.config.switches import OnRequest
from everychip.data import Data
from everychip.devices.ageing import Time
from everychip.errors import ConfigError
from everychip.hardware.hardware import Hardware
from everychip.methods import Method
from everychip.mitigate import Mitigation
from everychip.models import Model
from everychip.network.running import Precision
from everychip.policies import Policy
from everychip.statistics.percentiles import must_be_target
from everychip.statistics.stopping import Until
from everychip.study import recipes
from everychip.study.compute import Compute
from everychip.study.start import Start
from everychip.study.store import run_id, training_id
from everychip.tasks import Classification, Task
from everychip.training.config import Training

Sigma = Annotated[float, Field(ge=0, le=1_000)]
_TIME = {"anyOf": [{"type": "number", "minimum": 0}, {"type": "string"}]}
_TIMES = {"anyOf": [*_TIME["anyOf"], {"type": "array", "items": _TIME}]}


class Evaluation(Config):
    """How the trained model is proven: on how many chips, at which nominal σ, how long after programming.

    sigma: nominal device σ of the evaluation; empty, the training σ only.
    time: when the chips are read, for a device that ages: ["25s", "1h", "1d", "1mo", "1y"], or seconds (a
    month has 30 days, a year 365); absent, at the device's own time only. Each chip is programmed once and
    read at every time. What a time counts from, the device says (pcm, hermes: the first read).
    chips: how many chips are programmed at every σ; with until, the most.
    until: "±0.5 two-stage" draws chips until the mean accuracy is known to ±0.5 points (95 %), each on as
    many random images as cost least by a pilot's spread between chips and between images; "±0.5 two-stage
    failures 5 %" trusts 60 chips to show failures, instead of 300.
    at_once: so many chips are run in one call, which small networks do faster; their last bits may be others
    than those of chips run one by one, so it is another run.
    folded: batch norm is folded into each chip's convolutions and activations are written in place, which is
    faster; the last bits may be others, so it is another run.
    images: how many random test images for each chip; absent, the whole test set (percentiles need it).
    target: the accuracy, 0 … 1, or what else the task's score is, whose yield is reported.
    mitigation: what is done to each chip before it is measured, with the training data to calibrate on.
    policy: how a network whose exits stay answers; what it chooses or fits, it does on the validation split.

    >>> Evaluation(sigma=(0.4, 0.0)).sigma
    (0.0, 0.4)
    """

    sigma: tuple[Sigma, ...] = ()
    time: Annotated[tuple[Time, ...] | None, WithJsonSchema(_TIMES)] = None
    chips: Annotated[int, Field(ge=1, le=1_000_000)] = 100
    images: Annotated[int, Field(ge=1)] | None = None
    until: str | None = None
    batch_size: Annotated[int, Field(ge=1, le=1_000_000_000)] = 500
    at_once: Annotated[int, Field(ge=1, le=1_000)] | None = None
    folded: OnRequest = None
    target: float | None = None
    precision: Precision = "float32"
    mitigation: Mitigation | None = None
    policy: Policy | None = None

    @model_validator(mode="after")
    def _call_is_of_chips(self) -> Self:
        """A call is filled with copies of the last chip, so a larger one would run nothing but copies."""
        if self.at_once is not None and self.at_once > self.chips:
            raise refusal(("at_once",), f"{self.at_once}, of {self.chips} chips", "at most as many as chips")
        if self.at_once not in (None, 1) and (self.images is not None or self.until is not None):
            found = f"{self.at_once} beside images of its own for each chip"
            raise refusal(("at_once",), found, "1, or neither images nor until")
        return self

    @model_validator(mode="after")
    def _until_is_two_stage(self) -> Self:
        """Chips in a table have intervals of a number of chips fixed beforehand, which two stages bear."""
        if self.until is None:
            return self
        try:
            staged = Until.parse(self.until).two_stage and self.images is None
            if staged:
                Until.parse(self.until, chips=self.chips)
        except ConfigError as error:
            said = "; ".join(filter(None, (error.expected, error.remedy)))
            raise refusal(("until",), error.found, said) from None
        if not staged:
            found = f"{self.until!r}" + ("" if self.images is None else f" with images = {self.images}")
            raise refusal(("until",), found, 'a half-width in two stages, "±0.5 two-stage", without images')
        return self

    @field_validator("sigma")
    @classmethod
    def _ascending(cls, sigma: tuple[float, ...]) -> tuple[float, ...]:
        return tuple(sorted(set(sigma)))

    @field_validator("time", mode="before")
    @classmethod
    def _one_is_a_list(cls, time: Any) -> Any:
        return [time] if isinstance(time, str | float | int) else time

    @field_validator("time")
    @classmethod
    def _in_order(cls, time: tuple[float, ...] | None) -> tuple[float, ...] | None:
        return tuple(sorted(set(time))) if time else None


@dataclass(frozen=True)
class Condition:
    """One evaluation of a trained model: the hardware, its nominal σ and its time, None where it has none."""

    sigma: float | None
    time: float | None
    hardware: Hardware

    @property
    def axes(self) -> dict[str, float | None]:
        """The columns of `draws.parquet` that say which condition a chip was measured under."""
        return {"sigma": self.sigma, "time": self.time}


class Experiment(Config):
    """One recipe as a value; `title` and `labels` name it and change nothing of what is computed.

    task: the network's task (`everychip.tasks`): "classification", or another kind or table; the
    default has no key in the table, and so no part in the run's identity.
    start: trained weights that the training starts from, the folder of a run or a .safetensors file (in a
    recipe's file, relative to it): `start = "runs/vanilla"`; absent, from fresh ones. Their content is part
    of the run's identity, their place is not. Exits start from fresh weights.
    """

    title: Annotated[str, Field(description="What people call the run.")] = ""
    data: Annotated[Data, Field(description="What the network is trained and measured on.")]
    model: Annotated[Model, Field(description="The network.")]
    hardware: Annotated[Hardware, Field(description="What its chips are.")]
    method: Annotated[Method, Field(description="How it is trained for them.")]
    start: Start | None = None
    task: Annotated[Task, Field(description="The network's task, and how it is scored.")] = Classification()
    training: Annotated[Training, Field(description="The optimiser and the length.")] = Training()
    evaluation: Annotated[Evaluation, Field(description="What is measured, and on how many chips.")] = (
        Evaluation()
    )
    compute: Annotated[Compute, Field(description="Where and with how many threads.")] = Compute()
    seed: Annotated[Annotated[int, Field(ge=0)], Field(description="Of every draw.")] = 0
    labels: dict[str, str] = Field(default_factory=dict, description="The run's place in a study, by axis.")

    @model_validator(mode="after")
    def _device_has_what_is_asked_of_it(self) -> Self:
        device, asked = self.hardware.device, self.evaluation
        if asked.sigma and device.nominal_sigma is None:
            remedy = "evaluation.sigma = [], or a device with one (gaussian, levels, log_normal, mismatch)"
            raise refusal(("evaluation", "sigma"), f"σ, while {device.label} has no nominal σ to set", remedy)
        if asked.time and not device.ages:
            remedy = "no evaluation.time, or a device that ages (pcm, hermes, neurram, cmo_hfox)"
            raise refusal(("evaluation", "time"), f"times, while {device.label} does not age", remedy)
        for time in asked.time or ():
            try:
                device.at(time)
            except ConfigError as error:
                raise refusal(("evaluation", "time"), error.found, error.expected or "another time") from None
        return self

    @model_validator(mode="after")
    def _target_is_one_of_the_task(self) -> Self:
        if self.evaluation.target is not None:
            try:
                must_be_target(self.evaluation.target, self.task.headline)
            except ConfigError as error:
                raise refusal(("evaluation", "target"), error.found, error.expected or "another") from None
        return self

    @model_validator(mode="after")
    def _two_stages_are_of_a_classification(self) -> Self:
        if self.evaluation.until is not None and self.task != Classification():
            remedy = "until is left out: two-stage sampling is of accuracies"
            raise refusal(("evaluation", "until"), f"the task {self.task.kind}", remedy)
        return self

    def table(self) -> dict[str, Any]:
        """The recipe as a TOML table; a classification does not say that it is one."""
        table = super().table()
        if self.task == Classification():
            del table["task"]
        return table

    @classmethod
    def from_toml(cls, recipe: str | Path, settings: Iterable[str] = ()) -> Self:
        """Read a recipe, by path or by the name of a shipped one, with `a.b=c` settings laid over it.

        Args:
            recipe: the path of a TOML file, or the name of a shipped recipe.
            settings: changes such as "training.epochs=1".

        Returns:
            The experiment.

        >>> Experiment.from_toml("digits", ["seed=3"]).seed
        3
        """
        table = recipes.read(recipe)
        if recipes.is_study(table):
            raise ConfigError(
                str(recipe),
                found="a study: many runs",
                expected="a recipe of one",
                remedy=f"everychip study {recipe}",
            )
        return cls.changed(table, override({}, settings), where=Path(recipe).name)

    @classmethod
    def changed(cls, table: Mapping[str, Any], change: Mapping[str, Any], *, where: str) -> Self:
        """The experiment of a table with a change, which may reach into what the table leaves to defaults.

        Args:
            table: a recipe, as parsed.
            change: what is laid over it.
            where: what errors call the recipe.

        Returns:
            The experiment, validated.
        """
        if not change:
            return cls.read(table, where=where)
        try:
            complete = cls.read(table, where=where).table()
        except ConfigError:  # the change may be what the table lacks
            complete = dict(table)
        return cls.read(merge(complete, change), where=where)

    @cached_property
    def id(self) -> str:
        """Twelve hexadecimal digits, the same for the same computation."""
        return run_id(self.table())

    @cached_property
    def training_id(self) -> str:
        """Twelve hexadecimal digits, the same for the same training, however it is evaluated."""
        return training_id(self.table())

    @property
    def name(self) -> str:
        """What to call it in one line: its labels, its title, or its method and seed."""
        numbers = str.maketrans("", "", ".-e")
        labels = ", ".join(
            f"{axis} {label}" if label.translate(numbers).isdigit() else label
            for axis, label in self.labels.items()
            if label
        )
        return labels or self.title or f"{self.method.kind}, seed {self.seed}"

    def conditions(self) -> tuple[Condition, ...]:
        """Every evaluation, at each σ in the order of time."""
        sigmas, times = self.evaluation.sigma, self.evaluation.time
        at_sigma = [self.hardware.with_sigma(sigma) for sigma in sigmas] or [self.hardware]
        asked = [hardware.at(time) for hardware in at_sigma for time in times] if times else at_sigma
        return tuple(Condition(one.device.nominal_sigma, one.device.age, one) for one in asked)

    def said(self) -> dict[str, str]:
        """The columns of `draws.parquet` that are words: labels of the study, or what there is to say."""
        own = {
            "method": self.method.kind,
            "variant": "",
            "model": self.model.label,
            "data": self.data.label,
            "device": self.hardware.device.ageless_label,
        }
        return {column: self.labels.get(column, default) for column, default in own.items()}

    def described(self) -> dict[str, Any]:
        """The columns of `draws.parquet` that say which experiment a chip belongs to."""
        treated = self.evaluation.mitigation, self.evaluation.policy
        trained_at = self.hardware.device.nominal_sigma if self.method.noisy else 0.0
        return {
            "run": self.id,
            **self.said(),
            "sigma_train": trained_at,
            "seed": self.seed,
            "per_chip": any(one is not None and one.per_chip for one in treated),
        }
