"""Effective weight noise: what a nominal device σ does to the weights of each layer."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from pydantic.dataclasses import dataclass
from torch import Tensor

from everychip.charts.notebook import Shown
from everychip.charts.text_table import TextColumn, fitted, text_table
from everychip.config.columns import VALUES
from everychip.hardware.hardware import Hardware
from everychip.mapping.columns import Columns

_COLUMNS = (
    TextColumn("layer", 40),
    TextColumn("σ_W/max|W|", 11, right=True),
    TextColumn("σ_W/rms(W)", 11, right=True),
)


@dataclass(frozen=True, config=VALUES)
class LayerSigma:
    """The effective noise of one layer, without unit."""

    layer: str
    of_max: float
    of_rms: float
    weights: int


@dataclass(frozen=True, repr=False, config=VALUES)
class EffectiveSigma(Shown):
    """Effective weight noise per layer, and over the network as the root mean square over its weights."""

    layers: tuple[LayerSigma, ...]

    def _mean(self, values: list[float]) -> float:
        total = sum(layer.weights for layer in self.layers)
        squares = sum(v * v * layer.weights for v, layer in zip(values, self.layers, strict=True))
        return float((squares / total) ** 0.5)

    @property
    def of_max(self) -> float:
        """σ_W / max|W|."""
        return self._mean([layer.of_max for layer in self.layers])

    @property
    def of_rms(self) -> float:
        """σ_W / rms(W)."""
        return self._mean([layer.of_rms for layer in self.layers])

    def _brief(self) -> str:
        noise = f"σ_W/max|W| {self.of_max:.4f}, σ_W/rms(W) {self.of_rms:.4f}"
        return f"{noise}, layers {len(self.layers)}"

    def __str__(self) -> str:
        rows = [(layer.layer, layer.of_max, layer.of_rms) for layer in self.layers]
        rows.append(("network", self.of_max, self.of_rms))
        texts = [(fitted(name, 40), f"{of_max:.4f}", f"{of_rms:.4f}") for name, of_max, of_rms in rows]
        return "\n".join(text_table(_COLUMNS, texts))


def weight_noise(
    weights: Mapping[str, Tensor], own: Mapping[str, Hardware], columns: Mapping[str, Columns]
) -> EffectiveSigma:
    """σ_W/max|W| and σ_W/rms(W) of named weights, in closed form (`everychip.effective_sigma`).

    Args:
        weights: what the crossbar holds, by name, finite.
        own: the hardware of each, its device and mapping.
        columns: which numbers of each weight share a column, by name.

    Returns:
        A row for each weight, in their order.
    """
    layers = []
    with torch.no_grad():
        for name, parameter in weights.items():
            weight = columns[name].clipped(parameter.float())
            sigma = _rms(own[name].mapping.std(weight, own[name].device, columns=columns[name]))
            largest, typical = float(weight.abs().amax()), _rms(weight)
            # A layer of zeros has no noise: G_max stands for 0.
            layers.append(LayerSigma(name, sigma / (largest or 1), sigma / (typical or 1), parameter.numel()))
    return EffectiveSigma(tuple(layers))


def _rms(values: Tensor) -> float:
    return float(values.double().square().mean().sqrt())
