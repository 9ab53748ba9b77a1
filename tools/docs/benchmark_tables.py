"""Tables of benchmarks/side_by_side/result.json, as `fill_tables.py` asks for them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

FILE = Path(__file__).parents[2] / "benchmarks" / "side_by_side" / "result.json"
GOALS = {
    "chip": 0.95,
    "chip, bfloat16": 0.50,
    "chip, folded": 0.95,
    "chip, folded, bfloat16": 0.50,
    "chip, compiled": 0.95,
    "chip, compiled, bfloat16": 0.50,
    "step: noise injection": 1.05,
    "step: IRS": 1.25,
    "step: multi-exit": 1.25,
    "step: OVF": 4.0,
    "step: OVF, bfloat16": 2.2,
    "array chip": 1.3,
    "array chip, 4 slices": 4.0,
}
"""What a work may take, over plain PyTorch's float32 step or pass."""
MEMORY_GOAL = 1.3
_OURS, _FLOOR = "everychip", "plain"


def _found() -> dict[str, Any]:
    return dict(json.loads(FILE.read_text(encoding="utf-8")))


def ratios(network: str) -> str:
    """Every work of every peer on one network, over plain PyTorch; our own with its goal."""
    rows = [row for row in _found()["rows"] if row["network"] == network]
    peers = [name for name in dict.fromkeys(row["peer"] for row in rows) if name != _FLOOR]
    known = list(dict.fromkeys(row["work"] for row in rows if row["peer"] != _FLOOR))
    kinds = list(dict.fromkeys(work.split(",")[0] for work in known))
    works = sorted(known, key=lambda work: kinds.index(work.split(",")[0]))  # variants beside their work
    at = {(row["peer"], row["work"]): row for row in rows}
    lines = [f"| | {' | '.join(peers)} | goal |", f"|---|{'---:|' * (len(peers) + 1)}"]
    for work in works:
        cells = [_ratio(at.get((peer, work))) for peer in peers]
        lines.append(f"| {work} | {' | '.join(cells)} | {_goal(work, at.get((_OURS, work)))} |")
    return "\n".join(lines)


def floors() -> str:
    """The seconds that the ratios are of."""
    lines = ["| network | plain step, ms | plain pass, ms | compiled pass, ms |", "|---|---:|---:|---:|"]
    found = {(row["network"], row["work"]): row for row in _found()["rows"] if row["peer"] == _FLOOR}
    for network in dict.fromkeys(name for name, _ in found):
        rows = (found.get((network, work)) for work in ("step", "chip", "chip, compiled"))
        cells = ("" if row is None else f"{1e3 * row['seconds']:.4g}" for row in rows)
        lines.append(f"| {network} | {' | '.join(cells)} |")
    return "\n".join(lines)


def memory() -> str:
    """Peak memory of a process that does one thing, in MiB, and over plain PyTorch's."""
    lines = [
        "| network | work | plain | everychip | ratio | others |",
        "|---|---|---:|---:|---:|---|",
    ]
    rows = [row for row in _found()["rows"] if row["peak_mib"] is not None]
    at = {(row["network"], row["peer"], row["work"]): row["peak_mib"] for row in rows}
    for network in dict.fromkeys(row["network"] for row in rows):
        for work in ("step: noise injection", "chip"):
            floor = at[network, _FLOOR, "step" if work.startswith("step") else "chip"]
            ours = at[network, _OURS, work]
            others = ", ".join(
                f"{peer} {value:.0f}"
                for (where, peer, what), value in at.items()
                if where == network and what == work and peer not in (_OURS, _FLOOR)
            )
            lines.append(f"| {network} | {work} | {floor:.0f} | {ours:.0f} | {ours / floor:.2f} | {others} |")
    return "\n".join(lines)


def start() -> str:
    """CPU seconds from the start of Python until the tool is imported."""
    rows = _found()["rows"]
    seconds: dict[str, list[float]] = {}
    for row in rows:
        seconds.setdefault(row["peer"], []).append(row["start_up"])
    lines = ["| peer | start-up, s |", "|---|---:|"]
    return "\n".join([*lines, *(f"| {peer} | {min(values):.2f} |" for peer, values in seconds.items())])


def _ratio(row: dict[str, Any] | None) -> str:
    return "" if row is None else f"{row['ratio']:.2f}" if row["ratio"] < 9.95 else f"{row['ratio']:.0f}"


def _goal(work: str, row: dict[str, Any] | None) -> str:
    goal = GOALS.get(work)
    if goal is None or row is None:
        return ""
    return f"{goal:g}, {'reached' if row['ratio'] <= goal else '**missed**'}"


def small_networks() -> str:
    """Chips a second of a small network on two cores, from benchmarks/small_networks.json."""
    facts = json.loads((FILE.parents[1] / "small_networks.json").read_text(encoding="utf-8"))
    lines = [f"| how | chips a second | over as it comes | over {facts['beside']} |", "|---|---:|---:|---:|"]
    for name, row in facts["rows"].items():
        factors = f"× {row['speed_up']:.2f} | × {row['over_beside']:.2f}"
        lines.append(f"| {name} | {row['chips_per_second']:.0f} | {factors} |")
    return "\n".join(lines)


