"""What a run would be told before it starts, if somebody who knows the machine stood by."""

from __future__ import annotations

from everychip.study.experiment import Experiment


def advice(experiment: Experiment) -> str:
    """A line on numbers that cannot be meant, and on what makes a run slow on this machine; "" for none.

    >>> from everychip.study.experiment import Experiment
    >>> advice(Experiment.from_toml("digits"))
    ''
    """
    device = experiment.hardware.device
    if device.kind == "gaussian" and (device.nominal_sigma or 0.0) > 1:
        share = f"{100 * (device.nominal_sigma or 0.0):g} %"
        return f"σ is a share of G_max: hardware.device.sigma says {share} of it, more than any cell has"
    return _slow(experiment)


def _slow(experiment: Experiment) -> str:
    asked = {part: getattr(experiment, part).precision for part in ("training", "evaluation")}
    slow = [part for part, precision in asked.items() if precision == "bfloat16"]
    if not slow or _computes_bfloat16():
        return ""
    settings = " ".join(f"--set {part}.precision=float32" for part in slow)
    return f"This processor only emulates bfloat16, which is many times slower than float32: {settings}"


def _computes_bfloat16() -> bool:
    """Whether PyTorch's convolutions have bfloat16 kernels for this processor."""
    import torch

    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
