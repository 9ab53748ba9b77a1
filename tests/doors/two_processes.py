"""A training through accelerate, run by test_accelerate.py in one process or in each of two."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import torch
from accelerate import Accelerator
from torch import nn

import everychip as ec
from everychip.rng import rng_for, seeded_global_generator

STEPS, BATCH = 8, 32


def network() -> nn.Module:
    with seeded_global_generator(0, "net"):
        return nn.Sequential(nn.Linear(8, 16), nn.Tanh(), nn.Linear(16, 16), nn.Tanh(), nn.Linear(16, 4))


def main(kind: str, place: Path, parts: int) -> None:
    accelerator = Accelerator(cpu=True, gradient_accumulation_steps=parts)
    hw = ec.Hardware(device=ec.devices.Gaussian(sigma=0.2))
    method = ec.methods.Method.parse(
        {"kind": kind, "ramp": 0.5, "constraint": {"kind": "clip", "alpha": 1.5}}
    )
    x = torch.randn(STEPS * BATCH, 8, generator=rng_for(0, "x"))
    y = (x[:, 0] > 0).long() + 2 * (x[:, 1] > 0).long()
    bound = method.bind(network(), hw, seed=0, sample=x[:2], steps=STEPS)
    objective, optimizer = accelerator.prepare(bound, torch.optim.Adam(bound.parameters(), lr=0.02))
    share, losses = BATCH // accelerator.num_processes // parts, []
    for step in range(STEPS):
        total = 0.0
        for part in range(parts):
            first = step * BATCH + share * (parts * accelerator.process_index + part)
            with accelerator.accumulate(objective):
                loss = objective(x[first : first + share], y[first : first + share])
                accelerator.backward(loss)
                optimizer.step()  # accelerate leaves both out until the last part
                optimizer.zero_grad()
            total += float(accelerator.reduce(loss.detach(), reduction="mean")) / parts
            if accelerator.sync_gradients:
                accelerator.unwrap_model(objective).after_step()
        losses.append(total)
    weights = [p.detach().flatten().tolist() for p in bound.model.parameters()]
    facts = {"processes": accelerator.num_processes, "losses": losses, "weights": weights}
    (place / f"{accelerator.process_index}.json").write_text(json.dumps(facts))
    accelerator.wait_for_everyone()
    accelerator.end_training()


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))
    os._exit(0)  # gloo's threads may end the interpreter's shutdown with an abort, after all is written
