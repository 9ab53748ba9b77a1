"""Several chips that are programmed at once are those that are programmed one by one, to the bit."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import everychip as ec
from everychip.hardware.placement import Placed
from everychip.mapping.base import CellMapping

HARDWARE = {
    "one normal draw": ec.Hardware(device=ec.devices.Gaussian(sigma=0.2)),
    "slices": ec.Hardware(device=ec.devices.preset("RRAM1", sigma=0.2)),
    "a scale for each column": ec.Hardware(
        device=ec.devices.Gaussian(sigma=0.2), mapping=ec.mapping.BitSliced(scale="column")
    ),
    "a pair of cells, rounded": ec.Hardware(
        device=ec.devices.Gaussian(sigma=0.1),
        mapping=ec.mapping.BitSliced(quantize=True, sign="differential"),
    ),
    "a law of the level": ec.Hardware(device=ec.devices.preset("PCM-Joshi"), mapping=ec.mapping.Direct()),
    "a law of the whole weight": ec.Hardware(device=ec.devices.LogNormal(sigma=0.2)),
    "hardware of its own for a layer": ec.Hardware(
        device=ec.devices.Gaussian(sigma=0.2),
        layers=[{"match": "0", "device": {"kind": "gaussian", "sigma": 0.5}}],
    ),
}


def network() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(16, 5), nn.Linear(5, 2))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("hardware", HARDWARE.values(), ids=HARDWARE)
def test_chips_at_once_are_those_one_by_one_to_the_bit(hardware: ec.Hardware, dtype: torch.dtype) -> None:
    for layout in (torch.contiguous_format, torch.channels_last):
        placed = Placed.of(network().to(dtype, memory_format=layout), hardware)
        paths = [("evaluate", chip) for chip in (0, 7, 3)]
        every = placed.program_together(seed=4, paths=paths)
        for number, path in enumerate(paths):
            alone = placed.program(seed=4, path=path)
            assert every.keys() == alone.keys()
            for name, weight in alone.items():
                assert every[name].dtype == dtype
                assert torch.equal(every[name][number], weight), name


def test_a_device_with_dies_has_one_for_each_chip(monkeypatch: pytest.MonkeyPatch) -> None:
    def on_die(self: ec.devices.Gaussian, rng: torch.Generator) -> ec.devices.Gaussian:
        return self.replace(sigma=float(torch.rand((), generator=rng)))

    monkeypatch.setattr(ec.devices.Gaussian, "on_die", on_die)
    placed = Placed.of(network(), ec.Hardware(device=ec.devices.Gaussian(sigma=0.2)))
    paths = [("evaluate", chip) for chip in range(3)]
    every = placed.program_together(seed=4, paths=paths)
    for number, path in enumerate(paths):
        alone = placed.program(seed=4, path=path)
        assert all(torch.equal(every[name][number], weight) for name, weight in alone.items())


def test_a_normal_law_is_drawn_without_a_call_for_each_chip(monkeypatch: pytest.MonkeyPatch) -> None:
    """What makes it fast: were `deviation` called, nothing would be saved."""
    monkeypatch.delattr(CellMapping, "deviation")
    placed = Placed.of(network(), HARDWARE["one normal draw"])
    assert len(placed.program_together(seed=0, paths=[("evaluate", 0), ("evaluate", 1)])["0.weight"]) == 2
