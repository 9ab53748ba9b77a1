"""The chips of a run's trained network: those of a condition, or a block of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import nn

from everychip.data import Splits
from everychip.evaluation.draws import Draws
from everychip.hardware.placement import Placed
from everychip.progress import Listener, quiet
from everychip.storage.files import digest
from everychip.study import store
from everychip.study.blocks import Block, lacking
from everychip.study.experiment import Condition, Experiment
from everychip.study.measured import measure_chips
from everychip.study.trained import load_weights, with_learned
from everychip.study.unfinished import WEIGHTS


@dataclass(frozen=True)
class TrainedChips:
    """A run's network with its stored weights, and what its chips are measured with.

    Args:
        experiment: the recipe.
        deployed: the same, its hardware with the full scales that the training has learned.
        model: the network with the weights of the run's folder.
        splits: its data.
    """

    experiment: Experiment
    deployed: Experiment
    model: nn.Module
    splits: Splits

    @classmethod
    def opened(
        cls, experiment: Experiment, model: nn.Module, splits: Splits, folder: Path, state: Mapping[str, Any]
    ) -> TrainedChips:
        """Put the weights of a folder into a model of the recipe.

        Args:
            experiment: the recipe.
            model: its network, with any weights.
            splits: its data.
            folder: of the run.
            state: what is known of its training, with the SHA-256 that the weights must have.
        """
        path = folder / store.MODEL
        load_weights(model, path)
        if digest(path) != state[WEIGHTS]:
            raise store.changed(path)
        return cls(experiment, with_learned(experiment, dict(state)), model, splits)

    @cached_property
    def conditions(self) -> tuple[Condition, ...]:
        """What the chips are measured under, in order; none for a network that diverged."""
        finite = all(bool(tensor.isfinite().all()) for tensor in self.model.state_dict().values())
        return self.deployed.conditions() if finite else ()

    def placed(self, condition: int) -> Placed:
        """The network on the hardware of a condition, by its place; the model is walked once for all."""
        return self._placed.with_hardware(self.conditions[condition].hardware)

    @cached_property
    def _placed(self) -> Placed:
        return Placed.of(self.model, self.deployed.hardware)

    def alike(self, condition: int) -> bool:
        """Whether all chips of a condition are the same one, for want of noise."""
        placed, seed = self.placed(condition), self.experiment.seed
        if self.experiment.evaluation.images is not None:
            return False
        if any(array.is_noisy for array in placed.hardware.arrays):
            return False
        first, second = (placed.program(seed=seed, path=("evaluate", chip)) for chip in (0, 1))
        return all(torch.equal(first[name], second[name]) for name in first)

    def draws(
        self, condition: int, *, known: Mapping[Block, Draws] | None = None, progress: Listener = quiet
    ) -> Draws:
        """All chips that are asked for under a condition; one stands for all where they are alike.

        Args:
            condition: its place among the conditions.
            known: draws of blocks that are measured already.
            progress: hears of every chip.

        Returns:
            The draws, the same to the bit whatever was known.
        """
        asked = self.experiment.evaluation
        if self.alike(condition):
            return self._measured(condition, range(1), progress=progress)
        if not known or asked.until is not None:
            return self._measured(condition, progress=progress)
        rest = lacking(list(known), asked.chips)
        return Draws.join(
            [*known.values(), *(self._measured(condition, gap, progress=progress) for gap in rest)]
        )

    def block(self, block: Block) -> Draws:
        """The chips of a block."""
        return self._measured(block.condition, block.numbers)

    def _measured(self, condition: int, chips: range | None = None, *, progress: Listener = quiet) -> Draws:
        hardware = self.conditions[condition].hardware
        return measure_chips(
            self.experiment, self.model, self.splits, hardware, chips=chips, progress=progress
        )
