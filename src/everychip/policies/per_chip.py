"""The loop closed after programming: the exits as sensors of this chip, its readout fitted to it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from everychip.exits.multi_exit import NEVER, MultiExit, combine
from everychip.exits.outputs import predict_all_outputs, running_all_outputs
from everychip.hardware.hardware import Hardware
from everychip.mitigate import BNRecalibration, BoundMitigation
from everychip.mitigate.base import Address, Metadata
from everychip.network.soundness import device_of
from everychip.policies.base import Policy

ROUNDS = 60


class PerChip(Policy):
    """Each chip's batch norm is measured again, and then its own combination is fitted:

        w = argmin_w mean_i CE(Σ_n w_n·z_n(x_i), t_i) + ρ·‖w − w₀‖² / ‖w₀‖²

    over a few calibration inputs, a convex problem of N + 1 numbers. w_n is the weight of output n and its
    scale at once. targets: "labels", t_i the class of input i; "digital", t_i the probabilities that the
    digital network gives, so that no label is needed. w₀: the combination the network was trained with.
    images: the calibration inputs. ridge: ρ. recalibrate: whether batch norm is measured first
    (`bn_recalibration`, on the same number of inputs), where the network has one. Cost: two forwards of
    `images` inputs per chip, and N + 1 digital numbers to keep.

    Source: this project's own; batch norm as in Joshi et al., Nat. Commun. 11:2473 (2020).

    >>> PerChip(targets="digital").per_chip
    True
    """

    per_chip: ClassVar[bool] = True

    targets: Literal["labels", "digital"] = "labels"
    images: Annotated[int, Field(ge=10)] = 1000
    ridge: Annotated[float, Field(ge=0)] = 1e-3
    recalibrate: bool = True

    def validate_for(
        self, model: nn.Module, hardware: Hardware, calibration: Any = None, *, seed: int = 0
    ) -> None:
        classes = self.network(model).exits.classes
        self.calibration_inputs(calibration, self.images, classes=classes, seed=seed)

    def bind(
        self, model: nn.Module, hardware: Hardware, calibration: Any = None, *, seed: int = 0
    ) -> BoundMitigation:
        network = self.network(model)
        classes = network.exits.classes
        data = self.calibration_inputs(calibration, self.images, classes=classes, seed=seed)
        norms = [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
        before = None
        if self.recalibrate and any(norm.running_mean is not None for norm in norms):
            recalibration = BNRecalibration(images=self.images, batch_size=min(250, self.images))
            before = recalibration.bind(model, hardware, data, seed=seed)
        labels: Tensor = data.y
        if self.targets == "digital":
            with torch.no_grad():
                outputs = predict_all_outputs(running_all_outputs(network), {}, data.x)
                labels = combine(outputs, network.combination).softmax(-1)
        return _Fitted(self, network, data.x, labels.to(device_of(network)), before)


class _Fitted(BoundMitigation):
    def __init__(
        self,
        policy: PerChip,
        network: MultiExit,
        x: Tensor,
        targets: Tensor,
        before: BoundMitigation | None,
    ) -> None:
        self.policy, self.network, self.x, self.targets, self.before = policy, network, x, targets, before
        self.runner = running_all_outputs(network)

    def __call__(self, chip: Mapping[str, Tensor], *, seed: int, path: Address) -> dict[str, Tensor]:
        held = dict(chip) if self.before is None else self.before(chip, seed=seed, path=path)
        trained = self.network.combination.detach()
        outputs = predict_all_outputs(self.runner, held, self.x)
        weights = fit_combination(outputs, self.targets, start=trained, ridge=self.policy.ridge)
        never = torch.full_like(self.network.thresholds, NEVER)
        return {**held, "combination": weights.to(trained), "thresholds": never}

    def metadata(self) -> tuple[Metadata, ...]:
        return (
            {
                "mitigation": "per_chip",
                "targets": self.policy.targets,
                "calibration inputs": self.policy.images,
                "digital numbers per chip": len(self.network.thresholds) + 1,
            },
        )


def fit_combination(
    outputs: Float[Tensor, "outputs inputs classes"],
    targets: Tensor,
    *,
    start: Float[Tensor, " outputs"],
    ridge: float,
) -> Float[Tensor, " outputs"]:
    """The weights of the outputs that minimise cross-entropy to labels or probabilities, in float64.

    Args:
        outputs: z_n of every output and calibration input.
        targets: classes [inputs], or probabilities [inputs, classes].
        start: w₀, which the ridge pulls to.
        ridge: ρ, without unit.

    >>> z = torch.tensor([[[4.0, 0.0], [0.0, 4.0]], [[0.0, 4.0], [4.0, 0.0]]])
    >>> w = fit_combination(z, torch.tensor([0, 1]), start=torch.tensor([0.5, 0.5]), ridge=0.1)
    >>> bool(w[0] > 0.5 > w[1])
    True
    """
    z, w0 = outputs.detach().double(), start.detach().double()
    t = targets.double() if targets.is_floating_point() else targets
    w = w0.clone().requires_grad_()
    optimizer = torch.optim.LBFGS([w], max_iter=ROUNDS, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimizer.zero_grad()
        size = w0.square().sum().clamp_min(1e-12)
        value = cross_entropy(combine(z, w), t) + ridge * (w - w0).square().sum() / size
        value.backward()  # type: ignore[no-untyped-call]
        return value

    with torch.enable_grad():
        optimizer.step(loss)  # type: ignore[no-untyped-call]
    return w.detach()
