"""Outlier weights: where one weight sets the full scale of many, and what that does to their noise."""

from __future__ import annotations

import warnings
from collections.abc import Collection
from math import isfinite, log, sqrt
from typing import Any

import torch
from torch import Tensor

from everychip.config.result import Result
from everychip.hardware.effective_sigma import weight_noise
from everychip.hardware.hardware import Hardware
from everychip.hardware.placement import Placed
from everychip.mapping.columns import Columns

EXTREME = 2.0
"""A largest weight is extreme that is so many times as large as the largest of normal weights would be."""
WORTH = 1.2
"""Noise under one scale that is so many times that under the other is worth a recommendation."""
HARM = 0.1
"""σ_W / rms(W) from which noise is worth a warning."""


class Outlier(Result):
    """A layer whose largest weight, or that of some of its columns, is extreme for their rms.

    of_rms: max|W| / rms(W) of the layer. expected: that of as many normal weights, √(2 ln n). columns: the
    share of its columns that are extreme, of their own rms and number, 0 … 1. layer_noise, column_noise:
    σ_W / rms(W) under `mapping.scale` "layer" and "column".
    """

    layer: str
    of_rms: float
    expected: float
    columns: float
    layer_noise: float
    column_noise: float

    @property
    def is_trap(self) -> bool:
        """Whether there is noise that matters, σ_W/rms(W) ≥ 0.1, and a scale of columns takes much of it."""
        return self.layer_noise >= max(HARM, WORTH * self.column_noise)

    @property
    def words(self) -> str:
        """The layer in a sentence.

        >>> found = Outlier(
        ...     layer="fc.weight", of_rms=40, expected=5, columns=0, layer_noise=0.8, column_noise=0.1
        ... )
        >>> print(found.words)
        fc.weight: max|W| is 40 times rms(W) (normal weights: 5.0); σ_W/rms(W) 0.80 with scale = "layer", 0.10
        with "column".
        """
        few = f", and extreme in {100 * self.columns:.2g} % of the columns" if self.columns else ""
        noise = f'{self.layer_noise:.2f} with scale = "layer", {self.column_noise:.2f} with "column"'
        size = f"max|W| is {self.of_rms:.3g} times rms(W) (normal weights: {self.expected:.1f})"
        return f"{self.layer}: {size}{few}; σ_W/rms(W) {noise}."


def outliers(placed: Placed, *, only: Collection[str] | None = None) -> tuple[Outlier, ...]:
    """The layers with an extreme largest weight, the noisiest for their rms first.

    Extreme is max|W| > 2·√(2 ln n)·rms(W): √(2 ln n) is what the largest of n normal weights comes to.

    Args:
        placed: a model on a hardware.
        only: the layers that are looked at; absent, all.

    Returns:
        A row for each such layer, with its noise under each scale.
    """
    found = []
    for name, parameter in placed.weights.items():
        if parameter.is_meta or (only is not None and name not in only):  # meta: a shape and no values
            continue
        weight, columns = parameter.detach().float(), placed.columns[name]
        rms = float(weight.square().mean().sqrt())
        if not rms or not isfinite(rms):
            continue
        ratio, share = float(weight.abs().amax()) / rms, _extreme_columns(weight, columns)
        if ratio > EXTREME * _largest(weight.numel()) or share:
            noise = [_noise(placed, name, scale) for scale in ("layer", "column")]
            facts: dict[str, Any] = {"of_rms": ratio, "expected": _largest(weight.numel()), "columns": share}
            found.append(Outlier(layer=name, **facts, layer_noise=noise[0], column_noise=noise[1]))
    return tuple(sorted(found, key=lambda one: -one.layer_noise))


def advice(found: tuple[Outlier, ...], hardware: Hardware) -> str:
    """What to do about them; nothing where there is nothing to win.

    Args:
        found: the outliers.
        hardware: what the model is programmed into.

    Returns:
        A sentence, or an empty text.
    """
    won = max((one.layer_noise / max(one.column_noise, 1e-30) for one in found), default=0.0)
    worst = max((one.column_noise for one in found), default=0.0)
    by_column = hardware.mapping.scale == "column"
    if won >= WORTH and not by_column:
        return (
            f'mapping.scale = "column" divides the noise of these layers by up to {won:.2g}: each output has '
            "a full scale of its own, which is one digital factor."
        )
    if found and worst > 0:
        return "Weights within a column are that unlike: a clip, or hardware.digital, is what helps there."
    return ""


def warn_of_layer_scale(placed: Placed, *, stacklevel: int) -> None:
    """Warn where one scale a layer was chosen by nobody and outlier weights make it a trap.

    Training here makes the weights of a layer alike, so that it is networks from elsewhere that are named.
    A scale that is written, `with_scale("layer")`, is an answer and is not asked about.

    Args:
        placed: a model on a hardware.
        stacklevel: of the caller of the public function, as in `warnings.warn`.
    """
    bare = {name for name in placed.weights if "scale" not in placed.own[name].mapping.model_fields_set}
    found = [one for one in outliers(placed, only=bare) if one.is_trap]
    if found:
        many = f", and {len(found) - 1} more" if len(found) > 1 else ""
        warnings.warn(
            f'{found[0].words[:-1]}{many}: hardware.with_scale("column") is for networks that were not '
            'trained here, hardware.with_scale("layer") says that one scale a layer is meant',
            stacklevel=stacklevel + 1,
        )


def _noise(placed: Placed, name: str, scale: str) -> float:
    own = placed.own[name]
    scaled = own.replace(mapping=own.mapping.replace(scale=scale))
    (row,) = weight_noise({name: placed.weights[name].detach()}, {name: scaled}, placed.columns).layers
    return row.of_rms


def _largest(n: int) -> float:
    """What the largest of n normal weights comes to, in units of their rms; at least 1."""
    return max(1.0, sqrt(2 * log(n))) if n > 1 else 1.0


def _extreme_columns(weight: Tensor, columns: Columns) -> float:
    """The share of the columns whose largest weight is extreme."""
    square = weight.square()
    blocks = square.reshape(columns.groups, -1, *square.shape[1:])
    others = [dim for dim in range(1, blocks.ndim) if dim != columns.axis + 1]
    mean, largest = blocks.mean(others), blocks.amax(others)
    limit = EXTREME * _largest(weight.numel() // max(mean.numel(), 1))
    return float((largest.sqrt() > limit * mean.sqrt()).double().mean()) if torch.numel(mean) else 0.0
