"""aihwkit-lightning: noisy weights in training; it programs no chips: an evaluation has converters only."""

from __future__ import annotations

import contextlib
import io
from dataclasses import replace

from torch import nn

with contextlib.redirect_stdout(io.StringIO()):  # it prints that it has no Triton
    from aihwkit_lightning.nn.conversion import convert_to_analog
    from aihwkit_lightning.optim import AnalogOptimizer
    from aihwkit_lightning.simulator.configs import TorchInferenceRPUConfig
    from aihwkit_lightning.simulator.parameters.enums import WeightModifierType

import torch
from workloads import SIGMA, Made, Work, Workload, forward, serve, step


def analog(load: Workload, *, converters: bool) -> nn.Module:
    """The network on its layers, with 8-bit inputs and outputs or perfect ones."""
    found = TorchInferenceRPUConfig()
    found.modifier.type, found.modifier.std_dev = WeightModifierType.ADD_NORMAL, SIGMA
    if converters:
        found.pre_post.input_range.enable = True
        found.forward.inp_res = found.forward.out_res = 2**8 - 2
        found.forward.out_bound = 12.0
        found.mapping.max_input_size = 256
    network: nn.Module = convert_to_analog(load.network(), found)
    return network


def trained(load: Workload) -> Work:
    """A step of its Adam."""
    model = analog(load, converters=False)
    optimizer = AnalogOptimizer(torch.optim.Adam, model.analog_layers, model.parameters(), lr=1e-3)
    return step(model, *load.one_batch(), optimizer)


def works(load: Workload) -> dict[str, Made]:
    """A step, and a pass with converters; its convolutions refuse channels-last weights."""
    load = replace(load, channels_last=False)
    return {
        "step: noise injection": lambda: trained(load),
        "array chip": lambda: forward(analog(load, converters=True), load.batches()),
    }


if __name__ == "__main__":
    serve(works)
