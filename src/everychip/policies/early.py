"""Leaving early: an input takes the first exit that is sure enough, with a guarantee over chips."""

from __future__ import annotations

import math
from typing import Annotated, Any

from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from everychip.data import Examples
from everychip.errors import ConfigError
from everychip.exits import MultiExit
from everychip.exits.macs import output_cost
from everychip.hardware.hardware import Hardware
from everychip.mitigate import BoundMitigation
from everychip.network.soundness import device_of
from everychip.policies.answers import Answers
from everychip.policies.base import Policy
from everychip.policies.fixed import Set

ROUNDING = 1e-12
SHARES = "shares leaving at each output"
"""The fact under which a treatment reports which share of the inputs leaves at each output."""
GRID = (0.0, 0.001, 0.002, 0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.7, 1.0)
"""The rates of disagreement that are tried, the most careful one first."""


class Early(Policy):
    """An input leaves at the first exit n with max softmax(z_n) ≥ τ_n; the others get the combination.

    The thresholds keep the loss of accuracy against `combined` at most ε on a share of the chips:

        P_chip(acc(combined) − acc(early) > ε) ≤ 1 − coverage, with probability 1 − δ over the chips chosen
        on.

    τ_n(r) is the least threshold at which, on the first half of the calibration inputs and over all chips,
    at most a share r of those that leave at exit n get another class than the combination gives. From r = 0
    upwards the hypothesis "more than 1 − coverage of the chips lose more than ε" is tested on the second
    half, exactly, by the binomial law of the number of such chips; the last r before the first that is not
    rejected is taken (fixed sequence, so that no correction is needed). r = 0 sends nothing out early that
    could cost anything.

    loss: ε, in accuracy, 0 … 1. coverage: the share of chips. delta: δ. chips: how many validation chips
    the thresholds are chosen on; 59 are the least for 95 % at δ = 5 %. images: how many calibration inputs.
    What is guaranteed is the loss on inputs like the second half; it is a statement about new chips, not
    about single inputs. Cost: chips · images forwards, once.

    Source: fixed-sequence testing of risks, Angelopoulos et al., Learn then Test, arXiv 2110.01052;
    thresholds of early exits with guarantees, arXiv 2602.03043; over chips, this project's own.

    >>> Early(loss=0.01).least_chips
    59
    """

    loss: Annotated[float, Field(gt=0, lt=1)] = 0.01
    coverage: Annotated[float, Field(gt=0, lt=1)] = 0.95
    delta: Annotated[float, Field(gt=0, lt=1)] = 0.05
    chips: Annotated[int, Field(ge=1, le=100_000)] = 60
    images: Annotated[int, Field(ge=4)] = 1000

    @property
    def least_chips(self) -> int:
        """The number of chips below which no threshold can be shown to hold: coverage^n ≤ δ."""
        return math.ceil(math.log(self.delta) / math.log(self.coverage))

    def validate_for(
        self, model: nn.Module, hardware: Hardware, calibration: Any = None, *, seed: int = 0
    ) -> None:
        self._data(self.network(model), calibration, seed=seed)

    def bind(
        self, model: nn.Module, hardware: Hardware, calibration: Any = None, *, seed: int = 0
    ) -> BoundMitigation:
        network = self.network(model)
        data = self._data(network, calibration, seed=seed)
        answers = Answers.of(network, hardware, data, chips=self.chips, seed=seed)
        rate, thresholds = self.choose(answers)
        shares, cost = answers.shares(thresholds), output_cost(network, data.x[:1].to(device_of(network)))
        fact = {
            "mitigation": "early",
            "disagreement allowed at each exit": rate,
            "thresholds": [round(float(t), 4) for t in thresholds],
            SHARES: [round(share, 4) for share in shares],
            "share of the MACs": round(cost.mean_macs(shares) / cost.macs[-1], 4),
            "layers used": round(sum(s * n for s, n in zip(shares, cost.layers, strict=True)), 2),
        }
        chosen = thresholds.to(network.thresholds)
        return Set(network.combination.detach(), chosen, (fact,))

    def _data(self, network: MultiExit, calibration: Any, *, seed: int) -> Examples:
        """The calibration inputs, where there are enough of them and enough chips."""
        if self.chips < self.least_chips:
            share = 1 - self.coverage
            raise ConfigError(
                "policy.early.chips",
                found=f"{self.chips} chips, too few to show that at most {share:.3g} of all lose more",
                expected=f"at least {self.least_chips}",
                remedy=f"chips = {self.least_chips}, or a lower coverage",
            )
        classes = network.exits.classes
        return self.calibration_inputs(calibration, self.images, classes=classes, seed=seed)

    def choose(self, answers: Answers) -> tuple[float, Float[Tensor, " exits"]]:
        """The largest rate that holds, and its thresholds, from what validation chips answered.

        Args:
            answers: of every output on the validation chips.

        Returns:
            The rate, and a threshold for each exit.
        """
        first, second = answers.halves()
        taken: tuple[float, Tensor] | None = None
        for rate in GRID:
            thresholds = first.thresholds(rate)
            over = int((second.losses(thresholds) > self.loss + ROUNDING).sum())
            if not self._holds(over, of=second.chips):
                break
            taken = rate, thresholds
        if taken is None:
            raise ConfigError(
                "policy.early.loss",
                found=f"{self.loss:g}, which no thresholds keep on {self.coverage:.0%} of these chips",
                expected="a loss that leaving early can keep",
                remedy='a larger loss, more chips or images, or policy = "combined"',
            )
        return taken

    def _holds(self, over: int, *, of: int) -> bool:
        """Whether so few chips above ε reject that more than 1 − coverage of all chips are."""
        from scipy.stats import binom

        return bool(binom.cdf(over, of, 1 - self.coverage) <= self.delta)
