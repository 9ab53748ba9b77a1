"""Training steps, Monte Carlo chips, programming, memory and start-up, beside other tools: `make bench`.

    python benchmarks/side_by_side/run.py [NETWORK …] [--work WORK …] [--rounds 5] [--json FILE] [--tiny]

Each peer is a process of one thread. They take turns, work by work, in an order that moves on with every
round, so that a drifting machine slows all of them; seconds are CPU time of the peer's process. A ratio is
the median over rounds of a work's time over plain PyTorch's in the same round: of steps over its step, of
everything else over its pass over the same images. Networks and works that are not named keep their rows.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from workloads import TINY, WORKLOADS

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
FLOOR = "plain"


@dataclass(frozen=True)
class Peer:
    """A script beside this one, and what it needs."""

    script: str
    package: str
    install: str


PEERS = {
    FLOOR: Peer("plain.py", "torch", "pip install torch"),
    "everychip": Peer("everychip_peer.py", "everychip", "pip install ."),
    "published loop": Peer("published.py", "torch", "pip install torch"),
    "aihwkit": Peer("aihwkit_peer.py", "aihwkit", "pip install --no-deps aihwkit==1.1.0"),
    "aihwkit-lightning": Peer(
        "lightning_peer.py", "aihwkit_lightning", "pip install --no-deps aihwkit-lightning==2.1.0"
    ),
}
KEPT = {"MALLOC_MMAP_THRESHOLD_": str(2**32), "MALLOC_TRIM_THRESHOLD_": str(2**32)}
"""Freed memory stays with the process, of every peer: else a pass after a larger work, whose memory is still
there, takes a quarter less than the same pass in a process that does nothing else."""
MEASURED_APART = ("step", "step: noise injection", "chip")
"""Whose peak memory is that of a process which does nothing else."""


class Process:
    """A peer at work on one network."""

    def __init__(self, peer: Peer, network: str, *, tiny: bool, keeps_memory: bool = True) -> None:
        self.name = f"{peer.script} {network}"
        command = [sys.executable, str(HERE / peer.script), network, *([TINY] if tiny else [])]
        environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
        if keeps_memory:
            environment |= KEPT
        self._child = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )
        self.ready = self._read()

    def __enter__(self) -> Process:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._child.stdin is not None
        self._child.stdin.close()
        self._child.wait(timeout=60)

    def run(self, work: str) -> dict[str, float]:
        """CPU seconds of one repetition, and the peak memory of the process so far in MiB."""
        assert self._child.stdin is not None
        self._child.stdin.write(json.dumps(work) + "\n")
        self._child.stdin.flush()
        return self._read()

    def _read(self) -> dict[str, Any]:
        assert self._child.stdout is not None
        for line in self._child.stdout:
            if line.startswith("{"):
                return dict(json.loads(line))
        raise SystemExit(f"{self.name}: ended with {self._child.wait()}")


def present() -> tuple[dict[str, Peer], list[dict[str, str]]]:
    """The peers whose package is here, and how to get the others."""
    there = {name: peer for name, peer in PEERS.items() if find_spec(peer.package)}
    return there, [{"peer": n, "install": p.install} for n, p in PEERS.items() if n not in there]


def measured(
    network: str, peers: dict[str, Peer], rounds: int, *, only: list[str], tiny: bool
) -> list[dict[str, Any]]:
    """A row for each work of each peer, or of those asked for, on one network."""
    running = {name: Process(peer, network, tiny=tiny) for name, peer in peers.items()}
    turns = [
        (name, work)
        for name, process in running.items()
        for work in process.ready["works"]
        if not only or work in only or (name == FLOOR and work in ("step", "chip"))
    ]
    seconds: dict[tuple[str, str], list[float]] = {turn: [] for turn in turns}
    for number in range(rounds):
        shift = number * len(turns) // rounds
        for name, work in turns[shift:] + turns[:shift]:
            seconds[name, work].append(running[name].run(work)["seconds"])
    starts = {name: process.ready["import"] for name, process in running.items()}
    for process in running.values():
        process.__exit__()
    rows = []
    for (name, work), values in seconds.items():
        if only and work not in only:
            continue
        floor = seconds[FLOOR, "step" if work.startswith("step") else "chip"]
        shares = [own / plain for own, plain in zip(values, floor, strict=True)]
        rows.append(
            {
                "network": network,
                "peer": name,
                "work": work,
                "seconds": statistics.median(values),
                "ratio": statistics.median(shares),
                "ratio_least": min(shares),
                "ratio_most": max(shares),
                "start_up": starts[name],
                "peak_mib": peak(peers[name], network, work, tiny=tiny),
            }
        )
        print({key: rows[-1][key] for key in ("network", "peer", "work", "ratio", "peak_mib")}, flush=True)
    return rows


def peak(peer: Peer, network: str, work: str, *, tiny: bool) -> float | None:
    """Peak memory in MiB of a process that does this work and nothing else."""
    if work not in MEASURED_APART:
        return None
    with Process(peer, network, tiny=tiny, keeps_memory=False) as process:
        return process.run(work)["peak"]


def versions() -> dict[str, str]:
    """What was measured."""
    found = {"python": sys.version.split()[0]}
    for name in ("torch", "everychip", "aihwkit", "aihwkit-lightning"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("networks", nargs="*", default=list(WORKLOADS), metavar="NETWORK")
    parser.add_argument("--work", action="append", default=[], help="only this one of the works")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path, default=HERE / "result.json")
    parser.add_argument(TINY, action="store_true", help="eight images: only to see that everything runs")
    options = parser.parse_args()
    if options.tiny and options.json == HERE / "result.json":
        parser.error(f"{TINY} measures nothing: name another file with --json")
    peers, missing = present()
    for one in missing:
        print(f"{one['peer']}: not installed; {one['install']}")
    unknown = [name for name in options.networks if name not in WORKLOADS]
    if unknown:
        parser.error(f"{unknown[0]}: no such network; known: {', '.join(WORKLOADS)}")
    found: dict[str, Any] = {
        "command": "python benchmarks/side_by_side/run.py",
        "processor": processor(),
        "rounds": options.rounds,
        "versions": versions(),
        "missing": missing,
        "rows": rows_of_others(options.json, options.networks, options.work),
    }
    for name in options.networks:
        found["rows"] += measured(name, peers, options.rounds, only=options.work, tiny=options.tiny)
        options.json.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n")


def rows_of_others(path: Path, networks: list[str], only: list[str]) -> list[dict[str, Any]]:
    """What the file has of networks and works that are not measured now, and is kept."""
    rows = json.loads(path.read_text())["rows"] if path.exists() else []
    return [row for row in rows if row["network"] not in networks or (only and row["work"] not in only)]


def processor() -> str:
    """What the system calls the processor."""
    for line in Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else ():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return "unknown"


if __name__ == "__main__":
    main()
