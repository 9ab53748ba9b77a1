"""What an array costs: a pass through tiles, DAC and ADC beside the plain digital pass, in one process.

    python benchmarks/arrays.py [--rounds 9] [--precision float32|bfloat16] [--threads 2] [--json FILE]

VGG-8 at width 16, a batch of 500 images, both in channels-last memory; tiles of 256×256, 8-bit DAC and
ADC, ranges calibrated. Contestants take turns, so that a drifting machine slows all of them; the printed
ratio is the median over rounds of (contestant / plain). Programming the chip is not in it.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch

import everychip as ec
from everychip.array import Array
from everychip.data import Arrays
from everychip.hardware.calibration import calibrate
from everychip.hardware.chip import run
from everychip.network.memory_format import faster_layout
from everychip.network.modes import evaluating
from everychip.network.running import Precision, autocast
from everychip.rng import rng_for

IMAGES, STRIDE = 500, 1
Work = Callable[[], None]
CONVERTERS = Array(rows=256, columns=256, dac_bits=8, adc_bits=8)
SLICED = ec.mapping.BitSliced(weight_bits=8, cell_bits=2, quantize=True)
CONTESTANTS: dict[str, tuple[Array, dict[str, object]]] = {
    "array": (CONVERTERS, {}),
    "array, tiles of 128×128": (CONVERTERS.replace(rows=128, columns=128), {}),
    "array, read noise": (CONVERTERS.replace(read_noise=0.06), {}),
    "array, ranges of each read": (CONVERTERS, {}),
    "array, 4 slices": (CONVERTERS, {"mapping": SLICED}),
}
LIMITS = {"array": 2.0, "array, 4 slices": 8.0}


def images() -> Arrays:
    rng = rng_for(0, "benchmark")
    x = torch.randn(IMAGES, 1, 32, 32, generator=rng)
    return Arrays(faster_layout(x), torch.randint(10, (IMAGES,), generator=rng))


def passing(
    model: torch.nn.Module, chip: dict[str, torch.Tensor], data: Arrays, precision: Precision
) -> Work:
    """One pass over the images, of the model itself where the chip is empty."""

    def forward() -> None:
        with torch.no_grad(), evaluating(model), autocast(torch.device("cpu"), precision):
            run(model, chip, data.x)

    return forward


def works(precision: Precision) -> dict[str, Work]:
    """The plain pass and every contestant, on one model and the same images."""
    model = ec.models.VGG8(width=16).build((1, 32, 32), 10, seed=0).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    data = images()
    found = {"": passing(model, {}, data, precision)}
    for name, (array, fields) in CONTESTANTS.items():
        hardware = ec.Hardware(device=ec.devices.preset("RRAM1", sigma=0.2), array=array).replace(**fields)
        if "each read" not in name:
            hardware = calibrate(model, hardware, data, layout=torch.channels_last)
        found[name] = passing(model, ec.program(model, hardware, seed=0, chip=0), data, precision)
    return found


def ratios(contestants: dict[str, Work], rounds: int) -> dict[str, float]:
    """The median over rounds of each contestant's time over the plain one's, in turns of rotating order."""
    turns = list(contestants.items())
    seen: dict[str, list[float]] = {name: [] for name in contestants}
    for turn in range(rounds):
        shift = turn % len(turns)
        for name, work in turns[shift:] + turns[:shift]:
            seen[name].append(_seconds(work))
    plain = seen.pop("")
    print(f"  plain: {statistics.median(plain) * 1e3:.0f} ms for {IMAGES} images (median of {rounds})")
    return {
        name: statistics.median(own / floor for own, floor in zip(values, plain, strict=True))
        for name, values in seen.items()
    }


def _seconds(work: Work) -> float:
    """One repetition in its stride: the first after another contestant pays for that one's memory."""
    work()
    started = time.perf_counter()
    for _ in range(STRIDE):
        work()
    return (time.perf_counter() - started) / STRIDE


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--precision", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    result = ratios(works(options.precision), options.rounds)
    for name, value in result.items():
        limit = f"  (limit {LIMITS[name]:g})" if name in LIMITS else ""
        print(f"  {name}: {value:.2f}{limit}")
    if options.json:
        options.json.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
