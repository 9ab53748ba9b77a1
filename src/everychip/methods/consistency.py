"""Layers whose noisy outputs are pulled towards their clean ones."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from everychip.config.registering import Formerly
from everychip.errors import ModelError
from everychip.methods.base import Method, Objective
from everychip.methods.losses import full_precision
from everychip.methods.probe import FORWARD_ONLY, crossbar_layers, forward_frozen_stats, outputs, same_masks


class Consistency(Method):
    """Layer consistency: L = CE(z, y) + λ·Σ_l ‖h_l − sg(h̄_l)‖² / ‖h̄_l‖².

    h_l, h̄_l: what crossbar layer l returns for the batch on a fresh chip and on the digital model; sg: no
    gradient. Norms are over the whole batch, so a layer's term is its relative squared error, without unit.
    coefficient: λ. Both forwards meet the same dropout masks; only the chip's moves running statistics.
    Cost: 1⅓ forwards per step: the clean one has no backward.

    Source: after Hou et al., Mach. Learn.: Sci. Technol. 5, 035065 (2024); norms and λ are this project's.

    >>> Consistency(coefficient=0.3).coefficient
    0.3
    """

    controls: ClassVar[tuple[str, ...]] = ("noise_injection",)
    any_task: ClassVar[bool] = True

    coefficient: Annotated[float, Field(ge=0), Formerly("weight")] = 0.01
    forwards: ClassVar[float] = 1 + FORWARD_ONLY

    def loss(self, objective: Objective, x: Tensor, y: Tensor) -> Tensor:
        names = crossbar_layers(objective)
        with torch.no_grad(), same_masks(objective), outputs(objective.model, names) as clean:
            forward_frozen_stats(objective.runner, {}, x)
        with outputs(objective.model, names) as noisy:
            z = objective.noisy_logits(x)
        return objective.criterion(z, y) + self.coefficient * relative_error(noisy, clean)


def relative_error(
    noisy: Mapping[str, Float[Tensor, "*shape"]], clean: Mapping[str, Float[Tensor, "*shape"]]
) -> Float[Tensor, ""]:
    """Σ_l ‖h_l − h̄_l‖² / ‖h̄_l‖² over the layers.

    >>> float(relative_error({"a": torch.tensor([3.0, 0.0])}, {"a": torch.tensor([2.0, 0.0])}))
    0.25
    """
    if not clean:
        raise ModelError(
            "method consistency",
            found="no crossbar layer that is called as a module",
            expected="at least one, whose output can be read",
            remedy="use another method for this model",
        )
    terms = []
    for name, reference in clean.items():
        h, clean_h = full_precision(noisy[name]), full_precision(reference)
        terms.append((h - clean_h).square().sum() / clean_h.square().sum().clamp_min(1e-12))
    return torch.stack(terms).sum()
