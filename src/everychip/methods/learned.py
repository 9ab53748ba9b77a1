"""Full scales that are trained with the weights: those of the DACs, and those that G_max stands for."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor, nn

from everychip.array import InputRange, RangeObserver
from everychip.config.component import Config
from everychip.errors import ConfigError
from everychip.hardware.hardware import Hardware
from everychip.hardware.learned import Learned
from everychip.hardware.placement import Placed
from everychip.mapping import Columns

_SMALLEST = 1e-2
"""A column's full scale at the start, at least, in units of the layer's: one of zeros would never move."""


class LearnedInputs(Config):
    """The range β of every DAC is trained with the weights, by the gradient of what it clips (`InputRange`).

    ln β is what is trained, so that β stays positive and a step is relative.
    start: β at the first step, in units of the rms of the inputs of the first batch, at most max|x|. decay:
    what is added to ∂L/∂β while the share of inputs within ±β is above `kept`: it narrows the range. widen:
    whether the loss itself may only widen it, as in aihwkit, or narrow it, too.

    Source: Rasch et al., arXiv 2302.08469, and Büchel et al., arXiv 2505.09663; the form and the defaults are
    those of aihwkit 1.1.0, whose `InputRangeParameter` calls them `init_std_alpha`, `decay`,
    `input_min_percentage`.

    >>> LearnedInputs().table()
    {'start': 3.0, 'decay': 0.01, 'kept': 0.95, 'widen': True}
    """

    start: Annotated[float, Field(gt=0)] = 3.0
    decay: Annotated[float, Field(ge=0)] = 0.01
    kept: Annotated[float, Field(ge=0, le=1)] = 0.95
    widen: bool = True


class LearnedScales(Config):
    """The weight F that G_max stands for is trained, a number for each layer, or column (`mapping.scale`).

    Weights beyond ±F are clipped. With a mapping that rounds, F/Q is a learned step of Q levels:
    ∂Ŵ/∂F = (round(v) − v) / Q at W = v·F/Q, and ±1 where W is clipped; without rounding F is a learned clip.
    Since a cell's noise is a multiple of F, its gradient counts, too (of the noise as drawn). ∂L/∂F is
    multiplied by 1/√(N·Q), N the weights that share F; ln F is what is trained.
    start: F at the first step, in units of the rms of the weights that share it, at most max|W|; absent,
    max|W|, as without learning.

    Source: Esser et al., Learned Step Size Quantization, ICLR 2020, eq. 3 and section 2.2; the logarithm and
    the start at max|W| are this project's.

    >>> LearnedScales(start=2.5).table()
    {'start': 2.5}
    """

    start: Annotated[float, Field(gt=0)] | None = None


@dataclass(frozen=True)
class _Scale:
    """One learned full scale of weights: where it belongs, and what its gradient is multiplied by."""

    name: str
    factor: float


class LearnedSides(nn.Module):
    """The trained full scales of one model on one hardware, by the names of its parameters.

    `ranges` are ln β, NaN until the first batch has given them a start, and afterwards where a matrix is read
    by no DAC (a table that is only looked up). `scales` are ln F.
    """

    def __init__(
        self, placed: Placed, inputs: LearnedInputs | None, scales: LearnedScales | None, *, where: str
    ) -> None:
        super().__init__()
        own = placed.hardware.by_layer(placed.weights)
        self.inputs = inputs
        self.read = [n for n in placed.weights if inputs and (array := own[n].array) and array.dac_bits]
        if inputs and not self.read:
            raise ConfigError(
                f"{where}.inputs",
                found="no DAC, whose range could be learned",
                expected="hardware with an array that has dac_bits",
                remedy="hardware.array.dac_bits = 8, or leave inputs out",
            )
        self.ranges = nn.ParameterList(nn.Parameter(_given(placed, name)) for name in self.read)
        self._started: frozenset[str] | None = None
        self.scaled: list[_Scale] = []
        self.scales = nn.ParameterList()
        for name in placed.weights if scales else ():
            self._scale(name, placed, scales, steps=own[name].mapping.steps, by=own[name].mapping.scale)

    def _scale(
        self, name: str, placed: Placed, asked: LearnedScales | None, *, steps: int | None, by: str
    ) -> None:
        weight, columns = placed.weights[name].detach(), placed.columns[name]
        weight = weight.float() if weight.element_size() < 4 else weight
        largest, squares = columns.one_each(weight.abs()), columns.one_each(weight.square(), mean=True)
        if by == "layer":
            largest, squares = largest.amax(), squares.mean()
        full = largest if columns.full is None else columns.full.expand_as(largest)
        if columns.full is None and asked is not None and asked.start is not None:
            full = torch.minimum(full, asked.start * squares.sqrt())
        whole = weight.abs().amax()
        least = torch.where(whole > 0, whole * _SMALLEST, 1 / math.sqrt(weight[0].numel()))
        self.scales.append(nn.Parameter(torch.maximum(full, least).log()))
        shared = weight.numel() / largest.numel()
        self.scaled.append(_Scale(name, 1 / math.sqrt(shared * (steps or 1))))

    @property
    def has_started(self) -> bool:
        """Whether the ranges have their start."""
        return not self.read or bool(self.started)

    @property
    def started(self) -> frozenset[str]:
        """The names of the matrices whose range has a start; known until the state changes."""
        if self._started is None:
            pairs = zip(self.read, self.ranges, strict=True)
            self._started = frozenset(name for name, stored in pairs if not bool(stored.isnan()))
        return self._started

    def _load_from_state_dict(self, *args: Any, **options: Any) -> None:
        super()._load_from_state_dict(*args, **options)
        self._started = None

    def start(self, observers: Mapping[str, RangeObserver]) -> None:
        """Give the ranges their start, from what the converters met in the first batch.

        Args:
            observers: by the name of the parameter, or of a part of one (`name@…`).
        """
        asked = self.inputs or LearnedInputs()
        with torch.no_grad():
            for name, stored in zip(self.read, self.ranges, strict=True):
                parts = [one for part, one in observers.items() if re.sub(r"(@\d+)+$", "", part) == name]
                largest = max((float(one.dac) for one in parts if one.dac is not None), default=0.0)
                rms = max((one.rms for one in parts), default=0.0)
                if largest > 0:
                    stored.fill_(math.log(min(largest, asked.start * rms)))
        self._started = None

    def over(self, placed: Placed) -> Placed:
        """The placed model with the full scales as they are now, on their graph."""
        asked, inputs = self.inputs or LearnedInputs(), {}
        law = {"decay": asked.decay, "kept": asked.kept, "widen": asked.widen}
        for name, stored in zip(self.read, self.ranges, strict=True):
            if name in self.started:
                inputs[name] = InputRange(stored.exp(), **law)  # type: ignore[arg-type]
        columns: dict[str, Columns] = {}
        for one, stored in zip(self.scaled, self.scales, strict=True):
            full = stored.exp()
            slowed = full * one.factor + (full * (1 - one.factor)).detach()
            columns[one.name] = replace(placed.columns[one.name], full=slowed)
        return placed.with_learned(columns, inputs)

    def values(self) -> Learned:
        """The full scales as numbers, which the hardware that evaluates takes along."""
        ranges = zip(self.read, self.ranges, strict=True)
        scales = zip(self.scaled, self.scales, strict=True)
        with torch.no_grad():
            return Learned(
                dac_ranges={name: float(p.exp()) for name, p in ranges if name in self.started},
                full_scales={one.name: tuple(p.exp().reshape(-1).tolist()) for one, p in scales},
            )

    def deployed(self, hardware: Hardware) -> Hardware:
        """The hardware with the full scales as they are now."""
        return self.values().on(hardware)


def _given(placed: Placed, name: str) -> Tensor:
    """ln β as the hardware already has it, from an earlier training, or NaN."""
    known = placed.inputs.get(name)
    value = math.nan if known is None else math.log(float(known.value))
    return torch.tensor(value, device=placed.weights[name].device)
