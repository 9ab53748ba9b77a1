"""What the answers of a run's network take, as its record tells it."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Amount = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class Answered(BaseModel):
    """MACs, layers, energy (J) and time (s) of one input under one σ, by the way its network answers.

    of_combined: the MACs over those of the combination of all outputs.
    """

    model_config = ConfigDict(frozen=True)

    name: str
    sigma: float | None = None
    macs: Amount
    layers: Amount
    energy_j: Amount
    latency_s: Amount
    of_combined: Amount
