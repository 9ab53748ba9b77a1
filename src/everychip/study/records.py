"""What run.json and study.json say: one frozen value each, for who writes it and who reads it."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from everychip.config.result import Result
from everychip.hardware.coverage import Coverage
from everychip.hardware.learned import Learned
from everychip.statistics.outcome import read_status

Hash = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


Amount = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class Answered(Result):
    """MACs, layers, energy (J) and time (s) of one input under one σ, by the way its network answers.

    of_combined: the MACs over those of the combination of all outputs.
    """

    name: str
    sigma: float | None = None
    macs: Amount
    layers: Amount
    energy_j: Amount
    latency_s: Amount
    of_combined: Amount


class ScoreRecord(Result):
    """What a run measured of every chip, as `Score.facts` writes it."""

    name: str
    higher_is_better: bool
    within: tuple[float | None, float | None] | None
    unit: str


class RunEntry(Result):
    """What is known of a run: an entry of study.json, and the first part of run.json."""

    id: str = Field(default="", pattern=r"^(\w[\w.-]*)?$")  # it names a folder
    training_id: str = ""
    labels: dict[str, str] = Field(default_factory=dict)
    status: str = "unknown"
    words: str = ""
    seconds: float | None = None
    best_epoch: int | None = None
    validation_accuracy: float | None = None
    forwards: float | None = None
    classes: int | None = Field(default=None, ge=1)
    digital: float | None = None
    trained_by: str | None = None
    trained_time: Amount | None = None
    score: ScoreRecord | None = None
    treatment: tuple[dict[str, Any], ...] = ()
    answers: tuple[Answered, ...] = ()

    @field_validator("status")
    @classmethod
    def _of_earlier_versions(cls, status: str) -> str:
        return read_status(status)


class RunRecord(RunEntry):
    """run.json of a complete run."""

    history: tuple[dict[str, Any], ...] = ()
    environment: dict[str, Any] = Field(default_factory=dict)
    inputs: dict[str, Hash] = Field(default_factory=dict)
    machines: tuple[str, ...] = ()
    coverage: Coverage | None = None
    learned: Learned | None = None
    command: str = ""


class CompleteRun(RunRecord):
    """run.json of this project's own run, which names its files and no other."""

    id: str = Field(pattern="^[0-9a-f]{12}$")
    status: str
    sha256: dict[Literal["recipe.toml", "model.safetensors", "draws.parquet"], Hash] = Field(
        min_length=3, max_length=3
    )


class StudyRecord(Result):
    """study.json."""

    name: str = ""
    title: str = ""
    command: str = ""
    axes: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    environment: dict[str, Any] = Field(default_factory=dict)
    seconds: float | None = None
    runs: tuple[RunEntry, ...] = ()
    left_out: tuple[dict[str, str], ...] = ()
    machines: tuple[str, ...] = ()
    coverage: tuple[Coverage, ...] = ()
