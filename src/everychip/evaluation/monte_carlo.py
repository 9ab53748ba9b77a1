"""Monte Carlo: program many chips, one at a time, and measure each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, get_args

from torch import nn

from everychip.config.arguments import a, index, one_of, optional, takes, whole
from everychip.evaluation.at_once import AtOnce, how_many, run_together
from everychip.evaluation.bench import Asked, Bench, measured
from everychip.evaluation.draws import Draws
from everychip.evaluation.folding import shortened
from everychip.evaluation.setting import Setting
from everychip.evaluation.spreading import chips_of, workers_for
from everychip.evaluation.treatment import must_be_of, treated
from everychip.evaluation.two_stage import in_stages
from everychip.hardware.arguments import HARDWARE, MODEL
from everychip.hardware.calibration import ranged
from everychip.hardware.chip import Purpose
from everychip.hardware.hardware import Hardware
from everychip.hardware.outliers import warn_of_layer_scale
from everychip.hardware.placement import Placed
from everychip.mitigate import Mitigation
from everychip.network.modes import evaluating
from everychip.network.running import Precision
from everychip.policies import Policy
from everychip.progress import Progress
from everychip.tasks import OwnScore, Task, a_score


@takes(
    model=MODEL,
    hardware=HARDWARE,
    chips=whole(least=1),
    first=whole(least=0),
    workers=whole(least=1),
    at_once=how_many,
    folded=a(bool, "True or False"),
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
    first: int = 0,
    workers: int = 1,
    at_once: AtOnce = 1,
    folded: bool = False,
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
        task: the network's task, as a component, its table or its kind (`everychip.tasks`).
        score: a function to judge chips by in place of the task's score, of predictions and targets or of
            a chip that can be run (`everychip.tasks.scored_by`).
        chips: how many, or the most where `until` stops; chips 0 … chips−1 of a seed are the same whatever is
            asked beside them.
        first: the number of the first chip: the blocks of a divided evaluation, which `Draws.join` makes one.
        workers: that measure blocks of chips at once, as forks of this process; the draws are the same to
            the bit, with `until`, too. Each has one thread, so call `torch.set_num_threads(1)` before.
        at_once: chips that are run in one call (`torch.func.vmap`); "auto" measures whether it pays, as for
            small networks that `torch.compile` compiled. Scores agree with those of chips one by one but for
            rounding, accuracies unless two logits are nearly equal, losses to 10⁻⁵.
        folded: batch norm is folded into each chip's convolutions after they are programmed, and activations
            are written in place. The chips are the same, scores agree but for rounding, as with `at_once`.
        seed: of all draws, a whole number.
        batch_size: inputs that are run at once.
        precision: of the products: "float32" or "bfloat16".
        images: None measures every chip on all test images; k measures each chip on its own random k of them,
            which is enough for a mean (two-stage sampling) but not for a percentile.
        until: "±0.2" stops as soon as the mean is known to ±0.2 points, after 300 to `chips` chips, by a 95 %
            interval that bears watching and holds also where 1 % of chips or more fail (`SequentialT`; "±0.2
            failures 5 %": after 60); "±0.2 bernstein" assumes no law of the chips and needs thousands of them
            (`Sequential`); "±0.5 two-stage" chooses after a pilot how many images each chip meets, too, for
            the mean at least cost (`TwoStage`).
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
    numbers, rule = chips_of(chips, first=first, until=until, score=asked.score)
    must_be_of(asked.task, mitigation, policy)
    bench = asked.bench(model, data, images=images, precision=precision, batch_size=batch_size)
    placed = ranged(Placed.of(model, hardware), bench.runner, calibration, seed=seed)
    if purpose == "evaluate":
        warn_of_layer_scale(placed, stacklevel=3)  # through `takes`
    treatment = treated(placed, mitigation, policy, bench.runner, calibration, seed=seed, purpose=purpose)
    with evaluating(model):
        bench, plan = in_stages(bench, treatment.programmed, rule, images=images, chips=chips, seed=seed)
        bench, programmed = shortened(bench, treatment.programmed, folded, seed=seed)
        bench = run_together(bench, programmed, at_once, seed=seed, purpose=purpose)
        how: Any = {"progress": progress, "workers": workers_for(workers, bench.runner, bench.data)}
        draws = measured(bench, programmed, plan, chips=numbers, seed=seed, purpose=purpose, **how)
    draws = replace(draws, treatment=treatment.metadata, cells=placed.cells)
    same = policy is None and 0 in numbers  # the network is asked as its chips are
    return draws if purpose != "evaluate" else _told(draws, bench if same else None, model, data, placed)


def _told(draws: Draws, bench: Bench | None, model: nn.Module, data: Any, placed: Placed) -> Draws:
    """Draws with their setting and the digital score of the bench, if there is to be one.

    Validation, epoch after epoch, asks for no more than the chips, and so not for this.
    """
    digital = None if bench is None else bench.digital(seed=draws.seed)
    return replace(draws, digital=digital, setting=Setting.of(model, data, placed))
