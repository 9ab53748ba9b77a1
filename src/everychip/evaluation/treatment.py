"""What is done to each chip before it is measured: mitigations and policies, bound to a model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from everychip.data import as_calibration
from everychip.errors import ConfigError
from everychip.evaluation.bench import Programmed
from everychip.hardware.chip import Purpose
from everychip.hardware.hardware import Hardware
from everychip.hardware.placement import Placed
from everychip.mitigate import Address, BoundMitigation, InOrder, Mitigation
from everychip.mitigate.base import Metadata
from everychip.network.running import Runner
from everychip.policies import Policy
from everychip.rng import seeded_global_generator
from everychip.tasks import Task


def must_be_of(task: Task, mitigation: Any, policy: Any) -> None:
    """Refuse what chooses by class labels for a task that has none."""
    if task.kind == "classification":
        return
    kind = None if mitigation is None else Mitigation.parse(mitigation).kind
    for where, found in (("policy", policy is not None), ("mitigation", kind == "selective_write_verify")):
        if found:
            raise ConfigError(
                f"evaluate.{where}",
                found=f"the task {task.kind}",
                expected="classification: it chooses by class labels",
                remedy="bn_recalibration or drift_compensation, which need none"
                if where != "policy"
                else None,
            )


@dataclass(frozen=True)
class Treatment:
    """What is done to each chip: nothing, or mitigations and a policy, in the precision of the evaluation."""

    runner: Runner
    bound: BoundMitigation

    def __call__(self, chip: dict[str, Tensor], *, seed: int, path: Address) -> dict[str, Tensor]:
        """The chip as it is measured; (seed, *path) is the address it was programmed at."""
        with self.runner.autocast():
            return self.bound(chip, seed=seed, path=path)

    def of_chips(self, placed: Placed, *, seed: int, purpose: Purpose) -> Programmed:
        """What gives the chip of a number, after what is done to it."""

        def programmed(chip: int) -> dict[str, Tensor]:
            path = (purpose, chip)
            return self(placed.program(seed=seed, path=path), seed=seed, path=path)

        return programmed

    def metadata(self) -> tuple[Metadata, ...]:
        """What a report says of it beside the accuracies."""
        return self.bound.metadata()


def treatment_of(
    mitigation: Mitigation | Mapping[str, Any] | str | None,
    policy: Policy | Mapping[str, Any] | str | None,
    runner: Runner,
    hardware: Hardware,
    calibration: Any,
    *,
    seed: int,
) -> Treatment:
    """What is done to each chip, bound to the model, its images in the memory format of the evaluation's."""
    asked: tuple[tuple[type[Mitigation] | type[Policy], Any], ...]
    asked = (Mitigation, mitigation), (Policy, policy)
    wanted = [(family, one) for family, one in asked if one is not None]
    if wanted and calibration is not None:
        kept = as_calibration(calibration)
        calibration = replace(kept, x=runner.formatted(kept.x))
    with seeded_global_generator(seed, "mitigation"):
        steps = [
            family.parse(one).bind(runner.model, hardware, calibration, seed=seed) for family, one in wanted
        ]
    return Treatment(runner, steps[0] if len(steps) == 1 else InOrder(steps))
