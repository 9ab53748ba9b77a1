"""`everychip export`: a run's network for another simulator or as ONNX, and whether that one agrees."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from everychip.cli.printing import print_json
from everychip.cli.watching import console, watching
from everychip.errors import ConfigError, known_names

if TYPE_CHECKING:
    from everychip.evaluation.draws import Draws
    from everychip.export import Agreement

TARGETS = ("aihwkit", "onnx")


def export(run: Path, to: str, output: Path | None, *, check: bool, chips: int, as_json: bool = False) -> int:
    """Write the network of a complete run, or compare it, or both."""
    if to not in TARGETS:
        raise ConfigError("export --to", found=repr(to), remedy=known_names(to, TARGETS))
    if to == "onnx":
        return _onnx(run, output or Path(f"{run.resolve().name}-{to}"), check=check, as_json=as_json)
    if output is not None or not check:
        folder = _write(run, output or Path(f"{run.resolve().name}-{to}"))
    else:
        folder = None
    result = _compare(run, chips) if check else None
    if as_json:
        print_json({"folder": None if folder is None else str(folder), **_facts(result)})
    else:
        _tell_written(folder)
        if result is not None:
            _tell(result)
    return 0 if result is None or result.agrees else 1


def _onnx(run: Path, output: Path, *, check: bool, as_json: bool) -> int:
    """The network as ONNX with its noise card; that both say the same is checked whether asked for or not."""
    from everychip.export import write_onnx
    from everychip.export.onnx_file import CARD, FORMAT, NETWORK
    from everychip.storage.files import read_json

    if check:
        raise ConfigError(
            "export --check", found="it with --to onnx", expected="--to aihwkit, whose chips it programs"
        )
    folder = write_onnx(run, output)
    card = read_json(folder / CARD, form=FORMAT)
    if as_json:
        print_json({"folder": str(folder), "largest_difference": card["largest_difference"]})
        return 0
    out = console()
    for words in (
        f"Written: {folder / NETWORK}",
        f"Noise:   {folder / CARD}, and in the file's metadata",
        f"Outputs: as PyTorch's, to {card['largest_difference']:.0e} of the largest",
    ):
        out.print(words, soft_wrap=True, highlight=False, markup=False)
    return 0


def _facts(result: Agreement | None) -> dict[str, Any]:
    if result is None:
        return {}
    means = {
        name: None if draws is None else draws.verdict().mean.estimate
        for name, draws in (("everychip", result.ours), ("aihwkit", result.theirs))
    }
    return {"agrees": result.agrees, "logits": result.logits, "mean": means, "reason": result.reason}


def _write(run: Path, output: Path) -> Path:
    from everychip.export import write_aihwkit

    return write_aihwkit(run, output)


def _tell_written(folder: Path | None) -> None:
    from everychip.export.folder import SCRIPT

    if folder is None:
        return
    out = console()
    out.print(f"Written: {folder}", soft_wrap=True, highlight=False, markup=False)
    out.print(f"Load it: python {folder / SCRIPT}", soft_wrap=True, highlight=False, markup=False)


def _compare(run: Path, chips: int) -> Agreement:
    from everychip.export import agreement
    from everychip.study import store
    from everychip.study.experiment import Experiment
    from everychip.study.inputs import refuse_others
    from everychip.study.trained import trained_model, with_learned

    found = store.open_run(run)
    experiment = Experiment.from_toml(found.folder / store.RECIPE)
    refuse_others(found.folder, found.record, experiment)
    experiment = with_learned(experiment, found.record)
    with experiment.compute.used(), watching("export --check") as watcher:
        watcher.begin(1, 0)
        watcher.started(experiment)
        splits = experiment.data.load()
        model = trained_model(experiment, found.folder / store.MODEL, splits=splits)
        return agreement(
            model,
            experiment.hardware,
            splits.test,
            chips=chips,
            seed=experiment.seed,
            progress=lambda event: watcher.event(experiment.id, event),
        )


def _tell(result: Agreement) -> None:
    from everychip.export.agreement import SAME_LOGITS

    out = console()

    def say(words: str) -> None:
        out.print(words, highlight=False, markup=False)

    same = "the same" if result.logits <= SAME_LOGITS else "not the same"
    say(f"Without noise: {same} logits; the largest difference is {result.logits:.1e} of their rms.")
    if result.ours is None or result.theirs is None:
        say(f"With noise:    not compared: {result.reason}.")
        return
    device = result.hardware.device.label
    say(f"With noise:    {device}, each weight on a pair of cells, one scale a layer")
    for name, draws in (("everychip", result.ours), ("aihwkit", result.theirs)):
        say(f"  {name:<12} {_mean(draws)} over {len(draws)} chips")
    say(f"  difference   {result.comparison}")
    if result.agrees:
        say("The two agree: no difference is shown.")
    else:
        say("The two differ by more than chance explains (1 of 20 such checks does so by chance).")


def _mean(draws: Draws) -> str:
    """The mean accuracy with its interval.

    >>> from everychip.evaluation.draws import Draws
    >>> rows = [{"accuracy": a, "nll": 0.3, "brier": 0.1, "ece": 0.0, "confidence": 0.9} for a in (0.9, 0.94)]
    >>> _mean(Draws.of(rows, seed=0, images=100))
    'mean 92.0 % [66.6, 100.0] (95 %)'
    """
    from everychip.statistics.verdict import mean_words

    return mean_words(draws.verdict().mean)
