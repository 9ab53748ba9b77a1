"""How long a study takes on many workers, some of which die: a model, for planning."""

from __future__ import annotations

import math
from dataclasses import dataclass

from everychip.errors import ConfigError


@dataclass(frozen=True)
class Plan:
    """A study on a cluster.

    runs: how many. seconds: of one run. workers: how many at a time. overhead: seconds that a run costs
    beside its computing (queue, transfer). start: seconds until a worker is up, once, and again after each
    fault. serial: seconds of the driver for each run (its files are read and merged), which nobody shares.
    faults: of one worker, in an hour.
    """

    runs: int
    seconds: float
    workers: int = 1
    overhead: float = 0.0
    start: float = 0.0
    serial: float = 0.0
    faults: float = 0.0

    def __post_init__(self) -> None:
        for name in ("runs", "workers", "seconds"):
            if not getattr(self, name) > 0:
                raise ConfigError(f"Plan.{name}", found=str(getattr(self, name)), expected="more than 0")

    def hours(self) -> float:
        """Expected hours: T = max(⌈n/w⌉·E[t] + start, n·serial).

        A run of t seconds that begins anew after each fault of rate λ takes E[t] = (1/λ + start)·(e^{λt} − 1)
        seconds (a renewal argument; for λ → 0 it is t). What the last round adds while some workers are idle
        is left out, so it is a little low where runs are few for each worker.

        Source: Daly, Future Generation Computer Systems 22 (2006) 303-312, equation 13, without checkpoints.

        >>> round(Plan(runs=1000, seconds=3600, workers=1000).hours(), 3)
        1.0
        >>> round(Plan(runs=1000, seconds=3600, workers=1000, faults=0.1, start=30).hours(), 3)
        1.061
        """
        rounds = math.ceil(self.runs / self.workers)
        return max(rounds * self.expected() + self.start, self.runs * self.serial) / 3600

    def expected(self) -> float:
        """Expected seconds of one run with the faults of its worker."""
        alone, rate = self.seconds + self.overhead, self.faults / 3600
        if rate == 0:
            return alone
        return (1 / rate + self.start) * math.expm1(rate * alone)

    def efficiency(self) -> float:
        """The share of all workers' hours that computes runs: n·t / (w·T)."""
        return self.runs * self.seconds / (self.workers * self.hours() * 3600)
