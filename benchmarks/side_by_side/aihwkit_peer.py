"""IBM's aihwkit: training with noisy weights, programmed PCM chips, on perfect and on default tiles.

Of attention it converts no projection, and PyTorch's fast path of an encoder layer, which reads the weights
of its linear layers, is switched off, since a tile has none.
"""

from __future__ import annotations

import warnings

import torch
from aihwkit.inference.noise.pcm import PCMLikeNoiseModel
from aihwkit.nn.conversion import convert_to_analog
from aihwkit.optim import AnalogAdam
from aihwkit.simulator.configs import TorchInferenceRPUConfig
from aihwkit.simulator.parameters.enums import WeightModifierType
from torch import nn
from workloads import SIGMA, Made, Work, Workload, forward, serve, step

warnings.filterwarnings("ignore")
torch.backends.mha.set_fastpath_enabled(False)


def settings(*, perfect: bool) -> TorchInferenceRPUConfig:
    """Its torch tile, since the compiled one does not load beside current PyTorch."""
    found = TorchInferenceRPUConfig()
    found.forward.is_perfect = perfect
    found.modifier.type, found.modifier.std_dev = WeightModifierType.ADD_NORMAL, SIGMA
    found.noise_model = PCMLikeNoiseModel()
    found.drift_compensation = None
    return found


def analog(load: Workload, *, perfect: bool) -> nn.Module:
    """The network on its tiles."""
    found: nn.Module = convert_to_analog(load.network(), settings(perfect=perfect))
    return found


def chip(load: Workload, *, perfect: bool) -> Work:
    """Programmed anew, run over the test images."""
    model = analog(load, perfect=perfect).eval()
    run = forward(model, load.batches())

    def work() -> None:
        model.program_analog_weights()  # type: ignore[operator]
        run()

    return work


def trained(load: Workload, *, perfect: bool) -> Work:
    """A step of its Adam."""
    model = analog(load, perfect=perfect)
    optimizer = AnalogAdam(model.parameters())
    optimizer.regroup_param_groups(model)
    return step(model, *load.one_batch(), optimizer)


def programmed(load: Workload) -> Work:
    """All tiles programmed anew."""
    model = analog(load, perfect=True).eval()
    return model.program_analog_weights  # type: ignore[return-value]


def works(load: Workload) -> dict[str, Made]:
    """Steps and chips of both tiles, programming alone."""
    return {
        "step: noise injection": lambda: trained(load, perfect=True),
        "step: noise injection, array": lambda: trained(load, perfect=False),
        "chip": lambda: chip(load, perfect=True),
        "array chip": lambda: chip(load, perfect=False),
        "programming": lambda: programmed(load),
    }


if __name__ == "__main__":
    serve(works)
