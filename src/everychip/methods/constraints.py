"""Constraints: what is applied to the weights after each optimiser step."""

from __future__ import annotations

import itertools
import math
from abc import abstractmethod
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from everychip.config.component import Component
from everychip.devices import Device
from everychip.mapping import BitSliced, CellMapping
from everychip.mapping.columns import OUTPUTS_FIRST, Columns

LEAST_ALPHA, MOST_ALPHA = 1.3, 2.5
"""Between them α is chosen: below, a layer is nearly binary; above, hardly a weight is clamped."""


class Constraint(Component, family="constraint"):
    """Something the weights on the crossbar are brought back to after each optimiser step."""

    @abstractmethod
    def apply(self, weights: Iterable[Tensor]) -> None:
        """Change the weights in place, layer by layer."""

    def apply_on(self, weights: Iterable[Tensor], columns: Iterable[Columns]) -> None:
        """`apply`, told which numbers of each weight share a column, as a law of noise may have to know."""
        self.apply(weights)


class Clip(Constraint):
    """Clamp every layer to ±α·rms(W); step by step σ_W / rms(W) comes down to about α·σ_W / max|W|.

    alpha: α, without unit, at least 1: the largest weight that stays, in units of the layer's rms before
    the clamp. The device noise scales with max|W|, so 1.5 … 2.5 makes it up to four times smaller.

    Source: weight clipping as in Joshi et al., Nat. Commun. 2020; the limit in units of the rms is this
    project's.

    >>> import torch
    >>> w = torch.tensor([[1.0, 1.0, 1.0, -5.0]])
    >>> Clip(alpha=1.5).apply([w]); w.abs().max() < 4
    tensor(True)
    """

    alpha: Annotated[float, Field(ge=1)] = 1.5

    @torch.no_grad()
    def apply(self, weights: Iterable[Tensor]) -> None:
        for weight in weights:
            limit = self.alpha * weight.square().mean().sqrt()
            torch.clamp(weight, min=-limit, max=limit, out=weight)


class ClipColumn(Constraint):
    """Clamp every column (each output channel) to ±α times the standard deviation of its own weights.

    alpha: α, without unit; 2.5 … 3.5 in the publications. It is what a mapping with `scale = "column"` asks
    for: a channel's full scale is that of its own weights, and one outlier is no other channel's matter.

    Source: Büchel et al., Analog Foundation Models, arXiv 2505.09663: iterative clipping, α = 2 … 3.5.

    >>> import torch
    >>> w = torch.tensor([[1.0, -1.0, 1.0, -1.0, 8.0], [0.1, -0.1, 0.1, -0.1, 0.0]])
    >>> ClipColumn(alpha=1.5).apply([w]); (w[0].abs().max() < 8).item(), w[1].abs().max()
    (True, tensor(0.1000))
    """

    alpha: Annotated[float, Field(ge=1)] = 2.5

    def apply(self, weights: Iterable[Tensor]) -> None:
        self.apply_on(weights, itertools.repeat(OUTPUTS_FIRST))

    @torch.no_grad()
    def apply_on(self, weights: Iterable[Tensor], columns: Iterable[Columns]) -> None:
        # The columns may be endless.
        for weight, held in zip(weights, columns, strict=False):
            blocks = weight.reshape(held.groups, -1, *weight.shape[1:])
            others = [dim for dim in range(1, blocks.ndim) if dim != held.axis + 1]
            reach = self.alpha * torch.std(blocks, dim=others, correction=0, keepdim=True)
            weight.copy_(torch.maximum(torch.minimum(blocks, reach), -reach).reshape(weight.shape))


class Flatten(Clip):
    """Clamp every layer to ±α·rms(W), as `clip` does, and scale it back to the rms it had.

    alpha: α, as for `clip`, which takes a little of a layer's rms at every step. Where α is small and no
    normalisation follows the layer, the logits shrink towards nothing without the scaling.

    Source: this project's own.

    >>> import torch
    >>> w = torch.tensor([[1.0, 1.0, 1.0, -5.0]])
    >>> Flatten(alpha=1.1).apply([w]); w.square().mean()
    tensor(7.)
    """

    alpha: Annotated[float, Field(ge=1)] = 1.1

    def apply(self, weights: Iterable[Tensor]) -> None:
        layers = list(weights)
        with keeping_rms(layers):
            super().apply(layers)