def folded() -> str:
    """What a folded chip takes of a chip as it comes, from benchmarks/folded.json."""
    facts = json.loads((FILE.parents[1] / "folded.json").read_text(encoding="utf-8"))
    lines = [
        "| network | memory | chip, ms | folded, ms | folded / chip | least … most |",
        "|---|---|---:|---:|---:|---:|",
    ]
    for memory in ("given back", "kept"):
        for row in facts[memory]:
            times = f"{1e3 * row['chip']:.0f} | {1e3 * row['folded']:.0f} | {row['share']:.2f}"
            spread = f"{row['share_least']:.2f} … {row['share_most']:.2f}"
            lines.append(f"| {row['network']}, {row['precision']} | {memory} | {times} | {spread} |")
    return "\n".join(lines)


def training_memory() -> str:
    """What a training step takes in memory, from benchmarks/training_memory.json."""
    facts = json.loads((FILE.parents[1] / "training_memory.json").read_text(encoding="utf-8"))
    plain = facts["plain"]
    lines = ["| method | chips kept | over plain | drawn again | over plain |", "|---|---:|---:|---:|---:|"]
    lines.append(f"| plain PyTorch | {plain:.2f} | 1.00 | | |")
    for name, row in facts["rows"].items():
        cells = (f"{value:.2f} | {value / plain:.2f}" for value in (row["kept"], row["redrawn"]))
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def freed_memory() -> str:
    """What kept memory is worth for a chip, from benchmarks/freed_memory.json."""
    facts = json.loads((FILE.parents[1] / "freed_memory.json").read_text(encoding="utf-8"))
    lines = [
        "| network | chip, ms | with kept memory, ms | kept / given back | page faults a chip | peak, MiB |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for row in facts["rows"]:
        faults = f"{row['faults_leave']:,.0f} → {row['faults_keep']:,.0f}"
        peak = f"{row['peak_mib_leave']:.0f} → {row['peak_mib_keep']:.0f}"
        name = f"{row['network']}, {row['precision']}"
        times = f"{row['ms_leave']:.0f} | {row['ms_keep']:.0f} | {row['ratio']:.2f}"
        lines.append(f"| {name} | {times} | {faults} | {peak} |")
    return "\n".join(lines)


def counted() -> str:
    """What a count by torchmetrics costs a chip, from benchmarks/counted.json."""
    facts = json.loads((FILE.parents[1] / "counted.json").read_text(encoding="utf-8"))
    lines = [
        "| network | chip, ms | with torchmetrics, ms | comparison, µs | torchmetrics, µs | more of it |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for name, row in facts["networks"].items():
        ours, theirs = row["compared, µs alone"], row["torchmetrics, µs alone"]
        times = f"{row['compared, ms']:.2f} | {row['torchmetrics, ms']:.2f} | {ours:.0f} | {theirs:.0f}"
        more = (theirs - ours) / (1e3 * row["compared, ms"])
        lines.append(f"| {name} | {times} | {100 * more:.2f} % |")
    lines.append(f"| importing torchmetrics, once a process | | | | | {facts['import, s']:.1f} s |")
    return "\n".join(lines)


def compiled() -> str:
    """What torch.compile is worth for a chip, from benchmarks/compiled.json."""
    facts = json.loads((FILE.parents[1] / "compiled.json").read_text(encoding="utf-8"))
    lines = [
        "| network | plain pass, ms | chip, ms | compiled chip, ms | compiled / chip | compilation, s |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for name, one in facts["networks"].items():
        times = " | ".join(f"{one[key]:.0f}" for key in ("pass", "chip", "compiled"))
        ratio = one["compiled"] / one["chip"]
        lines.append(f"| {name} | {times} | {ratio:.2f} | {one['compilation_s']:.0f} |")
    return "\n".join(lines)


def scaling() -> str:
    """What a second worker is worth, from benchmarks/scaling.json."""
    lines = [
        "| work | chips | one worker, s | two workers, s | speed-up | least … most |",
        "|---|---:|---:|---:|---:|---|",
    ]
    for row in _scaling()["rows"]:
        times = f"{row['one']:.1f} | {row['two']:.1f} | {row['speedup']:.2f}"
        spread = f"{row['speedup_least']:.2f} … {row['speedup_most']:.2f}"
        lines.append(f"| {row['work']} | {row['chips']} | {times} | {spread} |")
    return "\n".join(lines)


def overheads() -> str:
    """What there is to wait for beside the chips, from benchmarks/scaling.json."""
    words = {
        "fork": "a fork of `evaluate`, until it has answered",
        "process": "a worker process, until it has answered; PyTorch and torchmetrics are imported",
        "job": "a further job of the same process",
        "block": "a block of one chip: data and network read, one chip measured",
        "driver": "the driver, for each run",
    }
    found = _scaling()["overheads"]
    lines = ["| what | ms |", "|---|---:|"]
    return "\n".join([*lines, *(f"| {words[name]} | {1e3 * found[name]:.3g} |" for name in words)])


def _scaling() -> dict[str, Any]:
    return dict(json.loads((FILE.parents[1] / "scaling.json").read_text(encoding="utf-8")))
