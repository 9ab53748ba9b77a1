"""What a run would be told before it starts, if somebody who knows the machine stood by."""

from __future__ import annotations

from everychip.study.experiment import Experiment


def advice(experiment: Experiment) -> str:
    """A line on what makes a run needlessly slow on this machine; "" where nothing does.

    >>> from everychip.study.experiment import Experiment
    >>> advice(Experiment.from_toml("digits"))
    ''
    """
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
