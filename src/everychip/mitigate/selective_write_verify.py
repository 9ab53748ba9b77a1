"""Write and verify only the weights that the loss depends on most."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import torch
from jaxtyping import Bool, Float
from pydantic import Field
from torch import Tensor, nn

from everychip.data import Examples
from everychip.devices.base import Sigma
from everychip.errors import ModelError
from everychip.hardware.hardware import Hardware
from everychip.hardware.layers import must_be_alike
from everychip.hardware.placement import Placed
from everychip.mitigate.base import Address, BoundMitigation, Metadata, Mitigation
from everychip.mitigate.fisher import empirical_fisher
from everychip.mitigate.swim import curvature
from everychip.network.running import Runner
from everychip.network.soundness import device_of
from everychip.rng import rng_for

Score = Literal["auto", "swim", "fisher", "magnitude", "random"]
_WITHOUT_DATA = ("magnitude", "random")
_BATCH = 100


class SelectiveWriteVerify(Mitigation):
    """A share of the weights is written until it reads right: W' = W + σ_v/σ·ΔW there, W + ΔW elsewhere.

    fraction: the share of all crossbar weights that is verified: those with the highest scores, one threshold
    for the whole network, ties to the larger weight. The scores are computed once per model, not per chip.
    score: "swim", the second derivative of the loss (a chain of layers); "fisher", the empirical Fisher
    information (any model, one backward pass per image); "auto", the first where the model is such a chain,
    else the second; the controls "magnitude", |W|, and "random". A run records which it was. weighted:
    "variance" multiplies the score by σ_W² of the weight on this hardware (U-SWIM). sigma_verified: σ_v, the
    nominal device σ of a verified cell (published: 0.03 where σ is 0.1); never more than the device's own.
    cycles: the mean number of writes of a verified weight; any other is written once. images: how many
    training images are looked at. What else is done to the chip comes after.

    Source: Yan et al. (SWIM), DAC 2022, arXiv 2202.08395; variance weighting: U-SWIM, arXiv 2401.05357.

    >>> import torch, everychip as ec
    >>> model, hw = nn.Linear(10, 10), ec.Hardware(device=ec.devices.Gaussian(sigma=0.1))
    >>> verify = SelectiveWriteVerify(fraction=0.2, score="magnitude")
    >>> selection = verify.select(model, hw)
    >>> int(selection.verified["weight"].sum()), round(selection.normalised_write_cycles, 2)
    (20, 0.28)
    """

    fraction: Annotated[float, Field(ge=0, le=1)]
    score: Score = "auto"
    weighted: Literal["variance"] | None = None
    sigma_verified: Sigma = 0.03
    cycles: Annotated[float, Field(ge=1)] = 10.0
    images: Annotated[int, Field(ge=1)] = 500

    def validate_for(
        self, model: nn.Module, hardware: Hardware, calibration: Any = None, *, seed: int = 0
    ) -> None:
        self._when_verified(hardware)
        if self.score not in _WITHOUT_DATA:
            self._settled(model, self.calibration_images(calibration, self.images, seed=seed))

    def bind(
        self, model: nn.Module, hardware: Hardware, calibration: Any = None, *, seed: int = 0
    ) -> BoundMitigation:
        verified = self._when_verified(hardware)
        placed = _detached(Placed.of(model, hardware))
        selection = self._selected(model, placed, calibration, seed=seed)
        return _Verified(placed.with_hardware(verified), selection)

    def select(
        self, model: nn.Module, hardware: Hardware, calibration: Any = None, *, seed: int = 0
    ) -> Selection:
        """Which weights are verified, and what that costs.

        Args:
            model: the network, any `nn.Module`; it is left as it is.
            hardware: device, mapping and array that it is programmed into.
            calibration: training data, in any form that `evaluate` takes.
            seed: of all draws, a whole number.

        Returns:
            The weights by name, and their cost.
        """
        return self._selected(model, _detached(Placed.of(model, hardware)), calibration, seed=seed)

    def _selected(self, model: nn.Module, placed: Placed, calibration: Any, *, seed: int) -> Selection:
        weights = placed.weights
        score, scores = self._scored(model, placed, calibration, seed=seed)
        verified = highest(scores, weights, fraction=self.fraction)
        share = sum(int(mask.sum()) for mask in verified.values()) / sum(w.numel() for w in weights.values())
        return Selection(verified, share, (share * self.cycles + 1 - share) / self.cycles, score)

    def scores(
        self, model: nn.Module, hardware: Hardware, calibration: Any = None, *, seed: int = 0
    ) -> dict[str, Float[Tensor, ...]]:
        """The score of every crossbar weight, by name.

        Args:
            model: the network, any `nn.Module`; it is left as it is.
            hardware: device, mapping and array that it is programmed into.
            calibration: training data, in any form that `evaluate` takes.
            seed: of all draws, a whole number.

        Returns:
            Parameter name → a score for each weight, in its shape.
        """
        return self._scored(model, _detached(Placed.of(model, hardware)), calibration, seed=seed)[1]

    def _when_verified(self, hardware: Hardware) -> Hardware:
        """The hardware with cells as precise as those that were verified."""
        must_be_alike(hardware.layers, f"mitigation {self.kind}")
        own = hardware.device.nominal_sigma
        return hardware.with_sigma(self.sigma_verified if own is None else min(self.sigma_verified, own))

    def _scored(
        self, model: nn.Module, placed: Placed, calibration: Any, *, seed: int
    ) -> tuple[Score, dict[str, Tensor]]:
        """Which score it was, and the score of every crossbar weight."""
        weights, hardware, used = placed.weights, placed.hardware, self.score
        if used == "magnitude":
            found = {name: weight.abs() for name, weight in weights.items()}
        elif used == "random":
            found = {name: _uniform(weight, name, seed=seed) for name, weight in weights.items()}
        else:
            data = self.calibration_images(calibration, self.images, seed=seed)
            used = self._settled(model, data)
            swim = used == "swim"
            found = _curvatures(model, placed, data) if swim else empirical_fisher(model, hardware, data)
        if self.weighted == "variance":
            columns, law = placed.columns, hardware.mapping.std
            stds = {n: law(w, hardware.device, columns=columns[n]) for n, w in weights.items()}
            found = {name: score * stds[name].square() for name, score in found.items()}
        return used, found

    def _settled(self, model: nn.Module, data: Examples) -> Score:
        """The score that "auto" comes to; the recursion says by two images whether it knows the model."""
        if self.score == "fisher":
            return "fisher"
        try:
            curvature(model, data.x[:2].to(device_of(model)))
        except ModelError:
            if self.score == "auto":
                return "fisher"
            raise
        return "swim"


def _detached(placed: Placed) -> Placed:
    return placed.with_weights({name: weight.detach() for name, weight in placed.weights.items()})


def _curvatures(model: nn.Module, placed: Placed, data: Examples) -> dict[str, Tensor]:
    """SWIM's second derivative of every crossbar weight, summed over images."""
    sums = {name: torch.zeros_like(weight) for name, weight in placed.weights.items()}
    for x in Runner(model, batch_size=_BATCH).batches(data.x):
        for name, second in curvature(model, x).items():
            if name in sums:
                sums[name] += second
    return sums


