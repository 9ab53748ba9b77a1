"""Exits: internal classifiers attached to layers, dropped after training or kept (`MultiExit`)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from torch import nn

from everychip.data.inputs import Inputs
from everychip.errors import ModelError
from everychip.exits.dense import places_only
from everychip.exits.heads import Exits, Init
from everychip.exits.multi_exit import MultiExit, multi_exit
from everychip.exits.positions import choose
from everychip.exits.survey import Site, output_classes, survey
from everychip.rng import seeded_global_generator

__all__ = ["Exits", "Init", "MultiExit", "Site", "attach", "multi_exit", "start_of_exits"]


def attach(
    model: nn.Module,
    sample: Inputs,
    *,
    classes: int | None = None,
    where: Literal["auto", "paper"] | Sequence[str] = "auto",
    count: int = 3,
    hidden: int = 512,
    pool: int | Sequence[int] | None = None,
    init: Init | Literal["auto"] = "auto",
    seed: int = 0,
    axis: int | None = None,
) -> Exits:
    """Make exits for a model: AdaptiveAvgPool(k) → flatten → Linear(hidden) → ReLU → Linear(classes).

    where: "auto" takes `count` positions at even shares of the compute; "paper" those that the model's class
    names in `exit_positions`; else submodule names, earliest first. pool: k for all exits or for each; by
    default the paper's, or min(4, size). init: how both linear layers start: "fan_out" is the authors',
    Kaiming normal of std √(2 / outputs) with biases 0; "default" is PyTorch's; "auto" is the authors' where
    the positions are theirs, else PyTorch's. sample: a batch as the model takes it; it sizes the heads.
    axis: where the classes are in an output that has places, 1 of [n, classes, h, w], −1 of [n, t, classes]:
    the heads then answer at every place of their features, and are not pooled.
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
    if axis is not None:
        seen, classes = places_only(model, seen, axis=axis)
    sites = choose(model, seen, where=where, count=count, pool=pool)
    with seeded_global_generator(seed, "exits"):
        return Exits(
            sites,
            hidden=hidden,
            classes=classes or output_classes(model, seen),
            init=start_of_exits(init, where=where),
            dense=axis is not None,
        )


def start_of_exits(init: Init | Literal["auto"], *, where: str | Sequence[str]) -> Init:
    """The start that "auto" stands for: the authors' where the positions are theirs, else PyTorch's.

    >>> start_of_exits("auto", where="paper"), start_of_exits("auto", where="auto")
    ('fan_out', 'default')
    """
    if init != "auto":
        return init
    return "fan_out" if where == "paper" else "default"
