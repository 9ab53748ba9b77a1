"""The recipe that survives: what this project found to work, chosen by reading the device's law."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Annotated, Any, ClassVar, Literal, Self

import torch
from jaxtyping import Float
from pydantic import Field, field_validator, model_validator
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from everychip.config.component import refusal
from everychip.config.registering import Formerly
from everychip.hardware.hardware import Hardware
from everychip.hardware.layers import must_be_alike
from everychip.mapping.base import full_scale
from everychip.methods.base import Method, Objective
from everychip.methods.batch_renorm import population_norm
from everychip.methods.constraints import Clip, ClipToNoise, alpha_for, keeping_rms
from everychip.methods.losses import full_precision
from everychip.methods.probe import FORWARD_ONLY, forward_frozen_stats, same_masks

_NORMS = (_NormBase, nn.GroupNorm)

STEPS = 500
"""Of the range 0 … max|W|, at which a device's law is read."""

WINDOW = STEPS // 4
"""Half the width, in those steps, over which `noise_to_signal` differentiates the law."""

MOST_RMS = 1.0
"""Over √inputs, the rms up to which a clamped layer is scaled back: outputs as large as inputs."""

_ROUNDING = 5e-3
"""What summing over those steps may leave of a share that is 0 or 1."""

_FAR = 1e6
"""A σ_W / rms(W) that no layer reaches."""

ONSET = 0.2
"""The share of training over which batch norm goes from the batch's statistics to the population's."""


