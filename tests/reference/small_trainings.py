"""Trainings of a few steps: data a small network can learn, and one call to train on it."""

from __future__ import annotations

import torch
from torch import nn

from everychip import Hardware, devices, methods, rng_for
from everychip.data import Arrays
from everychip.training.loop import Training, train

HARDWARE = Hardware(device=devices.Gaussian(sigma=0.05))


def arrays(n=120, shape=(6,), classes=3, dtype=torch.float32):
    """Examples whose class can be read from their mean."""
    x = 0.3 * torch.randn(n, *shape, generator=rng_for(0, "x"))
    y = torch.arange(n) % classes
    x += (y.float() - (classes - 1) / 2).reshape(-1, *[1] * len(shape))
    return Arrays(x.to(dtype), y)


def mlp(inputs=6, classes=3):
    return nn.Sequential(nn.Linear(inputs, 16), nn.ReLU(), nn.Linear(16, classes))


def run(model, data, method=None, **options):
    progress, checkpoint = options.pop("progress", None), options.pop("checkpoint", None)
    hardware, seed = options.pop("hardware", HARDWARE), options.pop("seed", 0)
    training = Training(**{"epochs": 3, "batch_size": 16, "lr": 0.02, **options})
    return train(
        model, method or methods.NoiseInjection(), data,
        hardware=hardware, training=training, seed=seed, checkpoint=checkpoint, progress=progress,
    )  # fmt: skip
