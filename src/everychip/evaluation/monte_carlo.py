"""Monte Carlo: program many chips, one at a time, and measure each."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, get_args

import torch
from torch import Tensor, nn

from everychip.config.arguments import a, index, one_of, optional, takes, whole
from everychip.data import Examples, as_calibration
from everychip.data.inputs import mapped, taken
from everychip.errors import ConfigError
from everychip.evaluation.bench import Asked, Bench
from everychip.evaluation.draws import Draws
from everychip.evaluation.setting import Setting
from everychip.hardware.calibration import calibrated
from everychip.hardware.chip import Purpose, addresses
from everychip.hardware.hardware import Hardware
from everychip.hardware.placement import Placed
from everychip.mitigate import Address, BoundMitigation, InOrder, Mitigation
from everychip.network.memory_format import to_memory_format
from everychip.network.modes import evaluating
from everychip.network.running import Precision, Runner
from everychip.policies import Policy
from everychip.progress import Event, Progress, listening
from everychip.rng import seeded_global_generator
from everychip.statistics.stopping import Until, enough
from everychip.tasks import Classification, OwnScore, Task, a_score


@takes(
    model=a(nn.Module, "a torch.nn.Module"),
    hardware=a(Hardware, "an everychip.Hardware"),
    chips=whole(least=1),
    score=optional(a_score),
    seed=index,
    batch_size=whole(least=1),
    images=optional(whole(least=1)),
    precision=one_of(*get_args(Precision)),
    purpose=one_of(*get_args(Purpose)),
)
def evaluate(
    model: nn.Module,
    hardware: Hardware,
    data: Any,
    *,
    task: Task | Mapping[str, Any] | str = "classification",
    score: Callable[..., Any] | OwnScore | None = None,
    chips: int = 100,
    seed: int = 0,
    batch_size: int = 500,
    precision: Precision = "float32",
    images: int | None = None,
    until: str | None = None,
    mitigation: Mitigation | Mapping[str, Any] | str | None = None,
    policy: Policy | Mapping[str, Any] | str | None = None,
    calibration: Any = None,
    purpose: Purpose = "evaluate",
    progress: Progress = None,
) -> Draws:
    """Program `chips` chips and measure each on the test data; the model is neither changed nor moved.

    At any time one chip and one batch of activations are held.

    Args:
        model: the network, any `nn.Module`; it is left as it is.
        hardware: device, mapping and array that it is programmed into.
        data: test data: (x, y), a DataLoader, a table of the hub, or an `everychip.data` component (its test
            part); a `Stream` is not kept in memory.
        task: what the network is asked, as a component, its table or its kind (`everychip.tasks`).
        score: a function to judge chips by in the place of the task's score, of predictions and targets or of
            a chip that can be run (`everychip.tasks.scored_by`).
        chips: how many, or the most where `until` stops; chips 0 … chips−1 of a seed are the same whatever is
            asked beside them.
        seed: of all draws, a whole number.
        batch_size: inputs that are run at once.
        precision: of the products: "float32" or "bfloat16".
        images: None measures every chip on all test images; k measures each chip on its own random k of them,
            which is enough for a mean (two-stage sampling) but not for a percentile.
        until: "±0.2" stops as soon as the mean is known to ±0.2 points, after 300 to `chips` chips, by a 95 %
            interval that bears watching and holds also where 1 % of chips or more fail (`SequentialT`; "±0.2
            failures 5 %": after 60); "±0.2 bernstein" assumes no law of the chips and needs thousands of them
            (`Sequential`).
        mitigation: what is done to each chip after it is programmed, as a component, its table or its kind.
        policy: how a network whose exits stay answers, in the same forms (`everychip.policies`).
        calibration: the data that these two measure with, and that an array's converters take their ranges
            from (`calibrate`), in any of the same forms: training data, or data of its own where a policy
            chooses thresholds.
        purpose: which of the chips of a number: "evaluate", "validate" or "train".
        progress: True, a bar; False, none; absent, one on a terminal; or a function of `progress.Event`.

    Returns:
        A row per chip with its scores: of a classification accuracy, loss, calibration and confidence. Beside
        them stands the digital network's own score on the same data, `draws.digital`, where every chip meets
        all of it.

    >>> import torch, everychip as ec
    >>> model = torch.nn.Linear(4, 2)
    >>> hw = ec.Hardware(device=ec.devices.Gaussian(sigma=0.1))
    >>> x = torch.randn(64, 4, generator=ec.rng_for(0)); y = model(x).argmax(1)
    >>> draws = evaluate(model, hw, (x, y), chips=8, seed=0)
    >>> len(draws.accuracy), bool((draws.accuracy > 0.5).all())
    (8, True)
    """
    asked = Asked.of(task, score)
    seed, judged = operator.index(seed), asked.score
    rule = None if until is None else Until.parse(until, chips=chips, score=judged)
    bench = asked.bench(model, data, images=images, precision=precision, batch_size=batch_size)
    placed = ranged(Placed.of(model, hardware), bench.runner, calibration, seed=seed)
    _must_be_of(asked.task, mitigation, policy)
    bound = _bound(mitigation, policy, bench.runner, placed.hardware, calibration, seed=seed)
    how: dict[str, Any] = {"seed": seed, "purpose": purpose, "until": rule, "progress": progress}
    rows = _measured(bench, placed, bound, chips=chips, **how)
    facts = () if bound is None else bound.facts()
    known: dict[str, Any] = {"whole_test": bench.whole_test, "until": rule, "treatment": facts}
    draws = Draws.of(rows, seed=seed, images=bench.images, score=judged, **known)
    draws = replace(draws, purpose=purpose, cells=_drawn(placed.weights))
    if purpose != "evaluate":  # validation, epoch after epoch, asks for no more than the chips
        return draws
    # A policy decides how a network with exits answers: without one it is another network.
    digital = bench.digital(seed=seed) if policy is None else None
    return replace(draws, digital=digital, setting=Setting.of(model, data, placed))


def _measured(
    bench: Bench,
    placed: Placed,
    treatment: BoundMitigation | None,
    *,
    chips: int,
    seed: int,
    purpose: Purpose,
    until: Until | None,
    progress: Progress,
) -> list[dict[str, float]]:
    """The scores of chip after chip, until they are enough."""
    treat, stops, name = _treating(treatment, bench.runner), enough(until), bench.asked.score.name
    rows: list[dict[str, float]] = []

    def programmed(chip: int) -> dict[str, Tensor]:
        path = (purpose, chip)
        return treat(placed.program(seed=seed, path=path), seed=seed, path=path)

    with torch.no_grad(), evaluating(bench.runner.model), listening(progress) as tell:
        for row in bench.rows(programmed, chips=chips, seed=seed, purpose=purpose):
            rows.append(row)
            tell(Event("chips", len(rows), chips, {name: row[name]}))
            if stops(row[name]):
                break
    return rows


def _drawn(weights: Mapping[str, Tensor]) -> tuple[str, ...]:
    """By what the chips of two models are told apart: which matrices are drawn, and of what shapes."""
    shapes = {name: "×".join(map(str, weights[name].shape)) for name in weights}
    return tuple(f"{address} {shapes[name]}" for name, address in addresses(weights).items())


def measure(
    model: nn.Module,
    chip: Mapping[str, Tensor],
    data: Examples,
    *,
    task: Task | None = None,
    batch_size: int = 500,
    precision: Precision = "float32",
    layout: torch.memory_format | None = None,
) -> dict[str, float]:
    """The metrics of one chip (or, with an empty chip, of the digital model) in evaluation mode.

    layout: the memory format of images and convolution weights; None finds out which the model can take.
    """
    runner = Runner.of(model, taken(data.x, slice(2))) if layout is None else Runner(model, layout)
    runner = replace(runner, precision=precision, batch_size=batch_size)
    return (task or Classification()).measure(runner, chip, data)


def ranged(placed: Placed, runner: Runner, calibration: Any, *, seed: int) -> Placed:
    """The placed model with ranges for its converters, where there is data for them and none are set."""
    arrays = placed.hardware.arrays
    if all(array.ranges is not None for array in arrays) or calibration is None:
        return placed
    with runner.autocast():
        return calibrated(placed, runner, as_calibration(calibration), seed=seed)


def _must_be_of(task: Task, mitigation: Any, policy: Any) -> None:
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


def _bound(
    mitigation: Mitigation | Mapping[str, Any] | str | None,
    policy: Policy | Mapping[str, Any] | str | None,
    runner: Runner,
    hardware: Hardware,
    calibration: Any,
    *,
    seed: int,
) -> BoundMitigation | None:
    """What is done to each chip, if anything, its images in the memory format of the evaluation's."""
    asked: tuple[tuple[type[Mitigation] | type[Policy], Any], ...]
    asked = (Mitigation, mitigation), (Policy, policy)
    if mitigation is None and policy is None:
        return None
    if calibration is not None:
        kept = as_calibration(calibration)
        calibration = replace(
            kept, x=mapped(kept.x, lambda part: to_memory_format(part, runner.memory_format))
        )
    with seeded_global_generator(seed, "mitigation"):
        treatments = [
            family.parse(one).bind(runner.model, hardware, calibration, seed=seed)
            for family, one in asked
            if one is not None
        ]
    return treatments[0] if len(treatments) == 1 else InOrder(treatments)


def _treating(treat: BoundMitigation | None, runner: Runner) -> Callable[..., dict[str, Tensor]]:
    """What is done to each chip: nothing, or the mitigation, in the precision of the evaluation."""

    def treated(chip: dict[str, Tensor], *, seed: int, path: Address) -> dict[str, Tensor]:
        if treat is None:
            return chip
        with runner.autocast():
            return treat(chip, seed=seed, path=path)

    return treated
