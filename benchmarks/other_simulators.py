"""One trained network in everychip and in aihwkit; python benchmarks/other_simulators.py writes the JSON.

For each device of which aihwkit has a noise model: the largest difference of a logit without noise, and the
accuracy of as many chips in each simulator. The two draw different noise, so only their means are comparable.
"""

from __future__ import annotations

import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

import everychip as ec
from everychip.devices import Device, Hermes, NeuRram, Pcm
from everychip.export import agreement

RESULT = Path(__file__).with_suffix(".json")
NETWORK = "digits-lenet-gaussian-0.3"
CHIPS = 200
DEVICES: dict[str, Device] = {
    "PCM, first read": Pcm(),
    "PCM, a day": Pcm(time="1d"),
    "Hermes, one device, first read": Hermes(devices=1),
    "Hermes, two devices, an hour": Hermes(devices=2, time="1h"),
    "NeuRRAM, a second": NeuRram(time="1s"),
    "NeuRRAM, a day": NeuRram(time="1d"),
}


def compared(device: Device) -> dict[str, Any]:
    """One device: the logits without noise, and the accuracy of every chip of both."""
    entry = ec.load(NETWORK)
    hardware = ec.Hardware(device=device, mapping=ec.mapping.Direct(sign="differential"))
    found = agreement(entry.model, hardware, entry.experiment.data, chips=CHIPS, seed=0)
    assert found.ours is not None
    assert found.theirs is not None
    return {
        "logits": found.logits,
        "everychip": found.ours.accuracy.tolist(),
        "aihwkit": found.theirs.accuracy.tolist(),
    }


def main() -> None:
    """Measure every device and write the JSON."""
    versions = {name: version(name) for name in ("everychip", "aihwkit", "torch")}
    rows = {name: compared(device) for name, device in DEVICES.items()}
    about = {"network": NETWORK, "digital": ec.load(NETWORK).about.digital, "versions": versions}
    RESULT.write_text(json.dumps({**about, "devices": rows}) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
