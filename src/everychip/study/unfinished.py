"""What an unfinished run keeps in `partial/`: taken up again only as it was written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from everychip.errors import EverychipError, StoreError
from everychip.evaluation.draws import Draws
from everychip.storage.files import digest, make_folder, read_json, write_record
from everychip.study import store
from everychip.study.blocks import Block, apart
from everychip.study.environment import distinct, environment, machine
from everychip.study.experiment import Experiment
from everychip.study.inputs import inputs
from everychip.training import checkpoint

FORMAT = "everychip-partial/1"
BEGUN, STATE, CHECKPOINT = "begun.json", "state.json", "checkpoint.safetensors"
WEIGHTS = "weights"
OF_STATE = ("format", "seconds", "seal", WEIGHTS)
"""What state.json says that run.json says otherwise."""


@dataclass(frozen=True)
class Unfinished:
    """The folder `partial/` of a run; every file in it is sealed or has its SHA-256 beside it.

    inputs: of the data and the code. machines: every processor that worked on the run so far.
    """

    folder: Path
    inputs: Mapping[str, str]
    machines: Sequence[str]

    @classmethod
    def begin(cls, folder: Path, experiment: Experiment) -> Self:
        """Go on with what there is, if it was made of the same data and code; else with nothing."""
        make_folder(folder / store.PARTIAL)
        path, now = folder / store.PARTIAL / BEGUN, inputs(experiment)
        before = _read(path) if path.exists() else {"inputs": now}
        if before is None or before.get("inputs") != now:
            store.drop_partial(folder)
            make_folder(folder / store.PARTIAL)
            before = {}
        here = machine(environment(experiment.compute))
        machines = distinct([*before.get("machines", []), here])
        write_record(path, {"format": FORMAT, "inputs": now, "machines": machines})
        return cls(folder, now, machines)

    @classmethod
    def joined(cls, folder: Path, experiment: Experiment) -> Self:
        """Work on what another process began, beside others; refused where data or code are others here."""
        path, now = folder / store.PARTIAL / BEGUN, inputs(experiment)
        before = read_json(path, form=FORMAT, sealed=True)
        if before.get("inputs") != now:
            raise StoreError(
                str(folder),
                found="a run that was begun with other data or other code than there are here",
                expected="the same files on every worker",
            )
        return cls(folder, now, [machine(environment(experiment.compute))])

    @property
    def _partial(self) -> Path:
        return self.folder / store.PARTIAL

    def facts(self) -> dict[str, Any]:
        """What run.json repeats of it: the inputs, and the machines where there are several."""
        written = (_read(path) or {} for path in sorted(self._partial.glob("block-*.json")))
        machines = distinct([*self.machines, *(one["machine"] for one in written if "machine" in one)])
        several = {"machines": machines} if len(machines) > 1 else {}
        return {"inputs": dict(self.inputs), **several}

    def checkpoint(self) -> Path:
        """Where the training is kept; a damaged checkpoint is dropped."""
        path = self._partial / CHECKPOINT
        if path.exists():
            try:
                checkpoint.load(path)
            except StoreError:
                path.unlink()
        return path

    def state(self) -> dict[str, Any] | None:
        """What is known of the training, if it is done and its weights are those that it stored."""
        found, weights = _read(self._partial / STATE), self.folder / store.MODEL
        whole = found is not None and weights.is_file() and digest(weights) == found.get(WEIGHTS)
        return found if whole else None

    def must_be_trained(self) -> dict[str, Any]:
        """What is known of the training, which is done."""
        state = self.state()
        if state is None:
            raise StoreError(str(self.folder), found="no trained network", expected="a run that is trained")
        return state

    def keep(self, known: Mapping[str, Any], *, seconds: dict[str, float], weights: str) -> dict[str, Any]:
        """Write what is known of the training, once its weights are stored: from here on it is done.

        weights: the SHA-256 of model.safetensors as it was written.
        """
        state = {"format": FORMAT, **known, "seconds": seconds, WEIGHTS: weights}
        write_record(self._partial / STATE, state)
        return state

    def draws(self, index: int) -> Path:
        """The file of the draws of one condition."""
        return self._partial / f"draws-{index}.parquet"

    def has_draws(self, index: int) -> bool:
        """Whether that file is there as it was written, of chips of the weights that are stored."""
        path, said = self.draws(index), _read(self._said(index))
        stored = self._weights()
        if said is None or said.get(WEIGHTS, stored) != stored:  # earlier versions did not say of which
            return False
        return path.is_file() and digest(path) == said.get("sha256")

    def _weights(self) -> str:
        return str((_read(self._partial / STATE) or {}).get(WEIGHTS))

    def keep_draws(self, index: int, treatment: Any, proof: str) -> None:
        """Write what is to be said of the draws of a condition, once they are stored with this SHA-256."""
        said = {"treatment": treatment} if treatment else {}
        about = {"format": FORMAT, "sha256": proof, WEIGHTS: self._weights(), **said}
        write_record(self._said(index), about)

    def keep_block(self, block: Block, draws: Draws) -> None:
        """Store the draws of a block, and of which weights they are."""
        path = self._block(block)
        draws.save(path)
        about = {"sha256": digest(path), WEIGHTS: self._weights(), "machine": self.machines[-1]}
        write_record(path.with_suffix(".json"), {"format": FORMAT, **about})

    def has_block(self, block: Block) -> bool:
        """Whether a block is there as it was written, of chips of the weights that are stored."""
        path = self._block(block)
        said = _read(path.with_suffix(".json"))
        if said is None or said.get(WEIGHTS) != self._weights():
            return False
        return path.is_file() and digest(path) == said.get("sha256")

    def blocks(self, condition: int) -> dict[Block, Draws]:
        """The blocks of a condition that are there as they were written, in order, and none that overlap."""
        known = [block for block in _named(self.folder) if block.condition == condition]
        found: dict[Block, Draws] = {}
        for block in apart(block for block in known if self.has_block(block)):
            try:
                found[block] = Draws.load(self._block(block))
            except EverychipError:  # measured again
                continue
        return found

    def _block(self, block: Block) -> Path:
        return self._partial / block_files(block)[0]

    def must_still_have_draws(self, conditions: int) -> None:
        """Refuse if any file of draws, all of which were read just now, is no longer as it was written."""
        for index in range(conditions):
            if not self.has_draws(index):
                raise store.changed(self.draws(index))

    def treatments(self, conditions: int) -> list[list[dict[str, Any]]]:
        """What the mitigation has to report under each condition."""
        written = [self._said(index) for index in range(conditions)]
        return [
            read_json(path, form=FORMAT, sealed=True).get("treatment", [])
            for path in written
            if path.exists()
        ]

    def treatment(self, conditions: int) -> dict[str, Any]:
        """What the mitigation has to report, once where it did the same under every condition."""
        said = [one for one in self.treatments(conditions) if one]
        once = [facts for index, facts in enumerate(said) if facts not in said[:index]]
        return {"treatment": [fact for facts in once for fact in facts]} if once else {}

    def _said(self, index: int) -> Path:
        return self.draws(index).with_suffix(".json")


def block_files(block: Block) -> tuple[str, str]:
    """The names of a block's draws, and of what is said of them."""
    return f"block-{block.name}.parquet", f"block-{block.name}.json"


