"""Sharpness-aware minimisation scaled by the weights' magnitude and range."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field
from torch import Tensor

from everychip.methods.base import Objective
from everychip.methods.sharpness import Sharpness


class SAMSON(Sharpness):
    """SAM scaled by outlier normalisation: L = CE at W + sg(ε), ε = ρ·T²·g / ‖T·g‖, T = |W| / ‖W‖.

    rho: ρ, in the weights' own unit. norm: ‖W‖ of a layer: "max", its largest magnitude, or "l2". A weight is
    moved in proportion to its share of its layer's range, as the crossbar's scale is set by that range. Only
    matrices of the crossbar are moved.
    Cost: 2 forwards per step.

    Source: after Mordido et al., SAMSON, arXiv 2211.11561: the abstract says that the step depends on
    magnitude and range; the formula and ρ are this project's reading of that, not checked against the paper.

    >>> SAMSON(norm="l2").rho
    0.1
    """

    rho: Annotated[float, Field(ge=0)] = 0.1
    norm: Literal["max", "l2"] = "max"

    def stretches(self, objective: Objective) -> dict[str, Tensor]:
        return {name: self.stretch(w.detach()) for name, w in objective.weights.items() if w.requires_grad}

    def stretch(self, weight: Tensor) -> Tensor:
        """T of one layer.

        Args:
            weight: the weights, in their own unit.

        Returns:
            In the shape of the weights.

        >>> import torch
        >>> SAMSON().stretch(torch.tensor([1.0, -4.0]))
        tensor([0.2500, 1.0000])
        """
        range_ = weight.abs().amax() if self.norm == "max" else weight.norm()
        return weight.abs() / range_.clamp_min(1e-12)
