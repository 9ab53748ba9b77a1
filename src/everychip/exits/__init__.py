"""Exits: internal classifiers attached to layers, dropped after training or kept (`MultiExit`)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

from torch import nn

from everychip.config.arguments import a, index, one_of, optional, several, takes, whole
from everychip.data.inputs import Inputs, batch
from everychip.exits.dense import places_only
from everychip.exits.heads import Exits, Init
from everychip.exits.multi_exit import MultiExit, multi_exit
from everychip.exits.positions import choose
from everychip.exits.survey import Site, output_classes, survey
from everychip.hardware.arguments import MODEL
from everychip.rng import seeded_global_generator

__all__ = ["Exits", "Init", "MultiExit", "Site", "attach", "multi_exit", "start_of_exits"]


@takes(
    model=MODEL,
    sample=batch,
    classes=optional(whole(least=1)),
    count=whole(least=1),
    hidden=whole(least=1),
    seed=index,
    where=several(a(str, '"auto", "paper" or a list of names')),
    pool=optional(several(whole(least=1))),
    init=one_of(*get_args(Init), "auto"),
)
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

    The model is left as it was; see `Exits.tap` for how the exits read it.

    Args:
        model: the network, any `nn.Module`; it is left as it is.
        sample: a batch as the model takes it; it sizes the heads.
        classes: the logits of an exit; None, as many as the model gives.
        where: "auto", `count` positions at even shares of the compute; "paper", those that the model's class
            names in `exit_positions`; or submodule names, earliest first.
        count: how many automatic positions.
        hidden: the width of each head.
        pool: k for all exits or for each; None, the paper's, or min(4, size).
        init: how both linear layers start: "fan_out", the authors', Kaiming normal of std √(2 / outputs) with
            biases 0; "default", PyTorch's; "auto", the authors' where the positions are theirs, else
            PyTorch's.
        seed: of all draws, a whole number.
        axis: where the classes are in an output that has places, 1 of [n, classes, h, w], −1 of [n, t,
            classes]: the heads then answer at every place of their features, and are not pooled.

    Returns:
        The exits, which read the model by `Exits.tap`.

    Source: Qin et al., arXiv 2305.14561 (multi-exit; IRS).

    >>> import torch
    >>> model = torch.nn.Sequential(torch.nn.Linear(8, 16), torch.nn.ReLU(), torch.nn.Linear(16, 4))
    >>> exits = attach(model, torch.ones(2, 8), where=["1"], hidden=32)
    >>> with exits.tap(model) as taps:
    ...     z = model(torch.ones(2, 8))
    >>> [tuple(z_n.shape) for z_n in exits.logits(taps)]
    [(2, 4)]
    """
    seen = survey(model, sample)
    if axis is not None:
        seen, classes = places_only(model, seen, axis=axis)
    sites = choose(model, seen, where=where, count=count, pool=pool)
    with seeded_global_generator(seed, "exits"):
        return Exits(
            sites,
            hidden=hidden,
            classes=classes or output_classes(model, seen, otherwise="pass classes="),
            init=start_of_exits(init, where=where),
            dense=axis is not None,
        )


def start_of_exits(init: Init | Literal["auto"], *, where: str | Sequence[str]) -> Init:
    """The start that "auto" stands for: the authors' where the positions are theirs, else PyTorch's.

    Args:
        init: what was requested.
        where: where the exits stand.

    Returns:
        "fan_out" or "default".

    >>> start_of_exits("auto", where="paper"), start_of_exits("auto", where="auto")
    ('fan_out', 'default')
    """
    if init != "auto":
        return init
    return "fan_out" if where == "paper" else "default"