class Resilient(Method):
    """Noise injection shaped to the device: L = CE(z − β·(z − sg(z̄)), y) + q·r²·Σ_l E[σ²(W_l)] / E[W_l²].

    z: logits of a fresh chip. z̄: logits of the digital model on the same batch and dropout masks, taken only
    if β ≠ 0; sg: no gradient. Only the chip's forward moves batch norm's running statistics. r: the share of
    the noise that the ramp lets the step meet. σ²(W_l): variance of crossbar layer l's programmed weights.

    alpha: α; each layer is clamped to ±α·rms(W) after each step. "auto" is α = clamp(target / s, 1.3, 2.5),
    s = σ_W / max|W| in closed form, of which only the share counts that a clip takes away
    (`share_of_range`): where σ is proportional to the weight, none, and α is 2.5. alpha_of: whose s;
    "network", of weights that fill the range evenly, one α for all layers; "layer", each layer's own at each
    step (`clip_to_noise`). target: the σ_W / rms(W) to
    aim at. A constraint takes the place of these three. rescale: which layers get the rms back that the
    clamp takes (as `flatten` does): "bounded" those that no batch, group or instance norm follows, whose
    scale nothing else restores, up to an rms of 1/√inputs, so that a larger start comes down to it;
    "auto" the same without the bound; "all" every layer; "none" none. noise_gradient: "auto" is "detached"
    where the device's σ is one number, and "pathwise" elsewhere. feedback: β, below 1: the gradient sees the
    share 1 − β of the logits' error.
    noise_penalty: q; the penalty moves weights to where the device is quiet (`noise_to_signal`).
    renorm_after: the share of training after which batch norm is corrected, over another fifth, to the
    running statistics that every chip is evaluated with (`batch_renorm.population_norm`); 1, or `bind`
    without `steps`: never. The clean pass stays uncorrected: with feedback, z − z̄ from then on holds the
    correction as well as the noise.
    chips: 4 share each batch, so that a step does not follow the accidents of one.
    Cost: 1 forward per step; with feedback 1⅓, since the clean one has no backward.

    Source: this project's own, of noise injection with weight clipping (Joshi et al., Nat. Commun. 2020), a
    ramp (arXiv 2602.07320), batch renormalisation (Ioffe, arXiv 1702.03275), and negative feedback of the
    clean pass, an idea after arXiv 2305.14561.

    >>> from everychip.devices import preset
    >>> chosen = Resilient().resolved(Hardware(device=preset("FeFET6", sigma=0.1)))
    >>> round(chosen.alpha, 2), chosen.noise_gradient
    (1.86, 'pathwise')
    """

    own: ClassVar[bool] = True
    any_task: ClassVar[bool] = True

    alpha: Annotated[float, Field(ge=1)] | Literal["auto"] = "auto"
    alpha_of: Literal["network", "layer"] = "network"
    target: Annotated[float, Field(gt=0)] = 0.16
    rescale: Literal["bounded", "auto", "all", "none"] = "bounded"
    feedback: Annotated[float, Field(lt=1)] = 0.0
    noise_penalty: Annotated[float, Field(ge=0), Formerly("quiet")] = 0.0
    renorm_after: Annotated[float, Field(ge=0, le=1), Formerly("population")] = 0.5
    ramp: Annotated[float, Field(ge=0, le=1)] = 0.5
    chips: Annotated[int, Field(ge=1)] = 4
    noise_gradient: Literal["auto", "detached", "pathwise", "clean"] = "auto"  # type: ignore[assignment]

    @classmethod
    def compared_with(cls, kinds: Iterable[str]) -> tuple[str, ...]:
        """Every other method of the study that is trained for noise: it claims to beat them all."""
        return tuple(kind for kind in kinds if kind != cls.kind and Method.of_kind(kind).noisy)

    @field_validator("alpha", mode="before")
    @classmethod
    def _number_or_auto(cls, alpha: Any) -> Any:
        number = isinstance(alpha, float | int) and 1 <= alpha < math.inf
        if not number and alpha != "auto":
            raise refusal((), repr(alpha), 'a number of at least 1, or "auto"')
        return alpha

    @model_validator(mode="after")
    def _noise_is_of_one_scale(self) -> Self:
        if self.noise_penalty and self.scales is not None:
            found = (
                f"{self.noise_penalty:g}, a penalty in units of max|W|, beside full scales that are learned"
            )
            raise refusal(("quiet",), found, "quiet = 0, or no scales")
        return self

    @property
    def forwards(self) -> float:  # type: ignore[override]
        """One, and the clean forward on top where there is feedback."""
        return 1 + FORWARD_ONLY * (self.feedback != 0)

    def resolved(self, hardware: Hardware) -> Self:
        """The method with every "auto" decided for a hardware: what `bind` trains with.

        >>> from everychip.devices import Gaussian
        >>> for sigma in (0.1, 0.2, 0.4):
        ...     chosen = Resilient().resolved(Hardware(device=Gaussian(sigma=sigma)))
        ...     print(sigma, chosen.constraint, chosen.noise_gradient)
        0.1 alpha=2.0575 detached
        0.2 alpha=1.3 detached
        0.4 alpha=1.3 detached
        """
        changes: dict[str, Any] = {}
        if self.noise_gradient == "auto":
            uniform = hardware.device.uniform_std is not None
            changes["noise_gradient"] = "detached" if uniform else "pathwise"
        if self.constraint is None:
            changes.update(self._clamp(hardware))
        return self.replace(**changes)

    def _clamp(self, hardware: Hardware) -> dict[str, Any]:
        if self.alpha == "auto":
            must_be_alike(hardware.layers, "method resilient, alpha")
        if self.alpha != "auto":
            return {"alpha": self.alpha, "constraint": Clip(alpha=self.alpha)}
        share = share_of_range(hardware)
        target = self.target / share if share > 0 else math.inf
        if self.alpha_of == "layer":
            law = {"device": hardware.device, "mapping": hardware.mapping}
            return {"constraint": ClipToNoise(target=min(target, _FAR), **law)}
        alpha = round(alpha_for(spread(hardware), target=target), 4)
        return {"alpha": alpha, "constraint": Clip(alpha=alpha)}

    def constrain(self, objective: Objective) -> None:
        kept = {} if self.rescale == "none" else dict(objective.trained)
        if self.rescale in ("bounded", "auto"):
            for name in normalised(objective):
                kept.pop(name, None)
        with keeping_rms(kept.values(), most=MOST_RMS if self.rescale == "bounded" else None):
            super().constrain(objective)

    def loss(self, objective: Objective, x: Tensor, y: Tensor) -> Tensor:
        if self.feedback == 0:
            return objective.criterion(self._chip_logits(objective, x), y) + self._penalty(objective)
        with torch.no_grad(), same_masks(objective):
            clean = full_precision(forward_frozen_stats(objective.runner, {}, x))
        z = full_precision(self._chip_logits(objective, x))
        return objective.criterion(z - self.feedback * (z - clean), y) + self._penalty(objective)

    def _chip_logits(self, objective: Objective, x: Tensor) -> Tensor:
        share = 0.0
        if objective.steps is not None:
            share = min(1.0, max(0.0, (objective.step / objective.steps - self.renorm_after) / ONSET))
        with population_norm(objective.model, share):
            return objective.noisy_logits(x)

    def _penalty(self, objective: Objective) -> Tensor | float:
        if self.noise_penalty == 0:
            return 0.0
        layers = [noise_to_signal(w, objective.hardware) for w in objective.weights.values()]
        return self.noise_penalty * objective.strength**2 * torch.stack(layers).sum()


