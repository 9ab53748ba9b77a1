"""What a stranger installs: the public names, the wheel, the pins, the two commands."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from importlib.metadata import version
from pathlib import Path
from statistics import median

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import everychip as ec

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def python(code: str, *arguments: str) -> str:
    """What a fresh interpreter prints."""
    result = subprocess.run(
        [sys.executable, *arguments, "-c", code], capture_output=True, text=True, check=True, timeout=100
    )
    return result.stdout.strip()


def pins(file: str = "constraints.txt") -> dict[str, str]:
    rows = [row for row in (ROOT / file).read_text().splitlines() if not row.startswith("#")]
    return {canonicalize_name(name): pin for name, pin in (row.split("==") for row in rows)}


def requirements() -> list[Requirement]:
    extras = [Requirement(text) for group in PROJECT["optional-dependencies"].values() for text in group]
    own = [Requirement(text) for text in PROJECT["dependencies"]]
    return [r for r in (*own, *extras) if r.name != "everychip"]


def test_there_are_at_most_40_public_names() -> None:
    assert len(ec.__all__) <= 40
    assert dir(ec) == sorted(ec.__all__)


@pytest.mark.parametrize("name", sorted(set(ec.__all__) - {"__version__"}))
def test_every_public_name_exists_and_is_documented(name: str) -> None:
    value = getattr(ec, name)
    assert (value.__doc__ or "").strip(), f"everychip.{name} has no docstring"


def test_every_public_name_stands_in_the_reference() -> None:
    page = (ROOT / "docs" / "reference" / "python.md").read_text(encoding="utf-8")
    named = set(re.findall(r"auto\w+:: everychip\.(\w+)$", page, re.MULTILINE))
    modules = {name for name in ec.__all__ if getattr(ec, name).__class__.__name__ == "module"}
    assert set(ec.__all__) - named - modules - {"__version__"} == set()


def test_an_unknown_public_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'programme'"):
        ec.programme


def test_types_see_the_names_that_are_loaded_lazily() -> None:
    text = (ROOT / "src" / "everychip" / "__init__.py").read_text()
    typed = text.split("if TYPE_CHECKING:")[1].split("__version__")[0]
    assert {name for name in ec.__all__ if name != "__version__"} <= set(re.findall(r"\w+", typed))


@pytest.mark.parametrize("switch", ["enable", "disable"])
def test_loading_names_leaves_the_garbage_collector_as_it_was(switch: str) -> None:
    code = f"import gc, everychip as ec; gc.{switch}(); before = gc.isenabled(); ec.Hardware; ec.evaluate"
    assert python(code + "; print(before == gc.isenabled(), before)") == f"True {switch == 'enable'}"


def test_a_name_that_cannot_be_loaded_leaves_the_garbage_collector_on() -> None:
    code = (
        "import gc, sys, everychip as ec; sys.modules['everychip.hardware.hardware'] = None\n"
        "try:\n    ec.Hardware\nexcept ImportError:\n    print(gc.isenabled())"
    )
    assert python(code) == "True"


def test_import_everychip_does_not_import_torch() -> None:
    assert python("import sys, everychip; print('torch' in sys.modules)") == "False"


@pytest.mark.slow
def test_importing_costs_little_over_torch() -> None:
    # Processor time, the median of five: what else the machine does is not our cost.
    code = (
        "import time, torch; start = time.process_time(); "
        "import everychip; everychip.evaluate; print(time.process_time() - start)"
    )
    seconds = [float(python(code)) for _ in range(5)]
    assert median(seconds) <= 0.3, seconds


@pytest.mark.slow
def test_using_every_public_name_costs_less_than_six_tenths_of_torch_itself() -> None:
    # As a share, since a slow processor is slow at both.
    code = (
        "import time; start = time.process_time(); import torch; then = time.process_time(); "
        "import everychip as ec; [getattr(ec, name) for name in ec.__all__]; "
        "print((time.process_time() - then) / (then - start))"
    )
    shares = [float(python(code)) for _ in range(5)]
    assert median(shares) <= 0.6, shares


def test_help_does_not_import_torch() -> None:
    code = (
        "import sys; sys.argv = ['everychip', '--help']\n"
        "from everychip.cli import main\n"
        "try:\n    main()\n"
        "except SystemExit:\n    pass\n"
        "print('torch' in sys.modules)"
    )
    assert python(code).splitlines()[-1] == "False"


def test_the_wheel_holds_every_file_of_the_package_and_nothing_else(tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)],
        cwd=ROOT, check=True, capture_output=True, timeout=100,
    )  # fmt: skip
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        metadata = archive.read(f"everychip-{ec.__version__}.dist-info/METADATA").decode()
        scripts = archive.read(f"everychip-{ec.__version__}.dist-info/entry_points.txt").decode()
    source = ROOT / "src"
    tracked = {
        str(path.relative_to(source))
        for path in (source / "everychip").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts and not path.name.startswith(".")
    }
    assert {"everychip/py.typed", "everychip/devices/presets.toml"} < tracked
    assert any(name.startswith("everychip/recipes/") and name.endswith(".toml") for name in tracked)
    assert {name for name in names if ".dist-info/" not in name} == tracked
    assert "License-Expression: Apache-2.0" in metadata
    assert "everychip = everychip.cli:main" in scripts


def test_every_requirement_is_pinned_within_its_bounds() -> None:
    pinned = pins()
    for requirement in requirements():
        pin = pinned[canonicalize_name(requirement.name)]
        assert pin in requirement.specifier, f"{requirement} does not allow the pin {pin}"
        assert "+" not in pin


def test_the_oldest_pins_are_the_lowest_versions_that_are_promised() -> None:
    oldest = pins("constraints-oldest.txt")
    hub = map(Requirement, PROJECT["optional-dependencies"]["hub"])
    for requirement in (*map(Requirement, PROJECT["dependencies"]), *hub):
        pin = oldest.pop(canonicalize_name(requirement.name))
        (bound,) = requirement.specifier
        lowest = bound.version.split(".")
        assert bound.operator == ">="
        assert pin.split(".")[: len(lowest)] == lowest, (
            f"{requirement} promises more than the pin {pin} tries"
        )
    assert oldest == {}, "pinned, but no requirement"


def test_the_version_is_the_same_everywhere() -> None:
    assert version("everychip") == ec.__version__
    assert f"version: {ec.__version__}\n" in (ROOT / "CITATION.cff").read_text()
    assert f"## {ec.__version__}" in (ROOT / "CHANGELOG.md").read_text()


def test_ci_runs_the_readme_s_test_command() -> None:
    readme, ci = (ROOT / "README.md").read_text(), (ROOT / ".ci" / "run").read_text()
    assert "make demo" in readme and "make test" in readme
    assert "\nmake test\n" in ci and "\nmake lint\n" in ci
    assert os.access(ROOT / ".ci" / "run", os.X_OK)


def test_the_sdist_holds_what_a_wheel_is_built_from(tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "sdist", "-d", str(tmp_path)],
        cwd=ROOT, check=True, capture_output=True, timeout=100,
    )  # fmt: skip
    (sdist,) = tmp_path.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    package = {
        str(path.relative_to(ROOT)) for path in (ROOT / "src" / "everychip").rglob("*") if path.is_file()
    }
    assert {name for name in package if "__pycache__" not in name} <= names
    assert {"pyproject.toml", "README.md", "LICENSE", "CHANGELOG.md", "CITATION.cff", "Makefile"} <= names
    assert not any("everychip-runs" in name or name.endswith(".pyc") for name in names)


def test_the_public_ci_tries_every_promised_python_and_only_targets_that_exist() -> None:
    yaml = pytest.importorskip("yaml")
    jobs = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8"))["jobs"]
    rows = jobs["test"]["strategy"]["matrix"]["include"]
    promised = {one.rpartition(" ")[2] for one in PROJECT["classifiers"] if re.search(r":: 3\.\d+$", one)}
    assert {row["python"] for row in rows} == promised
    assert PROJECT["requires-python"] == f">={min(promised, key=lambda v: int(v.partition('.')[2]))}"
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    assert {row["target"] for row in rows} == {"test", "test-fast", "test-oldest", "test-newest"}
    runs = re.findall(
        r"make ([a-z-]+)", (ROOT / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8")
    )
    assert {*runs, *(row["target"] for row in rows)} <= targets


def test_the_issue_form_of_an_entry_offers_the_shipped_tasks() -> None:
    yaml = pytest.importorskip("yaml")
    from everychip.leaderboard import shipped

    forms = {
        path.stem: yaml.safe_load(path.read_text(encoding="utf-8"))
        for path in (ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml")
    }
    assert {"device", "method", "leaderboard-entry"} <= set(forms)
    fields = {field["id"]: field for field in forms["leaderboard-entry"]["body"]}
    assert fields["task"]["attributes"]["options"] == list(shipped())
