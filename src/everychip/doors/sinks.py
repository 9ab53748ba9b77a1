"""Sinks: what `progress=` reports, for TensorBoard, MLflow or Weights & Biases, by their own packages."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

from everychip.errors import MissingExtraError
from everychip.progress import Event

Sink = Callable[[Event], None]


def tensorboard(folder: str, *, every: int = 1) -> Sink:
    """A listener for `progress=` that writes TensorBoard scalars (extra `tensorboard`).

    Args:
        folder: where TensorBoard finds them.
        every: one event in so many is written.

    Returns:
        A function of an event: `ec.fit(…, progress=tensorboard("logs"))`.
    """
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise MissingExtraError("everychip.doors.sinks", "tensorboard") from None
    writer: Any = SummaryWriter(folder)

    def write(values: dict[str, float], step: int) -> None:
        for name, value in values.items():
            writer.add_scalar(name, value, step)
        writer.flush()

    return _sink(write, every)


def mlflow(*, every: int = 1) -> Sink:
    """A listener for `progress=` that logs metrics to the active MLflow run (`pip install mlflow`).

    Args:
        every: one event in so many is logged.

    Returns:
        A function of an event.
    """
    client = _client("mlflow")
    return _sink(lambda values, step: client.log_metrics(values, step=step), every)


def wandb(*, every: int = 1) -> Sink:
    """A listener for `progress=` that logs to the current run of Weights & Biases (`pip install wandb`).

    Args:
        every: one event in so many is logged.

    Returns:
        A function of an event.
    """
    client = _client("wandb")
    # A step of its own for each stage, because W&B drops whatever comes with a smaller step than the last.
    return _sink(lambda values, step: client.log({**values, "everychip/step": step}), every)


def _client(package: str) -> Any:
    """A package that no extra brings, because its releases follow a service."""
    try:
        return import_module(package)
    except ImportError:
        raise MissingExtraError("everychip.doors.sinks", package, command=f"pip install {package}") from None


def _sink(write: Callable[[dict[str, float], int], Any], every: int) -> Sink:
    """Names are stage/value, steps count a stage's events; the last event of a stage is always written."""

    def sink(event: Event) -> None:
        if event.done % every and event.done != event.total:
            return
        values = {f"{event.stage}/{name}": float(value) for name, value in event.values.items()}
        if values:
            write(values, event.done)

    return sink
