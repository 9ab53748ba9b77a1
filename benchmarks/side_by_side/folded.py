"""What batch norm folded into the convolutions would save of a pass: an upper bound for a chip.

    python benchmarks/side_by_side/folded.py [--rounds 7]

Writes folded.json beside this script: for each network the CPU time of a pass with every batch norm that
follows a convolution folded into its weights, over the plain pass, in float32 and in bfloat16; medians over
rounds of turns, in one process of one thread.
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import statistics
import time
from itertools import pairwise
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval
from workloads import WORKLOADS, Workload


def folded(model: nn.Module) -> nn.Module:
    """A copy in which each convolution that a batch norm follows has taken it in."""
    found = copy.deepcopy(model).eval()
    for parent in list(found.modules()):
        children = list(parent.named_children())
        for (name, one), (after, two) in pairwise(children):
            if isinstance(one, nn.Conv2d) and isinstance(two, nn.BatchNorm2d):
                setattr(parent, name, fuse_conv_bn_eval(one, two))
                setattr(parent, after, nn.Identity())
    return found


def seconds(model: nn.Module, load: Workload, *, half: bool) -> float:
    """CPU time of a pass over the test images."""
    batches = load.batches()
    started = time.process_time()
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=half):
        for x in batches:
            model(x)
    return time.process_time() - started


def compared(load: Workload, rounds: int) -> dict[str, float]:
    """Folded over plain, and how far the answers are apart as a share of their rms."""
    plain = load.network().eval()
    short = load.formatted(folded(plain))
    rows: dict[str, list[float]] = {"float32": [], "bfloat16": []}
    for _ in range(rounds + 1):
        for name, values in rows.items():
            first = seconds(plain, load, half=name == "bfloat16")
            values.append(seconds(short, load, half=name == "bfloat16") / first)
    with torch.no_grad():
        x = load.batches()[0]
        a, b = plain(x), short(x)
    apart = float((a - b).abs().max() / a.square().mean().sqrt())
    return {**{name: statistics.median(values[1:]) for name, values in rows.items()}, "apart": apart}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=7)
    rounds = parser.parse_args().rounds
    torch.set_num_threads(1)
    found = {name: compared(WORKLOADS[name], rounds) for name in ("vgg8-16", "resnet18-16")}
    Path(__file__).with_suffix(".json").write_text(json.dumps(found, indent=1) + "\n")
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