def normalised(objective: Objective) -> list[str]:
    """The weights whose scale a normalisation takes out again, by name.

    Those of a layer that a batch, group or instance norm of as many channels follows, in the order of use.
    """
    found = []
    for name, weight in objective.weights.items():
        follower = objective.followers.get(objective.model.get_submodule(name.rpartition(".")[0]))
        channels = getattr(follower, "num_features", getattr(follower, "num_channels", None))
        if isinstance(follower, _NORMS) and channels in (weight.shape[0], weight.shape[1]):
            found.append(name)
    return found


def spread(hardware: Hardware) -> float:
    """s = σ_W / max|W| of a layer whose weights fill the range evenly, in closed form.

    >>> from everychip.devices import Gaussian
    >>> round(spread(Hardware(device=Gaussian(sigma=0.4))), 3)
    0.311
    """
    return float(variance_over_range(hardware).mean().sqrt())


def share_of_range(hardware: Hardware) -> float:
    """The share of σ_W that shrinks with the layer's largest weight, 0 … 1: what a clip can take away.

    At a fixed weight w = u·M, M = max|W|, σ_W = M·s(u) and dσ_W/dM = s − u·s′, whose mean over u in [0, 1] is
    2·E[s] − s(1). An additive law of one σ has all of it, a multiplicative one nothing.

    >>> from everychip.devices import Gaussian, LogNormal, Mismatch
    >>> for device in (Gaussian(sigma=0.4), Mismatch(sigma=0.4), LogNormal(sigma=0.4)):
    ...     print(device.kind, round(share_of_range(Hardware(device=device, mapping="direct")), 3))
    gaussian 1.0
    mismatch 0.0
    log_normal 0.0
    """
    s = variance_over_range(hardware).sqrt()
    driven, whole = float(2 * s.mean() - (s[0] + s[-1]) / 2), spread(hardware)
    share = driven / whole if whole > 0 else 1.0
    return 1.0 if share > 1 - _ROUNDING else 0.0 if share < _ROUNDING else share


def variance_over_range(hardware: Hardware) -> Float[Tensor, " points"]:
    """v(u) = σ_W² / max|W|² at weights u·max|W|, u in steps of 1/500 from −1 to 1.

    >>> from everychip.devices import preset
    >>> v = variance_over_range(Hardware(device=preset("FeFET6", sigma=0.4)))
    >>> [round(float(v[i].sqrt()), 3) for i in (0, 250, 500, 750, 1000)]
    [0.08, 0.482, 0.08, 0.482, 0.08]
    """
    ramp = torch.linspace(-1, 1, 2 * STEPS + 1, dtype=torch.float64)
    # The weights of one output share a column of the crossbar, and so its full scale.
    return hardware.mapping.std(ramp.unsqueeze(0), hardware.device).square().squeeze(0)


def noise_to_signal(weight: Float[Tensor, "*weights"], hardware: Hardware) -> Float[Tensor, ""]:
    """E[σ²(W)] / E[W²] of a layer, (σ_W / rms(W))², with a gradient that sees where the device is quiet.

    With u = W / max|W| it is E[v(u)] / E[u²], v from `variance_over_range`. A law of level bands is a
    staircase, whose derivative is zero almost everywhere; backward therefore takes the slope of v over a
    window, (v(u + ¼) − v(u − ¼)) / ½, one-sided at the ends of the range, for every device. Four bands with
    quiet ends so pull weights below half of full scale to 0, and those above it to ±max|W|. A mapping that
    scales each column is read as if it scaled the layer.

    >>> from everychip.devices import preset
    >>> w = torch.tensor([1.0, 0.6, 0.4], requires_grad=True)
    >>> noise_to_signal(w, Hardware(device=preset("FeFET6", sigma=0.4))).backward()
    >>> w.grad[1:].sign()  # descent makes 0.6 larger and 0.4 smaller
    tensor([-1.,  1.])
    """
    full = full_precision(weight)
    scale = full_scale(full)
    u = full / torch.where(scale > 0, scale, torch.ones_like(scale))
    with torch.no_grad():
        v = variance_over_range(hardware).to(u)
        at = (u * STEPS).round().long() + STEPS
        low, high = (at - WINDOW).clamp(min=0), (at + WINDOW).clamp(max=2 * STEPS)
        here, slope = v[at], (v[high] - v[low]) * STEPS / (high - low)
    noise, signal = (here + slope * (u - u.detach())).mean(), u.square().mean()
    # A layer of zeros has no noise: G_max stands for 0.
    return noise / torch.where(signal > 0, signal, torch.full_like(signal, math.inf))
