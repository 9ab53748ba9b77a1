"""A run or a study as plain values for programs: the numbers behind every table, without rounding."""

from __future__ import annotations

import math
from typing import Any

from everychip.report.compared import Difference, differences
from everychip.report.results import Group, Results
from everychip.report.tables import verdict_of
from everychip.statistics.intervals import Interval

FORMAT = "everychip-report/1"


def facts(results: Results, *, target: float | None = None) -> dict[str, Any]:
    """Everything that `everychip report --json` prints.

    Args:
        results: a run or a study.
        target: 0 … 1, adds the yield.

    Returns:
        Values that JSON can hold; accuracies and shares are 0 … 1, what is not known is None.
    """
    return {
        "format": FORMAT,
        "name": results.name,
        "title": results.title,
        "folder": str(results.path),
        "command": results.command,
        "repeat": results.repeat,
        "environment": dict(results.environment),
        "score": results.score.facts(),
        "target": target,
        "runs": [
            {"id": run.id, "name": run.name, "status": run.status, "words": run.words, "seconds": run.seconds}
            for run in results.runs
        ],
        "groups": [_group(group, target) for group in results.groups],
        "differences": [_difference(found) for found in differences(results.panels)],
    }


def _group(group: Group, target: float | None) -> dict[str, Any]:
    verdict = verdict_of(group, target=target)
    context = group.context
    return {
        "method": group.method,
        "model": context.model,
        "data": context.data,
        "device": context.device,
        "variant": context.variant,
        "per_chip": context.per_chip,
        "sigma_train": group.sigma_train,
        "sigma": group.sigma,
        "time": group.time,
        "sigma_of_rms": _finite(group.of_rms),
        "sigma_of_max": _finite(group.of_max),
        "seeds": group.seeds,
        "chips": group.chips,
        "mean": _interval(verdict.mean),
        "kpp5": _interval(verdict.kpp),
        "worst": verdict.worst,
        "yield": _interval(verdict.yield_),
        "nll": _finite(group.nll),
        "ece": _finite(group.ece),
    }


def _difference(found: Difference) -> dict[str, Any]:
    return {
        "method": found.method.method,
        "control": found.control.method,
        "variant": found.panel.context.variant,
        "sigma": found.panel.sigma,
        "time": found.panel.time,
        "difference": _interval(found.interval),
        "shows": found.shows,
    }


def _interval(interval: Interval | None) -> dict[str, Any] | None:
    if interval is None:
        return None
    return {"estimate": interval.estimate, "low": interval.low, "high": interval.high, "over": interval.over}


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
