"""Training through accelerate: two processes over gloo learn what one learns on the same global batch."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("accelerate")

SCRIPT = Path(__file__).with_name("two_processes.py")


def trained(kind: str, place: Path, *, processes: int, parts: int = 1) -> list[dict[str, Any]]:
    """What every process wrote at the end."""
    place.mkdir()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    children = []
    for rank in range(processes):
        several = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": processes, "MASTER_PORT": port}
        known = os.environ | {"MASTER_ADDR": "127.0.0.1", "OMP_NUM_THREADS": "1"}
        if processes > 1:
            known |= {name: str(value) for name, value in several.items()}
        command = [sys.executable, str(SCRIPT), kind, str(place), str(parts)]
        children.append(subprocess.Popen(command, env=known, stderr=subprocess.PIPE, text=True))
    for child in children:
        _, words = child.communicate(timeout=300)
        assert child.returncode == 0, words
    return [json.loads((place / f"{rank}.json").read_text()) for rank in range(processes)]


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize(("kind", "parts"), [("noise_injection", 1), ("irs", 1), ("noise_injection", 4)])
def test_two_processes_have_the_loss_curve_of_one_at_the_same_global_batch(
    kind: str, parts: int, tmp_path: Path
) -> None:
    """Also where each process accumulates the gradients of several parts of its share."""
    [alone] = trained(kind, tmp_path / "one", processes=1)
    pair = trained(kind, tmp_path / "two", processes=2, parts=parts)
    assert [one["processes"] for one in pair] == [2, 2]
    assert alone["losses"][-1] < 0.95 * alone["losses"][0]
    for one in pair:
        assert one["losses"] == pytest.approx(alone["losses"], rel=1e-5)
        for here, there in zip(one["weights"], alone["weights"], strict=True):
            assert here == pytest.approx(there, rel=1e-3, abs=1e-5)
    assert pair[0]["weights"] == pair[1]["weights"], "every process holds the same network"
