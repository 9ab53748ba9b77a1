"""The method of CONTRIBUTING, installed from outside the package by its entry point: one file, no more."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow  # each test is a process of its own, one trains
ROOT = Path(__file__).parents[2]
RECIPE = """
data = "digits"
model = { kind = "mlp", hidden = [16] }
hardware = { device = { kind = "gaussian", sigma = 0.2 } }
method = { kind = "half_noisy", share = 0.25, ramp = 0.5 }
training = { epochs = 2, validation_chips = 1 }
evaluation = { chips = 2 }
compute = { threads = 1 }
"""


def blocks(language: str) -> list[str]:
    section = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").partition("## Add a method")[2]
    return re.findall(rf"^```{language}\n(.*?)^```", section.partition("\n## ")[0], re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder like `site-packages` after `pip install half-noisy`: the file and its entry point."""
    folder = tmp_path_factory.mktemp("site")
    (folder / "half_noisy.py").write_text(blocks("python")[0], encoding="utf-8")
    points = tomllib.loads(blocks("toml")[0])["project"]["entry-points"]["everychip"]
    about = folder / "half_noisy-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: half-noisy\nVersion: 1.0\n")
    lines = [f"{name} = {module}" for name, module in points.items()]
    (about / "entry_points.txt").write_text("\n".join(["[everychip]", *lines, ""]))
    return folder


def everychip(*words: str, path: Path | None) -> subprocess.CompletedProcess[str]:
    """The command in a process of its own, which knows nothing of this one's classes."""
    found = {"PYTHONPATH": str(path)} if path else {}
    environment = {**{k: v for k, v in os.environ.items() if k != "PYTHONPATH"}, **found, "COLUMNS": "200"}
    command = [sys.executable, "-m", "everychip", *words]
    return subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=250, check=False, cwd=path
    )


@pytest.mark.timeout(300)
def test_methods_lists_it_where_it_is_installed_and_only_there(installed: Path) -> None:
    (line,) = [
        line for line in everychip("methods", path=installed).stdout.splitlines() if "half_noisy" in line
    ]
    assert "Clean and noisy cross-entropy" in line
    assert "half_noisy" not in everychip("methods", path=None).stdout


@pytest.mark.timeout(300)
def test_a_recipe_trains_it_with_what_every_method_has(installed: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text(RECIPE)
    done = everychip("run", str(tmp_path / "mine.toml"), "--output", str(tmp_path / "run"), path=installed)
    assert done.returncode == 0, done.stderr
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert len(record["history"]) == 2
    assert record["status"] == "above_chance"
    resolved = tomllib.loads((tmp_path / "run" / "recipe.toml").read_text())
    assert resolved["method"]["kind"] == "half_noisy"
    assert resolved["method"]["ramp"] == 0.5


@pytest.mark.timeout(300)
def test_a_mistake_in_its_fields_is_one_line(installed: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text(RECIPE.replace("share = 0.25", "share = 2"))
    done = everychip("run", str(tmp_path / "mine.toml"), path=installed)
    assert done.returncode == 2
    assert "method.share" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
