"""A factory of study folders: plausible draws, written through duckdb, with known answers."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from everychip.storage.files import digest
from everychip.storage.table import COLUMNS, write_table

SIGMAS = (0.0, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4)
METHODS = ("vanilla", "noise_injection", "temperature", "deep_supervision", "irs", "ovf")
# The σ at which a method has lost half of its accuracy; `temperature` and `irs` are alike on purpose.
HALF = {
    "vanilla": 0.12,
    "noise_injection": 0.24,
    "temperature": 0.36,
    "deep_supervision": 0.31,
    "irs": 0.365,
    "ovf": 0.47,
}
ENVIRONMENT = {
    "everychip": "0.1.0",
    "commit": "8c1a199c0ffe",
    "python": "3.11.9",
    "torch": "2.13.0",
    "platform": "Linux x86_64",
    "processor": "Two Cores",
    "threads": 2,
}


def _accuracy(method: str, clipped: bool, sigma: float, rng: random.Random, offset: float) -> float:
    half = HALF.get(method, 0.3) * (2.2 if clipped else 1.0)
    mean = 0.1 + 0.885 / (1 + math.exp(14 * (sigma - half - offset)))
    spread = 0.002 + 0.25 * sigma * (0.985 - mean) + 0.01 * sigma
    # Accuracies are skewed: a few chips are much worse than the rest.
    return min(0.995, max(0.08, mean + 0.4 * spread - spread * rng.gammavariate(1.5, 0.4)))


def _rows(run: dict[str, Any], sigmas: Sequence[float], chips: int, images: int) -> list[dict[str, Any]]:
    rows = []
    seed, method, clipped = run["seed"], run["method"], "clip" in run["variant"]
    offset = random.Random(f"seed {seed} {method}").gauss(0, 0.006)
    rms = (2.4 if clipped else 6.4) * 0.7776
    for sigma in sigmas:
        for chip in range(chips):
            rng = random.Random(f"{seed} {chip} {sigma}")
            value = _accuracy(method, clipped, sigma, rng, offset)
            if run["status"] != "above_chance":
                value = 0.1 + 0.01 * rng.random()
            rows.append(
                {
                    **{name: run[name] for name in ("method", "variant", "sigma_train", "seed")},
                    "run": run["id"],
                    "model": "vgg8(width=16)",
                    "data": "mnist",
                    "device": "RRAM1",
                    "sigma": sigma,
                    "sigma_of_max": 0.7776 * sigma,
                    "sigma_of_rms": rms * sigma,
                    "chip": chip,
                    "accuracy": value,
                    "nll": 2.3 * (1 - value),
                    "brier": 1 - value,
                    "ece": 0.1 * (1 - value),
                    "confidence": value,
                    "images": images,
                    "whole_test": images == 10_000,
                    "per_chip": run.get("per_chip", False),
                    "time": None,
                }
            )
    return rows


def study_folder(
    folder: Path,
    *,
    methods: Sequence[str] = METHODS,
    variants: Sequence[str] = ("", "ramp + clip(1.5)"),
    trained: Sequence[float] = (0.2, 0.4),
    sigmas: Sequence[float] = SIGMAS,
    seeds: int = 3,
    chips: int = 100,
    images: int = 10_000,
    collapsed: Sequence[tuple[str, str, float, int]] = (("noise_injection", "", 0.4, 1),),
) -> Path:
    """A study in the layout that `everychip study` writes; `collapsed` names runs that stayed at chance."""
    runs, rows = [], []
    for variant in variants:
        for method in methods:
            for sigma_train in (0.0,) if method == "vanilla" else trained:
                for seed in range(seeds):
                    failed = (method, variant, sigma_train, seed) in collapsed
                    run = {
                        "id": f"{len(runs):012x}",
                        "labels": {
                            "method": method,
                            "variant": variant,
                            "sigma": f"{sigma_train:g}",
                            "seed": str(seed),
                        },
                        "status": "at_chance" if failed else "above_chance",
                        "words": "the noisy validation accuracy stayed at chance (10 %)" if failed else "",
                        "seconds": 61.5,
                        "best_epoch": 3,
                        "validation_accuracy": 0.1 if failed else 0.9,
                        "forwards": 1000,
                        "classes": 10,
                    }
                    runs.append(run)
                    facts = {
                        **run,
                        "method": method,
                        "variant": variant,
                        "sigma_train": sigma_train,
                        "seed": seed,
                    }
                    rows += _rows(facts, sigmas, chips, images)
    folder.mkdir(parents=True, exist_ok=True)
    write_table(folder / "draws.parquet", {name: [row[name] for row in rows] for name in COLUMNS})
    about = {
        "format": "everychip-study/1",
        "name": "synthetic",
        "title": "Negative feedback training of a VGG-8 on MNIST",
        "command": "everychip study neft-vgg8-mnist-quarter",
        "axes": {"method": list(methods), "variant": list(variants), "sigma": [f"{s:g}" for s in trained]},
        "environment": ENVIRONMENT,
        "seconds": 6543.0,
        "runs": runs,
        "left_out": [],
    }
    (folder / "study.json").write_text(json.dumps(about), encoding="utf-8")
    (folder / "study.toml").write_text('title = "synthetic"\n\n[data]\nkind = "hub"\n', encoding="utf-8")
    return folder


def run_of_irs(folder: Path, *, chips: int = 50, epochs: int = 5) -> Path:
    """A run folder: one IRS training with its history."""
    facts = {
        "id": "abcdef012345",
        "method": "irs",
        "variant": "",
        "sigma_train": 0.2,
        "seed": 0,
        "status": "above_chance",
    }
    rows = _rows(facts, SIGMAS[::2], chips, 10_000)
    folder.mkdir(parents=True, exist_ok=True)
    write_table(folder / "draws.parquet", {name: [row[name] for row in rows] for name in COLUMNS})
    history = [
        {"epoch": epoch, "loss": 2.3 / (epoch + 1), "accuracy": 1 - 0.8 / (epoch + 1), "nll": 0.5}
        for epoch in range(epochs)
    ]
    about = {
        "format": "everychip-run/1",
        "id": "abcdef012345",
        "environment": ENVIRONMENT,
        "seconds": 61.5,
        "seed": 0,
        "status": "above_chance",
        "words": "",
        "best_epoch": epochs - 1,
        "history": history,
        "forwards": 1000,
        "classes": 10,
    }
    return complete(folder, about)


def complete(folder: Path, record: Mapping[str, Any]) -> Path:
    """Make a folder with draws a complete run, its files hashed."""
    (folder / "recipe.toml").write_text("seed = 0\n", encoding="utf-8")
    (folder / "model.safetensors").write_bytes(b"weights that no report reads")
    hashes = {name: digest(folder / name) for name in ("recipe.toml", "model.safetensors", "draws.parquet")}
    (folder / "run.json").write_text(json.dumps({**record, "sha256": hashes}), encoding="utf-8")
    return folder


@pytest.fixture(scope="session")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The full synthetic study: six methods, two variants, two training σ, three seeds."""
    return study_folder(tmp_path_factory.mktemp("study") / "synthetic", chips=25)


@pytest.fixture(scope="session")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One synthetic run."""
    return run_of_irs(tmp_path_factory.mktemp("run") / "abcdef012345")


@pytest.fixture(scope="session")
def write_study() -> Callable[..., Path]:
    """The factory itself, for studies of other shapes."""
    return study_folder


@pytest.fixture(scope="session")
def write_run() -> Callable[..., Path]:
    return run_of_irs


@pytest.fixture(scope="session")
def complete_run() -> Callable[[Path, Mapping[str, Any]], Path]:
    """Makes a folder with draws a complete run of this record."""
    return complete
