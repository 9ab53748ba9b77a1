"""What noise costs: training steps and Monte Carlo chips beside the plain digital ones, in one process.

    python benchmarks/overhead.py [--rounds 9] [--precision float32|bfloat16] [--gpu] [--json FILE]

VGG-8 at width 16, batch 128, two threads, or the first GPU (the limits are those of the processor).
Contestants take turns of three repetitions, so that a drifting machine slows all of them; the printed
ratio is the median over rounds of (contestant / plain).
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
from dataclasses import dataclass
from pathlib import Path

import torch

import everychip as ec
from everychip.data import Arrays
from everychip.evaluation.measuring import measure
from everychip.methods import Method
from everychip.network.memory_format import faster_layout
from everychip.network.modes import evaluating
from everychip.network.running import Precision, autocast
from everychip.rng import rng_for

IMAGES, STRIDE = 2000, 3
Work = Callable[[], None]
LIMITS = {"noise_injection": 1.10, "irs": 1.35, "ovf": 4.5, "chip": 1.10, "import": 0.3}


@dataclass(frozen=True)
class Setting:
    """What all contestants share."""

    precision: Precision = "float32"
    place: str = "cpu"
    width: int = 16
    batch: int = 128

    def vgg8(self) -> torch.nn.Module:
        return ec.models.VGG8(width=self.width).build((1, 32, 32), 10, seed=0).to(self.place)

    def fast_vgg8(self) -> torch.nn.Module:
        return self.vgg8().to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]

    def one_batch(self) -> tuple[torch.Tensor, torch.Tensor]:
        data = images(self.batch)
        return faster_layout(data.x.to(self.place)), data.y.to(self.place)

    def autocast(self) -> torch.autocast:
        return autocast(torch.device(self.place), self.precision)


def images(n: int) -> Arrays:
    rng = rng_for(0, "benchmark")
    return Arrays(torch.randn(n, 1, 32, 32, generator=rng), torch.randint(10, (n,), generator=rng))


def plain_step(at: Setting) -> Work:
    """The floor: an ordinary PyTorch step in the faster memory format with the fused optimiser."""
    model = at.fast_vgg8()
    optimizer = torch.optim.Adam(model.parameters(), fused=True)
    x, y = at.one_batch()

    def step() -> None:
        with at.autocast():
            loss = torch.nn.functional.cross_entropy(model(x).float(), y)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    return step


def method_step(method: Method, at: Setting) -> Work:
    """A step of our training loop: fresh chips, the method's loss, the optimiser, the constraint."""
    model = at.fast_vgg8()
    x, y = at.one_batch()
    hardware = ec.Hardware(device=ec.devices.preset("RRAM1", sigma=0.2))
    objective = method.bind(model, hardware, seed=0, sample=x[:2])
    optimizer = torch.optim.Adam(objective.parameters(), fused=True)

    def step() -> None:
        with at.autocast():
            loss = objective(x, y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        objective.after_step()

    return step


def plain_pass(at: Setting) -> Work:
    """The floor of Monte Carlo: one pass of the digital model over the images, channels-last throughout."""
    model = at.fast_vgg8()
    batches = [faster_layout(x.to(at.place)) for x in images(IMAGES).x.split(500)]

    def forward() -> None:
        with torch.no_grad(), evaluating(model), at.autocast():
            for x in batches:
                model(x)

    return forward


def chip_pass(at: Setting) -> Work:
    """One chip of an evaluation: programmed, run over the same images, measured."""
    model, data = at.vgg8(), images(IMAGES)
    hardware = ec.Hardware(device=ec.devices.preset("RRAM1", sigma=0.2))
    counter = iter(range(10**9))

    def one() -> None:
        measure(model, ec.program(model, hardware, seed=0, chip=next(counter)), data, precision=at.precision)

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
    model = Setting().vgg8()
    ec.evaluate(model, hardware, data, chips=2)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    ec.evaluate(model, hardware, data, chips=20)
    return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024


def _seconds(work: Callable[[], None]) -> float:
    """One repetition in its stride: the first after another contestant pays for that one's memory."""
    work()
    _finished()
    started = time.perf_counter()
    for _ in range(STRIDE):
        work()
    _finished()
    return (time.perf_counter() - started) / STRIDE


def _finished() -> None:
    """Wait for what the GPU was given, if anything."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--precision", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--gpu", action="store_true")
    parser.add_argument("--width", type=int, default=16)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    if options.gpu and not torch.cuda.is_available():
        parser.error("--gpu: PyTorch finds no GPU here")
    torch.set_num_threads(options.threads)
    place = "cuda" if options.gpu else "cpu"
    at = Setting(options.precision, place, width=options.width, batch=options.batch)
    result: dict[str, float] = {}
    if not options.gpu:
        result["memory growth over 18 chips, MiB"] = evaluation_memory()
        result["import"] = import_seconds(max(5, options.rounds))
    methods = {
        "noise_injection": ec.methods.NoiseInjection(),
        "irs": ec.methods.IRS(positions="paper", hidden=128),
        "irs, hidden 512": ec.methods.IRS(positions="paper", hidden=512),
        "ovf": ec.methods.OVF(),
        "noise_injection + clip": ec.methods.NoiseInjection(constraint=ec.constraints.clip(1.5)),
    }
    steps = {name: method_step(method, at) for name, method in methods.items()}
    result |= ratios(plain_step(at), steps, options.rounds)
    result |= ratios(plain_pass(at), {"chip": chip_pass(at)}, options.rounds)
    for name, value in result.items():
        limit = f"  (limit {LIMITS[name]})" if name in LIMITS and not options.gpu else ""
        print(f"  {name}: {value:.3f}{limit}")
    if options.json:
        options.json.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
