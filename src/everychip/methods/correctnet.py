"""Error suppression: matrices near an isometry, so that no layer amplifies what the last one got wrong."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Annotated, ClassVar, Literal

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from everychip.errors import ConfigError
from everychip.hardware.hardware import Hardware
from everychip.mapping import Columns
from everychip.methods.base import Method, Objective
from everychip.methods.losses import full_precision


class CorrectNet(Method, kind="correctnet"):
    """Lipschitz regularisation: L = CE(z, y) + β·Σ_l ‖W_lᵀW_l − λ²I‖²_F.

    beta: β, without unit. scale: λ, the wanted singular value of every W_l, in the weights' own unit.
    view: what W_l is. "matrix": the layer as [out, in·k·k], in the inputs of its group, λ = 1/(μ + 3s) with
    μ = e^{σ²/2} and s² = (e^{σ²} − 1)·e^{σ²}, the mean and the variance of e^N(0, σ²), σ the device's nominal
    one. "kernel": every k×k kernel alone, λ = 1, that is the last two dimensions of a weight: a linear layer
    as it is, [in, k] of each output of a Conv1d, each k×k slice of a Conv3d's kernels. The Gram matrix is
    formed on the smaller side; the other one differs by the constant λ⁴·|rows − columns|.
    noise: whether z is that of a fresh chip, or clean.
    Cost: 1 forward per step. The second stage is `everychip.methods.compensators`.

    Source: after Eldebiky et al., CorrectNet, DATE 2023, arXiv 2211.14917 (λ comes from secondary notes and
    was not checked against the paper); "kernel" with β = 5e-4 and noise is what Qin et al.'s code compares.

    >>> CorrectNet(view="kernel").beta
    0.0005
    """

    controls: ClassVar[tuple[str, ...]] = ("noise_injection",)
    any_task: ClassVar[bool] = True

    beta: Annotated[float, Field(ge=0)] = 5e-4
    view: Literal["matrix", "kernel"] = "matrix"
    scale: Annotated[float, Field(gt=0)] | None = None
    noise: bool = True

    @property
    def noisy(self) -> bool:  # type: ignore[override]
        """Whether z comes from chips."""
        return self.noise

    def validate_for(self, hardware: Hardware, sample: Tensor | None) -> None:
        """λ comes from a nominal σ unless it is given."""
        self._scale(hardware)

    def loss(self, objective: Objective, x: Tensor, y: Tensor) -> Tensor:
        z = objective.noisy_logits(x) if self.noise else objective.runner.logits({}, x)
        weights = objective.weights
        if self.view == "matrix":
            weights = {name: outputs_first(w, objective.columns[name]) for name, w in weights.items()}
        penalty = departure(weights.values(), self._scale(objective.hardware), view=self.view)
        return objective.criterion(z, y) + self.beta * penalty

    def _scale(self, hardware: Hardware) -> float:
        if self.scale is not None:
            return self.scale
        if self.view == "kernel":
            return 1.0
        sigma = hardware.device.nominal_sigma
        if sigma is None:
            raise ConfigError(
                "method.scale",
                found=f"none, and device {hardware.device.label} has no nominal σ to derive it from",
                expected="λ, the wanted singular value of every matrix",
                remedy="method.scale = 0.7, or a device with a σ",
            )
        return lipschitz_bound(sigma)


def lipschitz_bound(sigma: float) -> float:
    """λ = 1/(μ + 3s): a matrix times e^N(0, σ²) three deviations above its mean has norm 1.

    >>> round(lipschitz_bound(0.0), 3), round(lipschitz_bound(0.4), 3)
    (1.0, 0.41)
    """
    mean = math.exp(sigma**2 / 2)
    deviation = math.sqrt((math.exp(sigma**2) - 1) * math.exp(sigma**2))
    return 1 / (mean + 3 * deviation)


def outputs_first(weight: Float[Tensor, "*weights"], columns: Columns) -> Float[Tensor, "*weights"]:
    """The weight with its outputs along dimension 0, as a transposed convolution does not hold them.

    >>> layer = torch.nn.ConvTranspose2d(4, 6, 3, groups=2)
    >>> outputs_first(layer.weight, Columns(axis=1, groups=2)).shape
    torch.Size([6, 2, 3, 3])
    """
    # A matrix and its transpose have one Gram matrix on the smaller side.
    if columns.axis == 0 or weight.ndim == 2:
        return weight
    blocks = weight.reshape(columns.groups, -1, *weight.shape[1:])
    return blocks.transpose(1, 2).flatten(0, 1)


def departure(
    weights: Iterable[Float[Tensor, "out ..."]], scale: float, *, view: Literal["matrix", "kernel"]
) -> Float[Tensor, ""]:
    """Σ_l ‖G_l − λ²I‖²_F, G_l the Gram matrix of W_l on its smaller side.

    >>> float(departure([2 * torch.eye(3)], 2.0, view="matrix"))
    0.0
    """
    terms = []
    for weight in weights:
        # Squares of products: half precision would lose what is left of G − λ²I near the goal.
        with torch.autocast(weight.device.type, enabled=False):
            w = full_precision(weight)
            w = w.flatten(1) if view == "matrix" else w.reshape(-1, w.shape[-2], w.shape[-1])
            gram = w @ w.mT if w.shape[-2] <= w.shape[-1] else w.mT @ w
            goal = scale**2 * torch.eye(gram.shape[-1], dtype=gram.dtype, device=gram.device)
            terms.append((gram - goal).square().sum())
    return torch.stack(terms).sum()
