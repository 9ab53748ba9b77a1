"""Any model of this package with exits that stay."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import nn

from everychip.exits import Init, MultiExit
from everychip.models.base import Model


class WithExits(Model, kind="multi_exit"):
    """`of` with exits whose logits stay part of its answer: z = Σ_n w_n·z_n (`everychip.MultiExit`).

    of: the model. positions: "auto" (even shares of the compute), "paper", or names of submodules; absent,
    the paper's where its class names some. count: the number of automatic exits. hidden: the width of a
    head's hidden layer. pool: the side that features are pooled to, one for all exits or one each. init:
    how the heads start.

    Source: this project's own.

    >>> net = WithExits(of={"kind": "vgg8", "width": 4}).build((3, 16, 16), 10)
    >>> net.exits.positions
    ('block1', 'block2', 'block4')
    """

    of: Model
    positions: Literal["auto", "paper"] | tuple[str, ...] | None = None
    count: Annotated[int, Field(ge=1)] = 3
    hidden: Annotated[int, Field(ge=1)] = 32
    pool: Annotated[int, Field(ge=1)] | tuple[Annotated[int, Field(ge=1)], ...] = 2
    init: Init = "default"

    @property
    def label(self) -> str:
        """The short name that tables and plots show."""
        return f"{self.of.label} with exits"

    def network(self, input_shape: tuple[int, ...], classes: int) -> nn.Module:
        """The model's own network, with the same start as without exits, and the exits."""
        backbone = self.of.network(input_shape, classes)
        tokens = getattr(self.of, "vocabulary", None) is not None
        sample = torch.zeros((2, *input_shape), dtype=torch.long if tokens else torch.float32)
        seed = int(torch.randint(2**31, ()))  # of the generator that `build` has set
        return MultiExit(
            backbone,
            sample,
            where=self.positions if isinstance(self.positions, str | None) else list(self.positions),
            count=self.count,
            hidden=self.hidden,
            pool=self.pool if isinstance(self.pool, int) else list(self.pool),
            init=self.init,
            seed=seed,
        )
