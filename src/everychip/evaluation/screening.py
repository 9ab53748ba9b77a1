"""Exits as a test: how well their disagreement finds the worst chips, without a label."""

from __future__ import annotations

import itertools
import math
from typing import Annotated, Any

import torch
from jaxtyping import Bool, Float
from pydantic.dataclasses import dataclass
from torch import Tensor, nn

from everychip.config.arguments import index, takes, whole
from everychip.config.columns import TENSOR, VALUES
from everychip.config.validation import must_be
from everychip.data import as_arrays
from everychip.errors import DataError, SampleSizeError
from everychip.exits import multi_exit
from everychip.exits.multi_exit import combine
from everychip.exits.outputs import predict_all_outputs, running_all_outputs
from everychip.hardware.arguments import HARDWARE
from everychip.hardware.calibration import ranged
from everychip.hardware.hardware import Hardware
from everychip.hardware.placement import Placed
from everychip.network.probing import runner_for
from everychip.progress import Event, Progress, listening
from everychip.rng import rng_for, seeded_global_generator
from everychip.statistics.intervals import Interval

RESAMPLES = 1000


@dataclass(frozen=True, eq=False, config=VALUES)
class Screening:
    """A score of every chip, its accuracy, and how well the one finds the worst of the other.

    disagreement: 0 … 1, of each chip. accuracy: of its combined answer. worst: whether it is among the
    worst. auroc: the probability that one of the worst has a higher score than one of the rest, ties counted
    half: 0.5 is a coin, 1 finds them all first. Its interval is over chips of this network.
    """

    disagreement: Annotated[Float[Tensor, " chips"], TENSOR]
    accuracy: Annotated[Float[Tensor, " chips"], TENSOR]
    worst: Annotated[Bool[Tensor, " chips"], TENSOR]
    auroc: Interval

    @classmethod
    def of(
        cls,
        score: Float[Tensor, " chips"],
        accuracy: Float[Tensor, " chips"],
        *,
        share: float = 0.05,
        level: float = 0.95,
        seed: int = 0,
    ) -> Screening:
        """Judge a score, high where a chip is suspected, by the accuracies of the same chips.

        The worst are those of accuracy up to the ⌈share·n⌉-th lowest (more where several have that one).
        The interval resamples the worst and the rest, each by itself (percentile bootstrap).

        >>> score = torch.tensor([0.9, 0.1, 0.2, 0.8, 0.3])
        >>> accuracy = torch.tensor([0.5, 0.9, 0.9, 0.7, 0.95])
        >>> Screening.of(score, accuracy, share=0.4).auroc.estimate
        1.0
        """
        from sklearn.metrics import roc_auc_score

        must_be(share, "screening.share")
        if not 0 < share < 1:
            raise SampleSizeError("screening.share", found=f"{share:g}", expected="a share between 0 and 1")
        worst = accuracy <= accuracy.sort().values[max(1, math.ceil(share * len(accuracy))) - 1]
        if bool(worst.all()):
            raise DataError(
                "screening",
                found=f"{len(accuracy)} chips of which none is better than the worst",
                expected="chips of different accuracy",
                remedy="more chips, or more test inputs",
            )
        estimate = float(roc_auc_score(worst.numpy(), score.double().numpy()))
        low, high = _bootstrap(score[worst], score[~worst], level=level, seed=seed)
        refusal = None if low is not None else "two of the worst chips are needed"
        auroc = Interval(estimate, low, high, over="chips, one network", level=level, refusal=refusal)
        return cls(score, accuracy, worst, auroc)

    def __str__(self) -> str:
        return (
            f"AUROC {self.auroc.estimate:.2f} {self.auroc.bounds(scale=1, digits=2)} for the worst "
            f"{int(self.worst.sum())} of {len(self.worst)} chips"
        )


