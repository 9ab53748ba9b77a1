"""Exits of networks that answer at every place: the same two linear layers, along the channels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import interpolate

from everychip.errors import ModelError
from everychip.exits.survey import Site, Survey

_MODES = {1: "linear", 2: "bilinear", 3: "trilinear"}


class DenseHead(nn.Module):
    """Linear(hidden) → ReLU → Linear(classes) at every place of the features.

    >>> site = Site("0", 0, False, 4, (8,), torch.float32, torch.device("cpu"))
    >>> DenseHead(site, hidden=16, classes=3)(torch.zeros(2, 4, 8)).shape
    torch.Size([2, 3, 8])
    """

    def __init__(self, site: Site, *, hidden: int, classes: int) -> None:
        super().__init__()
        self.site = site
        self.hidden = nn.Linear(site.channels, hidden, device=site.device, dtype=site.dtype)
        self.classes = nn.Linear(hidden, classes, device=site.device, dtype=site.dtype)

    def forward(self, features: Tensor) -> Float[Tensor, "n classes *places"]:
        """The logits of one exit at the places of its features."""
        channels_last = self.site.arrange(features).movedim(1, -1)
        logits: Tensor = self.classes(torch.relu(self.hidden(channels_last)))
        return logits.movedim(-1, 1)


def spread_like(logits: Float[Tensor, "n classes *places"], z: Tensor, *, axis: int) -> Tensor:
    """An exit's logits at the places of the network's own, interpolated linearly, classes on its axis.

    >>> spread_like(torch.zeros(2, 3, 4, 4), torch.zeros(2, 3, 8, 8), axis=1).shape
    torch.Size([2, 3, 8, 8])
    """
    return spread_to(logits, z.movedim(axis, 1).shape[2:], axis=axis)


def spread_to(logits: Float[Tensor, "n classes *places"], places: Sequence[int], *, axis: int) -> Tensor:
    """An exit's logits at so many places, interpolated linearly, classes on the axis."""
    places = tuple(places)
    if tuple(logits.shape[2:]) != places:
        logits = interpolate(logits, size=places, mode=_MODES[len(places)], align_corners=False)
    return logits.movedim(1, axis)


def places_only(model: nn.Module, survey: Survey, *, axis: int) -> tuple[Survey, int]:
    """The survey with the sites that have as many axes of places as the output, and its number of classes."""
    output = survey.trace.output
    places = 0 if output is None else output.ndim - 2
    if output is None or places not in _MODES:
        raise ModelError(
            type(model).__name__,
            found="an output that has no places",
            expected="logits at one, two or three axes of places",
        )
    sites = {name: site for name, site in survey.sites.items() if len(site.spatial) == places}
    return replace(survey, sites=sites), int(output.shape[axis])
