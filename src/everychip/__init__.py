"""everychip: one network, every chip.

Train a PyTorch network so that it works on every compute-in-memory chip it is programmed into, and prove it.
Names are loaded when they are first used, so that `import everychip` does not import PyTorch.
"""

from __future__ import annotations

import gc
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from everychip import (
        data,
        devices,
        exits,
        mapping,
        methods,
        mitigate,
        models,
        policies,
        tasks,
    )
    from everychip.array import Array
    from everychip.errors import EverychipError
    from everychip.evaluation.break_even import break_even
    from everychip.evaluation.draws import Draws
    from everychip.evaluation.monte_carlo import evaluate
    from everychip.evaluation.sensitivity import sensitivity
    from everychip.evaluation.worst_case import worst_case_search
    from everychip.exits import MultiExit
    from everychip.hardware.calibration import calibrate
    from everychip.hardware.chip import effective_sigma, program, run
    from everychip.hardware.coverage import check
    from everychip.hardware.each_chip import chips
    from everychip.hardware.hardware import Hardware
    from everychip.hardware.layers import Layer
    from everychip.leaderboard.benchmark import benchmark
    from everychip.methods import constraints
    from everychip.report.html import write_report
    from everychip.rng import rng_for
    from everychip.statistics.paired_comparison import compare
    from everychip.statistics.verdict import Verdict
    from everychip.study.experiment import Experiment
    from everychip.study.grid import Study
    from everychip.study.running import run_experiment, run_study
    from everychip.tasks import metrics
    from everychip.training.fitting import fit, fitted
    from everychip.zoo import load

__version__ = "0.1.0"

__all__ = [
    "Array",
    "Draws",
    "EverychipError",
    "Experiment",
    "Hardware",
    "Layer",
    "MultiExit",
    "Study",
    "Verdict",
    "__version__",
    "benchmark",
    "break_even",
    "calibrate",
    "check",
    "chips",
    "compare",
    "constraints",
    "data",
    "devices",
    "effective_sigma",
    "evaluate",
    "exits",
    "fit",
    "fitted",
    "load",
    "mapping",
    "methods",
    "metrics",
    "mitigate",
    "models",
    "policies",
    "program",
    "rng_for",
    "run",
    "run_experiment",
    "run_study",
    "sensitivity",
    "tasks",
    "worst_case_search",
    "write_report",
]

_HOMES = {
    "Array": "array",
    "Draws": "evaluation.draws",
    "EverychipError": "errors",
    "Experiment": "study.experiment",
    "Hardware": "hardware.hardware",
    "Layer": "hardware.layers",
    "MultiExit": "exits",
    "Study": "study.grid",
    "Verdict": "statistics.verdict",
    "benchmark": "leaderboard",
    "break_even": "evaluation.break_even",
    "calibrate": "hardware.calibration",
    "check": "hardware.coverage",
    "chips": "hardware.each_chip",
    "compare": "statistics.paired_comparison",
    "effective_sigma": "hardware.chip",
    "evaluate": "evaluation.monte_carlo",
    "fit": "training.fitting",
    "fitted": "training.fitting",
    "load": "zoo",
    "program": "hardware.chip",
    "rng_for": "rng",
    "run": "hardware.chip",
    "run_experiment": "study.running",
    "run_study": "study.running",
    "sensitivity": "evaluation.sensitivity",
    "worst_case_search": "evaluation.worst_case",
    "write_report": "report.html",
}
_MODULES = {"constraints": "methods.constraints", "metrics": "tasks.metrics"}


def _imported(module: str) -> Any:
    """Import a module of the package with garbage collection paused: passing over PyTorch is slow."""
    collects = gc.isenabled()
    gc.disable()
    try:
        return import_module(f"everychip.{module}")
    finally:
        if collects:
            gc.enable()


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        value = getattr(_imported(_HOMES[name]), name)
    elif name in __all__:
        value = _imported(_MODULES.get(name, name))
    else:
        raise AttributeError(f"module 'everychip' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
