"""A run as a folder that aihwkit can be fed from: weights, recipe, and a script; no pickle."""

from __future__ import annotations

import shutil
import textwrap
from pathlib import Path

from torch import nn

from everychip.config.toml import write_toml
from everychip.errors import StoreError, visible
from everychip.export.networks import to_aihwkit
from everychip.export.noise import counterpart
from everychip.storage.files import digest, make_folder, write_text, write_whole
from everychip.study import store
from everychip.study.experiment import Experiment
from everychip.study.inputs import refuse_others
from everychip.study.trained import trained_model, with_learned

SCRIPT = "load_aihwkit.py"
_ABOUT = """{title}: the trained network on aihwkit's torch tiles. Written by `everychip export`.

    python {script}

{needs}
"""
_SCRIPT = """{about}

from pathlib import Path

from everychip.export import load_aihwkit

model = load_aihwkit(Path(__file__).parent).eval()

if __name__ == "__main__":
    print(model)
{program}"""
_PROGRAM = """    model.program_analog_weights()  # one chip: the noise model of every tile writes its weights
    model.drift_analog_weights({time:g})  # and reads them so many seconds later
"""


def write_aihwkit(run: str | Path, output: str | Path) -> Path:
    """Write a complete run as a folder: model.safetensors, recipe.toml and a script that loads them.

    The folder is only written if the network can be exported. Source of the weights: the run's own, kept
    bit for bit and compared with their SHA-256.
    """
    found = store.open_run(Path(run))
    experiment = _experiment(found)
    to_aihwkit(trained_model(experiment, found.folder / store.MODEL), experiment.hardware)
    folder = Path(output)
    if folder.exists() and not _is_ours(folder):
        raise StoreError(
            str(folder), found="a folder or file of something else", expected="a new folder: -o DIR"
        )
    make_folder(folder)
    write_whole(folder / store.MODEL, lambda draft: _copied(found, draft))
    write_text(folder / store.RECIPE, write_toml(found.recipe()))
    write_text(folder / SCRIPT, _script(experiment))
    return folder


def load_aihwkit(folder: str | Path) -> nn.Module:
    """The network of a folder that `write_aihwkit` wrote, or of a run, on aihwkit's torch tiles."""
    place = Path(folder)
    experiment = Experiment.from_toml(place / store.RECIPE)
    return to_aihwkit(trained_model(experiment, place / store.MODEL), experiment.hardware)


def _copied(run: store.Run, target: Path) -> None:
    """The weights of a run, if they are still those that were proven when it was opened."""
    source = run.folder / store.MODEL
    shutil.copyfile(source, target)
    if digest(target) != run.record["sha256"][store.MODEL]:
        raise store.changed(source)


def _experiment(run: store.Run) -> Experiment:
    experiment = Experiment.from_toml(run.folder / store.RECIPE)
    refuse_others(run.folder, run.record, experiment)
    return with_learned(experiment, run.record)


def _is_ours(folder: Path) -> bool:
    return folder.is_dir() and ((folder / SCRIPT).is_file() or not any(folder.iterdir()))


def _docstring(text: str) -> str:
    """The text as a docstring, whatever is in it: no title ends it and begins code.

    >>> import ast
    >>> hostile = chr(34) * 3 + "x"
    >>> ast.literal_eval(_docstring(hostile)) == hostile
    True
    """
    inside = visible(text.replace("\\", "\\\\"), keep="\n").replace('"', '\\"')
    return f'"""{inside}"""'


def _script(experiment: Experiment) -> str:
    from everychip.export.networks import INSTALL

    device = experiment.hardware.device
    known = counterpart(device)
    noise = f"Its noise model is that of {device.label}."
    if known.model is None:
        noise = f"Its tiles keep aihwkit's default noise model: {known.reason}."
    time = float(device.table().get("time", 0.0))
    about = _ABOUT.format(
        title=experiment.title or experiment.name,
        script=SCRIPT,
        needs=textwrap.fill(f"needs everychip, and aihwkit ({INSTALL}). {noise}", 100),
    )
    return _SCRIPT.format(
        about=_docstring(about),
        program="" if known.model is None else _PROGRAM.format(time=time),
    )
