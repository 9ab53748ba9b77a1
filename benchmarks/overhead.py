"""What noise costs: training steps and Monte Carlo chips beside the plain digital ones, in one process.

    python benchmarks/overhead.py [--rounds 9] [--precision float32|bfloat16] [--json FILE]

VGG-8 at width 16, batch 128, two threads. Contestants take turns of three repetitions, so that a
drifting machine slows all of them; the printed ratio is the median over rounds of (contestant / plain).
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch

import everychip as ec
from everychip.data import Arrays
from everychip.layouts import faster_layout
from everychip.methods import Method
from everychip.modes import evaluating
from everychip.monte_carlo import Precision, autocast, measure
from everychip.rng import rng_for

BATCH, IMAGES, STRIDE = 128, 2000, 3
Work = Callable[[], None]
LIMITS = {"noise_injection": 1.10, "irs": 1.35, "ovf": 4.5, "chip": 1.10, "import": 0.3}


def vgg8() -> torch.nn.Module:
    return ec.models.VGG8(width=16).build((1, 32, 32), 10, seed=0)


def fast_vgg8() -> torch.nn.Module:
    return vgg8().to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


def images(n: int) -> Arrays:
    rng = rng_for(0, "benchmark")
    return Arrays(torch.randn(n, 1, 32, 32, generator=rng), torch.randint(10, (n,), generator=rng))


def plain_step(precision: Precision) -> Work:
    """The floor: an ordinary PyTorch step in the faster memory format with the fused optimiser."""
    model = fast_vgg8()
    optimizer = torch.optim.Adam(model.parameters(), fused=True)
    data = images(BATCH)
    x = data.x.contiguous(memory_format=torch.channels_last)

    def step() -> None:
        with autocast(torch.device("cpu"), precision):
            loss = torch.nn.functional.cross_entropy(model(x).float(), data.y)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    return step


def method_step(method: Method, precision: Precision) -> Work:
    """A step of our training loop: fresh chips, the method's loss, the optimiser, the constraint."""
    model = fast_vgg8()
    data = images(BATCH)
    hardware = ec.Hardware(device=ec.devices.preset("RRAM1", sigma=0.2))
    objective = method.bind(model, hardware, seed=0, sample=data.x[:2])
    optimizer = torch.optim.Adam(objective.parameters(), fused=True)
    x = faster_layout(data.x)

    def step() -> None:
        with autocast(torch.device("cpu"), precision):
            loss = objective(x, data.y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        objective.after_step()

    return step


def plain_pass(precision: Precision) -> Work:
    """The floor of Monte Carlo: one pass of the digital model over the images, channels-last throughout."""
    model = fast_vgg8()
    data = images(IMAGES)
    batches = [faster_layout(x) for x in data.x.split(500)]  # type: ignore[no-untyped-call]

    def forward() -> None:
        with torch.no_grad(), evaluating(model), autocast(torch.device("cpu"), precision):
            for x in batches:
                model(x)

    return forward


def chip_pass(precision: Precision) -> Work:
    """One chip of an evaluation: programmed, run over the same images, measured."""
    model, data = vgg8(), images(IMAGES)
    hardware = ec.Hardware(device=ec.devices.preset("RRAM1", sigma=0.2))
    counter = iter(range(10**9))

    def one() -> None:
        measure(model, ec.program(model, hardware, seed=0, chip=next(counter)), data, precision=precision)

    return one


def ratios(floor: Work, contestants: dict[str, Work], rounds: int) -> dict[str, float]:
    """The median over rounds of each contestant's time over the floor's, in turns of rotating order."""
    turns = [("", floor), *contestants.items()]
    seen: dict[str, list[float]] = {name: [] for name in contestants}
    times: list[float] = []
    for turn in range(rounds):
        shift = turn % len(turns)
        spent = {name: _seconds(work) for name, work in turns[shift:] + turns[:shift]}
        times.append(spent[""])
        for name, values in seen.items():
            values.append(spent[name] / times[-1])
    print(f"  plain: {statistics.median(times) * 1e3:.1f} ms (median of {rounds})")
    return {name: statistics.median(values) for name, values in seen.items()}


def import_seconds(rounds: int) -> float:
    """What `import everychip` with its public names costs on top of `import torch`."""
    code = (
        "import time, torch; t = time.perf_counter(); import everychip; everychip.evaluate; "
        "print(time.perf_counter() - t)"
    )
    command = [sys.executable, "-c", code]
    return statistics.median(float(subprocess.check_output(command, text=True)) for _ in range(rounds))


def evaluation_memory() -> float:
    """How many MiB the peak memory grows between an evaluation of 2 chips and one of 20."""
    data = images(500)
    hardware = ec.Hardware(device=ec.devices.preset("RRAM1", sigma=0.2))
    model = vgg8()
    ec.evaluate(model, hardware, data, chips=2)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    ec.evaluate(model, hardware, data, chips=20)
    return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024


def _seconds(work: Callable[[], None]) -> float:
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
    result = {"memory growth over 18 chips, MiB": evaluation_memory()}
    result["import"] = import_seconds(max(5, options.rounds))
    methods = {
        "noise_injection": ec.methods.NoiseInjection(),
        "irs": ec.methods.IRS(positions="paper", hidden=128),
        "irs, hidden 512": ec.methods.IRS(positions="paper", hidden=512),
        "ovf": ec.methods.OVF(),
        "noise_injection + clip": ec.methods.NoiseInjection(constraint=ec.constraints.clip(1.5)),
    }
    steps = {name: method_step(method, options.precision) for name, method in methods.items()}
    result |= ratios(plain_step(options.precision), steps, options.rounds)
    result |= ratios(plain_pass(options.precision), {"chip": chip_pass(options.precision)}, options.rounds)
    for name, value in result.items():
        limit = f"  (limit {LIMITS[name]})" if name in LIMITS else ""
        print(f"  {name}: {value:.3f}{limit}")
    if options.json:
        options.json.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
