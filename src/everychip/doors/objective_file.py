"""An objective in a checkpoint: weights, exits, steps done, what a method keeps; safetensors."""

from __future__ import annotations

from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from everychip.errors import StoreError
from everychip.methods import Objective
from everychip.storage.files import write_whole

FILE = "everychip.safetensors"


def save_objective(objective: Objective, path: Path) -> None:
    """Write all that an objective holds, its model too: a framework's own file may rename its weights."""
    state = {
        name: value.detach().cpu().contiguous().clone() for name, value in objective.state_dict().items()
    }
    write_whole(path, lambda draft: save_file(state, draft))


def load_objective(objective: Objective, path: Path) -> None:
    """Bring an objective to where `save_objective` found it.

    Raises:
        StoreError: where the file is missing, damaged, or of another method.
    """
    expected = "the objective that this checkpoint was written with"
    try:
        state = load_file(path)
    except (OSError, SafetensorError) as error:
        remedy = "resume from a checkpoint of ChipTrainer, or start anew from its weights"
        found = f"none that can be read ({error})"
        raise StoreError(str(path), found=found, expected=expected, remedy=remedy) from None
    if set(objective.state_dict()) != set(state):
        raise StoreError(str(path), found="that of another method or model", expected=expected)
    try:
        objective.load_state_dict(state)
    except RuntimeError:
        raise StoreError(str(path), found="weights of other shapes", expected=expected) from None
