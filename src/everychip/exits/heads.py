"""The heads of exits, and how they read a model without changing it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.functional import adaptive_avg_pool1d, adaptive_avg_pool2d, adaptive_avg_pool3d

from everychip.errors import ModelError
from everychip.exits.dense import DenseHead
from everychip.exits.survey import Site
from everychip.network.modes import hooks_called
from everychip.network.taps import Taps

Init = Literal["default", "fan_out"]
"""How an exit's linear layers start: as PyTorch's do, or Kaiming normal by fan-out with biases 0."""


class Exits(nn.Module):
    """The exits of one model, earliest first. It holds the heads only, never the model.

    >>> import torch
    >>> from everychip import exits
    >>> model = torch.nn.Sequential(torch.nn.Linear(8, 16), torch.nn.ReLU(), torch.nn.Linear(16, 4))
    >>> list(exits.attach(model, torch.ones(2, 8), where=["1"]).state_dict())[:2]
    ['heads.exit1_1.hidden.weight', 'heads.exit1_1.hidden.bias']
    """

    def __init__(
        self, sites: Sequence[Site], *, hidden: int, classes: int, init: Init = "default", dense: bool = False
    ) -> None:
        super().__init__()
        kind = DenseHead if dense else Head
        self.positions, self.classes = tuple(site.name for site in sites), classes
        # A prefix, because a module may be called "keys" and ModuleDict has such a method.
        self.heads = nn.ModuleDict(
            {
                f"exit{n}_{site.name.replace('.', '_')}": kind(site, hidden=hidden, classes=classes)
                for n, site in enumerate(sites, start=1)
            }
        )
        if init == "fan_out":
            self.apply(_fan_out)

    @contextmanager
    def tap(self, model: nn.Module) -> Iterator[Taps]:
        """Collect the model's inner features, position → tensor, in the forwards run inside.

        The hooks live as long as the `with` block, also when it fails. A module called more than once is
        read at its last call. A later layer that writes over a module's output does not change what is read.

        Args:
            model: the network whose exits these are.

        Returns:
            A context; inside it, position → features of the last forward.
        """
        taps = Taps()
        handles = []
        try:
            for position in self.positions:
                handles.append(_submodule(model, position).register_forward_hook(taps.hook(position)))
            with hooks_called():
                yield taps
        finally:
            for handle in handles:
                handle.remove()

    def logits(
        self, taps: Mapping[str, Tensor], *, chip: Mapping[str, Tensor] | None = None
    ) -> list[Float[Tensor, "images classes"]]:
        """The feedback logits z_1 … z_N, earliest exit first; `chip` holds programmed head parameters.

        Args:
            taps: what `tap` collected.
            chip: programmed parameters of the heads; None, their own.

        Returns:
            [images, classes] of each exit.
        """
        result = functional_call(self, dict(chip), (taps,)) if chip else self(taps)
        return list(result)

    def forward(self, taps: Mapping[str, Tensor]) -> list[Float[Tensor, "images classes"]]:
        """The logits of each head on its own tap."""
        for position in self.positions:
            if position not in taps:
                raise ModelError(
                    position,
                    found="no features: the module was not called in the tapped forward",
                    remedy="run the model inside `with exits.tap(model) as taps`, or choose other positions",
                )
        pairs = zip(self.positions, self.heads.values(), strict=True)
        return [head(taps[position]) for position, head in pairs]


class Head(nn.Module):
    """AdaptiveAvgPool(k) → flatten → Linear(hidden) → ReLU → Linear(classes)."""

    def __init__(self, site: Site, *, hidden: int, classes: int) -> None:
        super().__init__()
        self.site = site
        self.pool = AveragePool(site.pool, site.spatial, device=site.device)
        self.hidden = nn.Linear(site.features, hidden, device=site.device, dtype=site.dtype)
        self.classes = nn.Linear(hidden, classes, device=site.device, dtype=site.dtype)

    def forward(self, features: Tensor) -> Float[Tensor, "images classes"]:
        """The logits of one exit."""
        logits: Tensor = self.classes(torch.relu(self.hidden(self.pool(self.site.arrange(features)))))
        return logits


class AveragePool(nn.Module):
    """Adaptive average pooling to a fixed size, flattened: y = R x Cᵀ per image and channel.

    Row i of R averages the inputs ⌊i·n/k⌋ … ⌈(i+1)·n/k⌉−1, as torch's adaptive_avg_pool2d does. In
    channels-last memory the two products are three times as fast as its kernel, backward included.

    >>> x = torch.randn(2, 3, 7, 5, generator=torch.Generator().manual_seed(0))
    >>> y = AveragePool((3, 2), (7, 5))(x.to(memory_format=torch.channels_last))
    >>> torch.allclose(y, torch.nn.functional.adaptive_avg_pool2d(x, (3, 2)).flatten(1), atol=1e-6)
    True
    """

    def __init__(
        self, size: tuple[int, ...], spatial: tuple[int, ...], *, device: torch.device | None = None
    ) -> None:
        super().__init__()
        self.size, self.spatial = size, spatial
        if len(size) == 2:
            self.register_buffer("rows", averages(spatial[0], size[0]).to(device), persistent=False)
            self.register_buffer("columns", averages(spatial[1], size[1]).to(device), persistent=False)

    def forward(self, x: Float[Tensor, "images channels *spatial"]) -> Float[Tensor, "images features"]:
        """The pooled features, in the order channels, rows, columns."""
        if not self.size:
            return x
        if all(size == 1 for size in self.size):
            return x.mean(dim=tuple(range(2, x.dim())))
        if len(self.size) == 2 and x.is_contiguous(memory_format=torch.channels_last):
            return self._products(x)
        pools: dict[int, Any] = {1: adaptive_avg_pool1d, 2: adaptive_avg_pool2d, 3: adaptive_avg_pool3d}
        pooled: Tensor = pools[len(self.size)](x, self.size)
        return pooled.flatten(1)

    def _products(self, x: Float[Tensor, "images channels rows columns"]) -> Float[Tensor, "images features"]:
        (images, channels, height, width), (k, m) = x.shape, self.size
        rows, columns = self.rows, self.columns
        if (height, width) != self.spatial:
            rows, columns = averages(height, k).to(x.device), averages(width, m).to(x.device)
        by_row = x.permute(0, 2, 3, 1).reshape(images, height, width * channels)
        squeezed = torch.bmm(rows.to(x.dtype).expand(images, k, height), by_row)
        by_column = squeezed.reshape(images * k, width, channels)
        pooled = torch.bmm(columns.to(x.dtype).expand(images * k, m, width), by_column)
        return pooled.reshape(images, k * m, channels).transpose(1, 2).reshape(images, -1)

    rows: Tensor
    columns: Tensor


def averages(inputs: int, outputs: int) -> Float[Tensor, "outputs inputs"]:
    """The matrix of adaptive average pooling: each row averages its bin.

    >>> averages(3, 2)
    tensor([[0.5000, 0.5000, 0.0000],
            [0.0000, 0.5000, 0.5000]])
    """
    row, place = torch.arange(outputs)[:, None], torch.arange(inputs)[None, :]
    start, stop = row * inputs // outputs, -((-(row + 1) * inputs) // outputs)
    inside = ((place >= start) & (place < stop)).float()
    return inside / inside.sum(dim=1, keepdim=True)


def _fan_out(module: nn.Module) -> None:
    """Kaiming normal by fan-out, std = √(2 / outputs), biases 0: the authors' start of their exits."""
    if isinstance(module, nn.Linear):
        nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        nn.init.zeros_(module.bias)


def _submodule(model: nn.Module, position: str) -> nn.Module:
    try:
        return model.get_submodule(position)
    except AttributeError:
        raise ModelError(
            position,
            found=f"no such submodule in this {type(model).__name__}",
            remedy="tap the model that the exits were made for",
        ) from None
