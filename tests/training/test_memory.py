"""What a training of a large network takes beside a plain one: peaks of processes that do one thing."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

SCRIPT = """
import resource, sys
import torch
from torch import nn
import everychip as ec

kind, width = sys.argv[1], 2048
model = nn.Sequential(*(part for _ in range(8) for part in (nn.Linear(width, width), nn.ReLU())))
x, y = torch.randn(16, width), torch.arange(16)
hw = ec.Hardware(device=ec.devices.Gaussian(sigma=0.1), mapping=ec.mapping.Direct())
ec.evaluate(nn.Linear(4, 2), hw, (torch.randn(8, 4), torch.arange(8) % 2), chips=2, progress=False)
tiny = {"hardware": hw, "epochs": 1, "batch_size": 8, "progress": False}
ec.fit(nn.Linear(4, 2), "noise_injection", (torch.randn(64, 4), torch.arange(64) % 2), **tiny)

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

def now():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize() // 1024

weights, before = sum(p.numel() for p in model.parameters()) * 4 // 1024, now()
if kind == "fit":
    data = (torch.cat([x, x, x]), torch.cat([y, y, y]))
    ec.fit(model, "noise_injection", data, hardware=hw, epochs=2, batch_size=16, progress=False)
else:
    objective = model if kind.startswith("plain") else ec.methods.NoiseInjection().bind(model, hw, seed=0)
    optimizer = torch.optim.Adam(objective.parameters(), fused=True)
    best = {name: value.clone() for name, value in model.state_dict().items()} if "best" in kind else {}
    for step in range(2):
        loss = nn.functional.cross_entropy(model(x), y) if objective is model else objective(x, y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if objective is not model:
            objective.after_step()
        for name, value in best.items():
            value.copy_(model.state_dict()[name])
print((peak() - before) / weights + 1)
"""


def weights_held(kind: str) -> float:
    """The peak of a training in its own process, in copies of the network's weights."""
    # Blocks of 16 MiB go back to the system when they are freed, as larger ones always do.
    known = os.environ | {"MALLOC_MMAP_THRESHOLD_": "1000000", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-W", "ignore", "-c", SCRIPT, kind]
    done = subprocess.run(command, env=known, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    return float(done.stdout)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
@pytest.mark.parametrize(("ours", "plain"), [("noise injection", "plain"), ("fit", "plain, best kept")])
def test_training_on_chips_takes_at_most_1_3_times_the_memory_of_a_plain_one(ours: str, plain: str) -> None:
    floor, held = weights_held(plain), weights_held(ours)
    assert floor > 4, "weights, gradients and Adam's two averages"
    assert held <= 1.3 * floor