def _uniform(weight: Tensor, name: str, *, seed: int) -> Tensor:
    return torch.rand(weight.shape, generator=rng_for(seed, "write-verify", name)).to(weight.device)


@dataclass(frozen=True)
class Selection:
    """The weights that are verified, by name.

    share: of all weights, 0 … 1; what SWIM's authors count, for whom only verifying costs cycles.
    normalised_write_cycles: the mean number of writes of a weight, over that of a fully verified network.
    score: what they were ranked by, "auto" settled.
    """

    verified: Mapping[str, Bool[Tensor, ...]]
    share: float
    normalised_write_cycles: float
    score: Score


def highest(
    scores: Mapping[str, Tensor], weights: Mapping[str, Tensor], *, fraction: float
) -> dict[str, Bool[Tensor, ...]]:
    """The given share of all weights with the highest scores, exactly; ties go to the larger |W|.

    >>> highest({"w": torch.tensor([1.0, 3.0, 1.0, 0.0])}, {"w": torch.tensor([2.0, 0, -4, 9])}, fraction=0.5)
    {'w': tensor([False,  True,  True, False])}
    """
    size = torch.cat([weights[name].abs().flatten() for name in scores])
    order = size.argsort(descending=True, stable=True)
    score = torch.cat([value.flatten() for value in scores.values()])
    order = order[score[order].argsort(descending=True, stable=True)]
    chosen = torch.zeros(len(score), dtype=torch.bool, device=score.device)
    chosen[order[: round(fraction * len(score))]] = True
    parts = torch.split(chosen, [value.numel() for value in scores.values()])
    return {name: part.reshape(scores[name].shape) for name, part in zip(scores, parts, strict=True)}


class _Verified(BoundMitigation):
    def __init__(self, placed: Placed, selection: Selection) -> None:
        self.placed, self.selection = placed, selection

    def __call__(self, chip: Mapping[str, Tensor], *, seed: int, path: Address) -> dict[str, Tensor]:
        # A weight is either verified or not, so the same draw at another scale is as good as a fresh one.
        exact = self.placed.program(seed=seed, path=path)
        masks = self.selection.verified
        return {
            name: torch.where(masks[name], exact[name], value) if name in masks else value
            for name, value in chip.items()
        }

    def metadata(self) -> tuple[Metadata, ...]:
        chosen = self.selection
        return (
            {
                "mitigation": SelectiveWriteVerify.kind,
                "score": chosen.score,
                "share_verified": chosen.share,
                "normalised_write_cycles": chosen.normalised_write_cycles,
            },
        )