def blocks_in(folder: Path) -> dict[int, list[Block]]:
    """The blocks of a run's folder by the place of their condition, by their names alone."""
    found: dict[int, list[Block]] = {}
    for block in apart(_named(folder)):
        found.setdefault(block.condition, []).append(block)
    return found


def _named(folder: Path) -> list[Block]:
    names = (path.stem.partition("-")[2] for path in (folder / store.PARTIAL).glob("block-*.json"))
    return [block for name in names if (block := Block.parse(name))]


def is_trained(folder: Path, experiment: Experiment) -> bool:
    """Whether the training of an unfinished run is done, with the data and the code that there are here."""
    try:
        return Unfinished.joined(folder, experiment).state() is not None
    except EverychipError:  # whoever trains it says what is wrong
        return False


def holds_work(folder: Path, *, trains: bool) -> bool:
    """Whether an unfinished run has computed what it would have to compute again.

    Args:
        folder: of the run.
        trains: whether it trains; where it does not, its weights and its state are what it was given.

    Returns:
        True for draws and, of a training, for a checkpoint or its end.
    """
    partial = folder / store.PARTIAL
    kept = [partial / CHECKPOINT, partial / STATE] if trains else []
    measured = (found for name in ("draws", "block") for found in partial.glob(f"{name}-*.parquet"))
    return any(path.exists() for path in kept) or any(measured)


def _read(path: Path) -> dict[str, Any] | None:
    try:
        return read_json(path, form=FORMAT, sealed=True)
    except StoreError:
        return None
