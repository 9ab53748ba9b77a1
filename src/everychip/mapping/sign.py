"""How cells, whose conductances are positive, hold weights of either sign."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from everychip.config.component import Component
from everychip.mapping.columns import Columns


@dataclass(frozen=True)
class Part:
    """One of the magnitudes that a weight is made of: W = max|W| · Σ gain·magnitude.

    magnitude: 0 … 1, of every weight or, where `shared`, of every row. gain: what it counts for, of either
    sign. signs: weights whose signs multiply it, if any. noisy: whether cells of the device hold it.
    """

    magnitude: Float[Tensor, "*weights"]
    gain: float = 1.0
    signs: Float[Tensor, "*weights"] | None = None
    shared: bool = False
    noisy: bool = True

    def signed(self, values: Float[Tensor, "*weights"]) -> Float[Tensor, "*weights"]:
        """The values with the sign of each weight, where it is kept beside the cells."""
        if self.signs is None:
            return values
        # A zero weight counts as positive, because its cell is there and is noisy, too.
        return values * torch.where(self.signs < 0, -1.0, 1.0).to(values.dtype)


class Sign(Component, family="sign"):
    """How the sign of a weight is held, for every kind of mapping."""

    @abstractmethod
    def parts(self, w: Float[Tensor, "*weights"], *, columns: Columns, steps: int | None) -> tuple[Part, ...]:
        """The magnitudes of weights w = W / max|W|, −1 … 1; steps: of a rounded magnitude, else None.

        Args:
            w: weights over their column's max|W|, −1 … 1.
            columns: which of the weights share a column.
            steps: of a rounded magnitude; None where it is not rounded.

        Returns:
            Each part with its sign and its magnitudes, 0 … 1.
        """


class SignMagnitude(Sign):
    """The magnitude on cells, the sign beside them, digitally: W = sign(W)·max|W|·u, u = |W| / max|W|.

    Source: Qin et al., arXiv 2305.14561, authors' code, which disturbs one magnitude per weight.

    >>> import torch
    >>> from everychip.mapping.columns import OUTPUTS_FIRST
    >>> [part] = SignMagnitude().parts(torch.tensor([[0.5, -1.0]]), columns=OUTPUTS_FIRST, steps=None)
    >>> part.magnitude, part.signed(part.magnitude)
    (tensor([[0.5000, 1.0000]]), tensor([[ 0.5000, -1.0000]]))
    """

    def parts(self, w: Float[Tensor, "*weights"], *, columns: Columns, steps: int | None) -> tuple[Part, ...]:
        return (Part(w.abs(), signs=w),)


class Differential(Sign):
    """A pair of cells: W = max|W|·(u⁺ − u⁻), u⁺ = max(W, 0) / max|W|, u⁻ = max(−W, 0) / max|W|.

    One of the two is idle, at G_min, and is noisy there: σ_W² = max|W|²·(σ²(|W| / max|W|) + σ²(0)).

    Source: Joshi et al., Nat. Commun. 2020 (two PCM devices of opposite sign per weight).

    >>> import torch
    >>> from everychip.devices import Gaussian; from everychip.mapping import Direct
    >>> Direct(sign="differential").std(torch.tensor([[0.5, -2.0]]), Gaussian(sigma=0.1))
    tensor([[0.2828, 0.2828]])
    """

    def parts(self, w: Float[Tensor, "*weights"], *, columns: Columns, steps: int | None) -> tuple[Part, ...]:
        return Part(w.clamp(min=0)), Part((-w).clamp(min=0), gain=-1.0)


class Offset(Sign):
    """Weights shifted upwards, less a reference column: W = γ·max|W|·(u − u_ref), u = u_ref + W / (γ·max|W|).

    γ = 1 / (1 − u_ref), so that max|W| stands at G_max. Analog cells: u_ref = 1/2, γ = 2. Magnitudes rounded
    to M bits: u_ref = 2^(M−1) / (2^M − 1), a step itself, so that a zero weight is exact; 2^(M−1) − 1 steps
    are left for either sign, half as many as elsewhere.
    noisy_reference: whether the reference column, one for all columns of a group, is held by such cells, too:
    then σ_W² = γ²·max|W|²·(σ²(u) + σ²(u_ref)), and all weights of a row share the reference's error. false:
    the reference is exact, as where it is subtracted digitally.

    Source: Shafiee et al. (ISAAC), ISCA 2016, biased weights with a digital reference; the noisy one is ours.

    >>> import torch
    >>> from everychip.devices import Gaussian; from everychip.mapping import Direct
    >>> for sign in (Offset(), Offset(noisy_reference=False)):
    ...     Direct(sign=sign).std(torch.tensor([[0.5, -2.0]]), Gaussian(sigma=0.1))
    tensor([[0.5657, 0.5657]])
    tensor([[0.4000, 0.4000]])
    """

    noisy_reference: bool = True

    def parts(self, w: Float[Tensor, "*weights"], *, columns: Columns, steps: int | None) -> tuple[Part, ...]:
        middle = 0.5 if steps is None else (steps + 1) // 2 / steps
        gain = 1 / (1 - middle)
        reference = torch.full_like(columns.one_per_row(w), middle, requires_grad=False)
        return (
            Part(middle + w / gain, gain=gain),
            Part(reference, gain=-gain, shared=True, noisy=self.noisy_reference),
        )
