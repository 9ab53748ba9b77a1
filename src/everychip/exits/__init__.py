"""Exits: internal classifiers attached to layers while training, dropped afterwards."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from torch import Tensor, nn

from everychip.errors import ModelError
from everychip.exits.heads import Exits
from everychip.exits.positions import choose
from everychip.exits.survey import Site, output_classes, survey
from everychip.rng import contained

__all__ = ["Exits", "Site", "attach"]


def attach(
    model: nn.Module,
    sample: Tensor,
    *,
    classes: int | None = None,
    where: Literal["auto", "paper"] | Sequence[str] = "auto",
    count: int = 3,
    hidden: int = 512,
    pool: int | Sequence[int] | None = None,
    seed: int = 0,
) -> Exits:
    """Make exits for a model: AdaptiveAvgPool(k) → flatten → Linear(hidden) → ReLU → Linear(classes).

    where: "auto" takes `count` positions at even shares of the compute; "paper" those that the model's class
    names in `exit_positions`; else submodule names, earliest first. pool: k for all exits or for each; by
    default the paper's, or min(4, size). sample: a batch as the model takes it; it sizes the heads.
    The model is left as it was; see `Exits.tap` for how the exits read it.

    Source: Qin et al., arXiv 2305.14561 (multi-exit; IRS).

    >>> import torch
    >>> model = torch.nn.Sequential(torch.nn.Linear(8, 16), torch.nn.ReLU(), torch.nn.Linear(16, 4))
    >>> exits = attach(model, torch.ones(2, 8), where=["1"], hidden=32)
    >>> with exits.tap(model) as taps:
    ...     z = model(torch.ones(2, 8))
    >>> [tuple(z_n.shape) for z_n in exits.logits(taps)]
    [(2, 4)]
    """
    for name, value in (("count", count), ("hidden", hidden), ("classes", classes)):
        if value is not None and value < 1:
            raise ModelError(f"exits.{name}", found=str(value), expected="at least 1")
    seen = survey(model, sample)
    sites = choose(model, seen, where=where, count=count, pool=pool)
    with contained(seed, "exits"):
        return Exits(sites, hidden=hidden, classes=classes or output_classes(model, seen))
