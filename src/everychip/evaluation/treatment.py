"""What is done to each chip before it is measured: mitigations and policies, bound to a model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from everychip.data import as_calibration
from everychip.errors import ConfigError
from everychip.evaluation.bench import Programmed
from everychip.evaluation.untreated import Untreated
from everychip.hardware.chip import Purpose
from everychip.hardware.placement import Placed
from everychip.mitigate import InOrder, Mitigation
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
class Treated:
    """Chips after what is done to each: nothing, or mitigations and a policy, bound to the model.

    programmed: gives the chip of a number as it is measured. metadata: what a report says of its treatment
    beside the accuracies.
    """

    programmed: Programmed
    metadata: tuple[Metadata, ...]


def treated(
    placed: Placed,
    mitigation: Mitigation | Mapping[str, Any] | str | None,
    policy: Policy | Mapping[str, Any] | str | None,
    runner: Runner,
    calibration: Any,
    *,
    seed: int,
    purpose: Purpose,
) -> Treated:
    """The chips of a placed model, each treated in the precision of the evaluation.

    The images that mitigations and policies measure with are in the memory format of the evaluation's.
    """
    asked: tuple[tuple[type[Mitigation] | type[Policy], Any], ...]
    asked = (Mitigation, mitigation), (Policy, policy)
    wanted = [(family, one) for family, one in asked if one is not None]
    if wanted and calibration is not None:
        kept = as_calibration(calibration)
        calibration = replace(kept, x=runner.formatted(kept.x))
    of = runner.model, placed.hardware, calibration
    with seeded_global_generator(seed, "mitigation"):
        steps = [family.parse(one).bind(*of, seed=seed) for family, one in wanted]
    if not steps:
        return Treated(Untreated(placed, seed, purpose), ())
    bound = steps[0] if len(steps) == 1 else InOrder(steps)

    def programmed(chip: int) -> dict[str, Tensor]:
        path = (purpose, chip)
        written = placed.program(seed=seed, path=path)
        with runner.autocast():
            return bound(written, seed=seed, path=path)

    return Treated(programmed, bound.metadata())
