"""How much the chips of one network disagree, never without the accuracy that tells what it is worth."""

from __future__ import annotations

from typing import Any

import torch
from pydantic.dataclasses import dataclass
from torch import Tensor, nn

from everychip.config.arguments import index, optional, takes, whole
from everychip.data import Arrays, as_arrays
from everychip.errors import SampleSizeError
from everychip.evaluation.bench import part_of
from everychip.evaluation.divergences import expected_kl_to_clean, kl_to_mean_prediction, pairwise_kl
from everychip.hardware.arguments import HARDWARE, MODEL
from everychip.hardware.calibration import ranged
from everychip.hardware.hardware import Hardware
from everychip.hardware.placement import Placed
from everychip.network.modes import evaluating
from everychip.network.probing import runner_for
from everychip.network.running import Runner
from everychip.progress import Event, Listener, listening
from everychip.rng import seeded_global_generator
from everychip.statistics.intervals import Interval, mean_interval


@dataclass(frozen=True)
class Disagreement:
    """Three divergences between chips, in nats, beside the accuracies of the same chips and images.

    accuracy: the mean over chips. clean: of the network without noise. ensemble: of the mean prediction of
    all chips, which no single chip reaches. The divergences are those of `everychip.evaluation.divergences`.
    """

    accuracy: Interval
    clean: float
    ensemble: float
    expected_kl_to_clean: float
    kl_to_mean_prediction: float
    pairwise_kl: float
    chips: int
    images: int

    def __str__(self) -> str:
        low, high = self.accuracy.low, self.accuracy.high
        bounds = "" if low is None or high is None else f" [{100 * low:.1f}, {100 * high:.1f}]"
        return (
            f"mean accuracy {100 * self.accuracy.estimate:.1f} %{bounds} of {self.chips} chips, "
            f"clean {100 * self.clean:.1f}, ensemble of all chips {100 * self.ensemble:.1f}; "
            f"KL to clean {self.expected_kl_to_clean:.3g}, to the mean prediction "
            f"{self.kl_to_mean_prediction:.3g}, between chips {self.pairwise_kl:.3g} nats"
        )


@takes(
    model=MODEL,
    hardware=HARDWARE,
    chips=whole(),
    seed=index,
    batch_size=whole(least=1),
    images=optional(whole(least=1)),
)
def disagreement(
    model: nn.Module,
    hardware: Hardware,
    data: Any,
    *,
    chips: int = 20,
    seed: int = 0,
    images: int | None = 1000,
    batch_size: int = 500,
    calibration: Any = None,
    progress: Listener | None = None,
) -> Disagreement:
    """Measure how far apart the chips of a network are in what they predict.

    data: the test data, in any form that `evaluate` takes. images: all chips meet the same random images, the
    first chip's of `evaluate`; None, the whole test set. The chips are those of `evaluate` at the same seed.
    calibration: the training data that an array's converters take their ranges from. Raises SampleSizeError
    for fewer than two chips.

    >>> import torch, everychip as ec
    >>> model = torch.nn.Linear(4, 2)
    >>> hw = ec.Hardware(device=ec.devices.Gaussian(sigma=0.1))
    >>> x = torch.randn(64, 4, generator=ec.rng_for(0)); y = model(x).argmax(1)
    >>> found = disagreement(model, hw, (x, y), chips=4)
    >>> found.clean, 0 < found.kl_to_mean_prediction < found.pairwise_kl
    (1.0, True)
    """
    if chips < 2:
        raise SampleSizeError("disagreement.chips", found=str(chips), expected="at least 2")
    test = as_arrays(data, split="test")
    seen = part_of(test, len(test) if images is None else min(images, len(test)), seed=seed, chip=0)
    runner = runner_for(model, seen.x[:2], batch_size=batch_size)
    placed = ranged(Placed.of(model, hardware), runner, calibration, seed=seed)
    with torch.no_grad(), evaluating(model), listening(progress) as tell:
        clean = _predictions(runner, {}, seen)
        rows = []
        for chip in range(chips):
            rows.append(_predictions(runner, placed.program(seed=seed, path=("evaluate", chip)), seen))
            tell(Event("chips", chip + 1, chips, {"accuracy": _accuracy(rows[-1], seen)}))
    p = torch.stack(rows)
    return Disagreement(
        accuracy=mean_interval([_accuracy(row, seen) for row in rows]),
        clean=_accuracy(clean, seen),
        ensemble=_accuracy(p.mean(dim=0), seen),
        expected_kl_to_clean=expected_kl_to_clean(p, clean=clean),
        kl_to_mean_prediction=kl_to_mean_prediction(p),
        pairwise_kl=pairwise_kl(p),
        chips=chips,
        images=len(seen),
    )


def _predictions(runner: Runner, chip: dict[str, Tensor], data: Arrays) -> Tensor:
    with seeded_global_generator(0, "disagreement"):
        return runner.predict(chip, data).double().softmax(dim=-1)


def _accuracy(predictions: Tensor, data: Arrays) -> float:
    return float((predictions.argmax(dim=-1) == data.y.reshape(-1)).double().mean())