@takes(hardware=HARDWARE, chips=whole(), seed=index, batch_size=whole(least=1))
def screen(
    model: nn.Module,
    hardware: Hardware,
    data: Any,
    *,
    inputs: Any = None,
    chips: int = 200,
    share: float = 0.05,
    seed: int = 0,
    batch_size: int = 500,
    calibration: Any = None,
    progress: Progress = None,
) -> Screening:
    """Score every chip by how much its exits disagree, and measure how well that finds the worst.

    No label enters the score (`disagreement_of`); labels only judge it.

    Args:
        model: a network with exits (`everychip.MultiExit`).
        hardware: what its chips are programmed into; they are those of `evaluate` at the same seed.
        data: labelled test data in any form `evaluate` takes: the accuracies.
        inputs: data whose labels are not read, on which the exits are compared; by default that of `data`.
        chips: how many are programmed; 5 % of 200 are ten.
        share: of the chips that count as the worst.
        seed: of the chips and the resampling.
        batch_size: inputs run at once.
        calibration: the training data that an array's converters take their ranges from.
        progress: True, a bar; False, none; absent, one on a terminal; or a function of `progress.Event`.

    Returns:
        Scores, accuracies and the AUROC with its interval.

    >>> import torch, everychip as ec
    >>> splits = ec.data.Digits().load(); hw = ec.Hardware(device=ec.devices.Gaussian(sigma=0.2))
    >>> net = ec.MultiExit(ec.models.LeNet().build((1, 8, 8), 10), splits.train.x[:2], pool=1)
    >>> net = ec.fit(net, "vanilla", splits.train, hardware=hw, epochs=2, batch_size=32)
    >>> found = screen(net, hw, splits.test, chips=40)
    >>> bool(found.worst.sum() == 2), bool((found.disagreement > 0).all())
    (True, True)
    """
    network = multi_exit(model, where="screening")
    if chips < 2:
        raise SampleSizeError("screening.chips", found=str(chips), expected="at least 2")
    test = as_arrays(data, split="test")
    unlabelled = None if inputs is None else as_arrays(inputs, split="train").x
    runner, placed = running_all_outputs(network, batch_size=batch_size), Placed.of(network, hardware)
    placed = ranged(placed, runner_for(network, test.x[:2], batch_size=batch_size), calibration, seed=seed)
    scores, accuracies = [], []
    with listening(progress) as tell:
        for chip in range(chips):
            held = placed.program(seed=seed, path=("evaluate", chip))
            with seeded_global_generator(seed, "evaluate", chip, "forward"):
                outputs = predict_all_outputs(runner, held, test.x).cpu()
                seen = outputs if unlabelled is None else predict_all_outputs(runner, held, unlabelled).cpu()
            combined = combine(outputs, network.combination.detach().cpu()).argmax(-1)
            accuracies.append((combined == test.y).double().mean())
            scores.append(disagreement_of(seen))
            tell(Event("chips", chip + 1, chips, {"accuracy": float(accuracies[-1])}))
    return Screening.of(torch.stack(scores), torch.stack(accuracies), share=share, seed=seed)


def disagreement_of(outputs: Float[Tensor, "outputs inputs classes"]) -> Float[Tensor, ""]:
    """The share of pairs of outputs that answer with different classes, as a mean over inputs.

    d = mean_i 2/(N(N+1)) Σ_{m<n} [argmax z_m(x_i) ≠ argmax z_n(x_i)], of the N + 1 outputs of one chip.

    >>> disagreement_of(torch.tensor([[[1.0, 0.0]], [[2.0, 0.0]], [[0.0, 1.0]]]))
    tensor(0.6667, dtype=torch.float64)
    """
    answers = outputs.argmax(-1)
    pairs = list(itertools.combinations(answers, 2))
    return torch.stack([(one != two).double().mean() for one, two in pairs]).mean()


def _bootstrap(worst: Tensor, rest: Tensor, *, level: float, seed: int) -> tuple[float | None, float | None]:
    """Percentiles of the AUROC over resampled chips; none where one side is a single chip."""
    if min(len(worst), len(rest)) < 2:
        return None, None
    rng = rng_for(seed, "screening")
    higher = (worst[:, None] > rest).double() + 0.5 * (worst[:, None] == rest)
    one, two = (_resampled(len(side), rng) for side in (worst, rest))
    aurocs = ((one @ higher) * two).sum(dim=1)
    bounds = torch.tensor([(1 - level) / 2, (1 + level) / 2], dtype=torch.float64)
    low, high = aurocs.quantile(bounds).tolist()
    return low, high


def _resampled(chips: int, rng: torch.Generator) -> Float[Tensor, "resamples chips"]:
    """How often each chip is drawn in each resample, as a share."""
    drawn = torch.randint(chips, (RESAMPLES, chips), generator=rng)
    counts = torch.zeros(RESAMPLES, chips, dtype=torch.float64)
    return counts.scatter_add_(1, drawn, torch.ones_like(drawn, dtype=torch.float64)) / chips
