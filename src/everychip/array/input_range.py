"""The range of a DAC that training has learned, and the gradient that it is learned by."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True)
class InputRange:
    """β, the largest |x| that the DAC of one matrix converts: x̂ = Δ·round(clamp(x, −β, β) / Δ).

    ∂L/∂β = Σ_{x ≥ β} ∂L/∂x̂ − Σ_{x ≤ −β} ∂L/∂x̂ + decay·1[share of |x| < β is above `kept`]; rounding is seen
    through, and what is clipped has no gradient of its own. widen: of the two sums only what would make β
    larger counts, min(∂L/∂x̂, 0) and −max(∂L/∂x̂, 0); then it is the decay that makes it smaller.

    value: β, a scalar, on the graph of what is trained.

    Source: Rasch et al., Nat. Commun. 14:5282 (2023), arXiv 2302.08469, and Büchel et al., arXiv 2505.09663;
    in this form the `InputRangeForward` of aihwkit 1.1.0.

    >>> x, slope = torch.tensor([3.0, 0.5, -4.0]), torch.tensor([-1.0, 5.0, 0.25])
    >>> InputRange(torch.tensor(2.0)).gradient(x, slope)
    tensor(-1.2500)
    """

    value: Float[Tensor, ""]
    decay: float = 0.0
    kept: float = 1.0
    widen: bool = False

    @torch.no_grad()
    def gradient(self, x: Float[Tensor, "*inputs"], slope: Float[Tensor, "*inputs"]) -> Float[Tensor, ""]:
        """∂L/∂β of one read.

        Args:
            x: the inputs before the DAC.
            slope: ∂L/∂x̂, in their shape.

        Returns:
            A scalar, in the dtype of β.
        """
        full = self.value
        above, below = slope[x >= full].to(full.dtype), slope[x <= -full].to(full.dtype)
        if self.widen:
            above, below = above.clamp(max=0), below.clamp(min=0)
        found = above.sum() - below.sum()
        if self.decay:
            inside = 1 - (above.numel() + below.numel()) / max(x.numel(), 1)
            found = found + (self.decay if inside > self.kept else 0.0)
        return found


def unclipped(slope: Tensor, x: Tensor, full: Tensor) -> Tensor:
    """The gradient at the inputs: none where they are beyond ±β.

    >>> unclipped(torch.ones(2), torch.tensor([0.5, 3.0]), torch.tensor(2.0))
    tensor([1., 0.])
    """
    return slope.masked_fill(x.abs() > full, 0)
