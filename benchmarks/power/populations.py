"""Real chips, image by image, of the networks of the zoo: what the statistics are tried on.

    python benchmarks/power/populations.py [ENTRY …]        # some minutes on one core

Each is a file beside this script, one bit for each chip and image: whether the chip's answer was right. The
simulations of `power.py` and of tests/statistics/test_two_stage.py take their chips and images from them.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

import everychip as ec
from everychip.evaluation.bench import Asked
from everychip.hardware.placement import Placed

HERE = Path(__file__).parent
SIZES = {
    "digits-lenet-gaussian-0.3": (2000, 540),
    "digits-lenet-vanilla": (2000, 540),
    "vgg8w16-cifar10-ramp-clip-rram1-0.2": (300, 1000),
    "vgg8w16-cifar10-ramp-clip-rram1-0.4": (400, 1000),
}
"""Chips and test images of each."""


def population(name: str) -> Tensor:
    """[chips, images]: whether each chip answers each test image right.

    Args:
        name: an entry of the zoo, whose file lies beside this script.
    """
    packed = load_file(HERE / f"{name}.safetensors")
    images = int(packed["images"])
    bits = np.unpackbits(packed["right"].numpy(), axis=1)[:, :images]
    return torch.from_numpy(bits).bool()


def measured(name: str, *, chips: int, images: int) -> Tensor:
    """Program chips and run each on the first images of the test set."""
    entry = ec.load(name)
    test = entry.experiment.data.load().test.take(slice(images))
    bench, placed = Asked.of().bench(entry.model, test), Placed.of(entry.model, entry.hardware)
    rows = []
    for chip in range(chips):
        logits = bench.runner.predict(placed.program(seed=0, path=("evaluate", chip)), bench.data)
        rows.append(logits.argmax(1) == bench.data.y)
    return torch.stack(rows)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("entries", nargs="*", default=list(SIZES), metavar="ENTRY")
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    for name in parser.parse_args().entries:
        chips, images = SIZES[name]
        right = measured(name, chips=chips, images=images)
        packed = torch.from_numpy(np.packbits(right.numpy(), axis=1))
        save_file({"right": packed, "images": torch.tensor(right.shape[1])}, HERE / f"{name}.safetensors")
        print(f"{name}: {list(right.shape)}, mean {100 * float(right.double().mean()):.1f} %")


if __name__ == "__main__":
    main()
