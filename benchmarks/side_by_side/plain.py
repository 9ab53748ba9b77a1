"""The floor: PyTorch alone, in the faster memory format, with the fused optimizer."""

from __future__ import annotations

import torch
from workloads import Made, Work, Workload, compiled, forward, serve, step


def trained(load: Workload) -> Work:
    """A step of the fused optimizer."""
    model = load.network()
    return step(model, *load.one_batch(), torch.optim.Adam(model.parameters(), fused=True))


def works(load: Workload) -> dict[str, Made]:
    """A training step and a pass over the test images, as it comes and compiled."""
    return {
        "step": lambda: trained(load),
        "chip": lambda: forward(load.network(), load.batches()),
        "chip, compiled": lambda: forward(compiled(load.network()), load.batches()),
    }


if __name__ == "__main__":
    serve(works)
