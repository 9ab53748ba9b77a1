"""Make an entry of the zoo from a run folder: python tools/zoo/make_zoo.py RUN NAME [--half] [--chips N]."""

from __future__ import annotations

import argparse
from pathlib import Path

from everychip.zoo.writing import write_entry

ENTRIES = Path(__file__).parents[2] / "src" / "everychip" / "zoo" / "entries"
LARGEST = 2_000_000
"""Bytes of an entry that goes into the package."""


def main() -> None:
    """Read the command line, write one entry, say how large it is."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path, help="the folder of a complete run")
    parser.add_argument("name", help="the entry's name, as in vgg8-cifar10-noise-rram1-0.4")
    parser.add_argument("--half", action="store_true", help="round the weights to float16")
    parser.add_argument("--chips", type=int, help="how many chips prove it; the recipe's number if absent")
    parser.add_argument("--note", default="", help="a sentence for the card")
    parser.add_argument("--into", type=Path, default=ENTRIES, help="the folder of the entries")
    asked = parser.parse_args()
    folder = write_entry(
        asked.run, asked.into / asked.name, half=asked.half, chips=asked.chips, note=asked.note, progress=True
    )
    size = sum(path.stat().st_size for path in folder.iterdir())
    print(f"{folder}: {size / 1e6:.2f} MB")
    if asked.into == ENTRIES and size > LARGEST:
        print(f"larger than {LARGEST / 1e6:.0f} MB: --half, or keep it out of the package with --into")


if __name__ == "__main__":
    main()
