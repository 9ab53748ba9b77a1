"""Whether aihwkit says of a network what everychip says: its logits without noise, its accuracy with it."""

from __future__ import annotations

from typing import Any

import torch
from pydantic.dataclasses import dataclass
from torch import nn

from everychip.config.columns import VALUES
from everychip.data import Arrays, as_arrays
from everychip.evaluation.draws import Draws
from everychip.evaluation.measuring import measure
from everychip.evaluation.monte_carlo import evaluate
from everychip.export.networks import tiles, to_aihwkit
from everychip.export.noise import counterpart, written
from everychip.hardware.chip import run
from everychip.hardware.hardware import Hardware
from everychip.mapping import Direct
from everychip.network.modes import evaluating
from everychip.network.soundness import device_of
from everychip.progress import Event, Listener, listening
from everychip.rng import seeded_global_generator
from everychip.statistics.paired_comparison import Comparison

SAME_LOGITS = 1e-4
"""Logits of two implementations in float32 differ by less than this share of their rms."""
IMAGES = 500
"""The logits of at most so many images are compared."""


@dataclass(frozen=True, config=VALUES)
class Agreement:
    """The same network in both simulators.

    logits: the largest difference of a logit without noise, as a share of the logits' rms. ours, theirs: the
    chips of each, on `hardware`; None where aihwkit has no such noise model, and `reason` says why.
    """

    logits: float
    hardware: Hardware
    ours: Draws | None
    theirs: Draws | None
    reason: str = ""

    @property
    def comparison(self) -> Comparison | None:
        """The mean accuracy of everychip's chips less that of aihwkit's, with its 95 % interval."""
        return None if self.ours is None or self.theirs is None else self.ours.compare(self.theirs)

    @property
    def agrees(self) -> bool:
        """Whether the logits are the same, and the interval of the difference holds 0 or is not known."""
        if self.logits > SAME_LOGITS:
            return False
        found = self.comparison
        if found is None:
            return True
        low, high = found.difference.low, found.difference.high
        return low is not None and high is not None and low <= 0 <= high


def agreement(
    model: nn.Module,
    hardware: Hardware,
    data: Any,
    *,
    chips: int = 100,
    seed: int = 0,
    progress: Listener | None = None,
) -> Agreement:
    """Program the same weights in both simulators and compare logits without noise, accuracy with it.

    aihwkit holds a weight on a pair of cells, one of them idle, with one scale for a layer; so the mapping
    here is `direct` with the sign `differential`, whatever that of `hardware` is, and its array, if it has
    one, is left out on both sides. The two draw different noise: chip 5 of one is not chip 5 of the
    other. data: as for `evaluate`, its test part.
    """
    test = as_arrays(data, split="test")
    analog = to_aihwkit(model, hardware)
    logits = _difference(model, analog, test)
    known = counterpart(hardware.device)
    if known.model is None:
        return Agreement(logits, hardware, None, None, known.reason)
    same = hardware.replace(mapping=Direct(sign="differential"), array=None)
    with listening(progress) as tell:
        ours = evaluate(model, same, test, chips=chips, seed=seed)
        tell(Event("chips", chips, 2 * chips, {"accuracy": float(ours.accuracy.mean())}))
        time = float(same.device.table().get("time", 0.0))
        theirs = _evaluated(analog, known.model, test, time=time, chips=chips, seed=seed)
        tell(Event("chips", 2 * chips, 2 * chips, {"accuracy": float(theirs.accuracy.mean())}))
    return Agreement(logits, same, ours, theirs)


def _difference(model: nn.Module, analog: nn.Module, test: Arrays) -> float:
    with torch.no_grad(), evaluating(model), evaluating(analog):
        device = device_of(model)
        ours = run(model, {}, test.x[:IMAGES].to(device)).float().cpu()
        theirs = run(analog, {}, _as_copy(test).x[:IMAGES].cpu()).float()
    rms = float(ours.square().mean().sqrt())
    return float((ours - theirs).abs().max()) / (rms or 1.0)


def _as_copy(test: Arrays) -> Arrays:
    """The data in float32, in which aihwkit's copy of the network computes, whatever the network does."""
    return Arrays(test.x.float(), test.y) if test.x.is_floating_point() else test


def _evaluated(analog: nn.Module, noise: Any, test: Arrays, *, time: float, chips: int, seed: int) -> Draws:
    """What `evaluate` does, by aihwkit's noise model on the weights of its tiles."""
    exact = {name: tile.tile.get_weights().clone() for name, tile in tiles(analog).items()}
    rows = []
    for chip in range(chips):
        with seeded_global_generator(seed, "aihwkit", chip):
            for name, tile in tiles(analog).items():
                tile.tile.set_weights(written(noise, exact[name], time=time))
        rows.append(measure(analog, {}, _as_copy(test)))
    for name, tile in tiles(analog).items():
        tile.tile.set_weights(exact[name])
    return Draws.of(rows, seed=seed, images=len(test), whole_test=True)