class ClipToNoise(Constraint):
    """Clamp each layer to ±α·rms(W), each step with the α that its own noise asks for then.

    α = clamp(target / s, 1.3, 2.5), s = σ_W / max|W|, σ_W the rms over the layer's weights of the standard
    deviation of a programmed weight: σ_W / rms(W) settles at the target, or as near as the bounds let it.
    target: the σ_W / rms(W) to aim at, without unit. device, mapping: the law σ_W follows; give those of the
    hardware. Where a device is quiet at the ends of its range, layers whose weights lie there are clamped
    less; where its σ is the same everywhere, α is one number for all layers.

    Source: this project's own.

    >>> import torch; from everychip.devices import preset
    >>> law = ClipToNoise(device=preset("FeFET6", sigma=0.2), target=0.23)
    >>> middle, ends = torch.linspace(-1, 1, 100), torch.tensor([[1.0, -1.0], [0.9, 0.1]])
    >>> round(law.alpha(middle), 2), round(law.alpha(ends), 2)
    (1.33, 2.5)
    """

    device: Device
    mapping: CellMapping = BitSliced()
    target: Annotated[float, Field(gt=0)] = 0.16

    def apply(self, weights: Iterable[Tensor]) -> None:
        self.apply_on(weights, itertools.repeat(OUTPUTS_FIRST))

    def apply_on(self, weights: Iterable[Tensor], columns: Iterable[Columns]) -> None:
        # The columns may be endless.
        for weight, held in zip(weights, columns, strict=False):
            Clip(alpha=self.alpha(weight, columns=held)).apply([weight])

    @torch.no_grad()
    def alpha(self, weight: Tensor, *, columns: Columns = OUTPUTS_FIRST) -> float:
        """The α of a layer as it is now."""
        full = weight.float()
        sigma = self.mapping.std(full, self.device, columns=columns).square().mean().sqrt()
        return alpha_for(float(sigma), float(full.abs().amax()), target=self.target)


def alpha_for(sigma: float, largest: float = 1.0, *, target: float) -> float:
    """α = clamp(target / (σ_W / max|W|), 1.3, 2.5). sigma: σ_W. largest: max|W|, in the same unit.

    >>> [round(alpha_for(s, target=0.23), 2) for s in (0.311, 0.1555, 0.0778, 0.0)]
    [1.3, 1.48, 2.5, 2.5]
    """
    return max(LEAST_ALPHA, min(target * largest / sigma, MOST_ALPHA)) if sigma > 0 else MOST_ALPHA


@contextmanager
def keeping_rms(weights: Iterable[Tensor], *, most: float | None = None) -> Iterator[None]:
    """Scale each layer back, afterwards, to the rms it had before.

    most: no layer is scaled up beyond an rms of most / √(inputs); absent, there is no such bound. What stands
    above it keeps what the block left of it.

    >>> import torch
    >>> w = torch.tensor([[3.0, -4.0]])
    >>> with keeping_rms([w]):
    ...     _ = w.clamp_(-1, 1)
    >>> w
    tensor([[ 3.5355, -3.5355]])
    """
    layers = [weight.detach() for weight in weights]
    before = [weight.square().mean().sqrt() for weight in layers]
    yield
    for weight, rms in zip(layers, before, strict=True):
        now = weight.square().mean().sqrt()
        bound = rms if most is None else now.clamp(min=most / math.sqrt(weight[0].numel()))
        wanted = torch.minimum(rms, bound)
        weight.mul_(torch.where(now > 0, wanted / now, torch.ones_like(now)))


def clip(alpha: float) -> Clip:
    """Shorthand for `Clip(alpha=alpha)`.

    >>> clip(2.0)
    Clip(alpha=2.0)
    """
    return Clip(alpha=alpha)
