"""Draws of one network as the results that a report is made of: no folder, no training."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from everychip import __version__
from everychip.config.toml import write_toml
from everychip.report.results import Context, Group, Results, Run

if TYPE_CHECKING:
    from everychip.evaluation.draws import Draws

AS_IT_IS = "as it is"
"""The method of a network of which nobody says how it was trained."""
COMMAND = "everychip.write_report(everychip.evaluate(…))"


def results_of(draws: Draws, *, title: str = "") -> Results:
    """Draws as the results of a single run.

    Args:
        draws: of one network, as `evaluate` gives them.
        title: the heading; absent, the network and the device.

    Returns:
        Results with one group, whose network, data and hardware are named where the draws know them.
    """
    group, setting = _group(draws), draws.setting
    run = Run(
        id="draws",
        labels={"method": AS_IT_IS},
        status="unknown",
        words="",
        trained=False,
        treatment=draws.treatment,
        score=draws.score,
        digital=draws.digital,
    )
    context = group.context
    return Results(
        path=Path(),
        is_study=False,
        name=f"{context.model} on {context.device}",
        title=title or f"{context.model} on {context.device}",
        command=COMMAND,
        again="everychip.write_report(draws, target=VALUE)",
        recipe="" if setting is None else write_toml({"hardware": setting.hardware}),
        axes={},
        environment={"page written by": f"everychip {__version__}"},
        seconds=None,
        runs=(run,),
        groups=(group,),
    )


def _group(draws: Draws) -> Group:
    """The chips of the one network."""
    known, nan = draws.setting, float("nan")
    named = ("a network", "data", "a device") if known is None else (known.model, known.data, known.device)
    model, data, device = named
    noise = (None, None) if known is None else (known.of_max, known.of_rms)
    of_max, of_rms = (nan if one is None else one for one in noise)
    means = {name: float(column.mean()) for name, column in draws.scores.items()}
    chips = dict(zip(draws.chip.tolist(), draws.values.tolist(), strict=True))
    return Group(
        method=AS_IT_IS,
        kind=AS_IT_IS,
        context=Context(model, data, device, ""),
        sigma_train=None,
        sigma=None if known is None else known.sigma,
        time=None if known is None else known.time,
        of_max=of_max,
        of_rms=of_rms,
        nll=means.get("nll", nan),
        ece=means.get("ece", nan),
        confidence=means.get("confidence", nan),
        accuracy={draws.seed: chips},
        images=draws.images,
        whole_test=draws.whole_test,
        runs=("draws",),
        score=draws.score,
    )
