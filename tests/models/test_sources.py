"""Whose code a run depends on: the user's modules, nothing of what installers brought, wherever that is."""

from __future__ import annotations

from pathlib import Path

import pytest

from everychip.models.sources import code_of, file_of


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A module of the user's in the working directory, which imports an installed package and a helper."""
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "my_net.py").write_text("import huge\nimport my_helper\n")
    (tmp_path / "mine" / "my_helper.py").write_text("import huge.deep\n")
    monkeypatch.chdir(tmp_path / "mine")
    return tmp_path


def install(folder: Path) -> Path:
    """A package with code in two files, as an installer puts it there."""
    (folder / "huge").mkdir(parents=True)
    (folder / "huge" / "__init__.py").write_text("from huge import deep\n")
    (folder / "huge" / "deep.py").write_text("")
    return folder


@pytest.mark.parametrize(
    ("place", "leaves"),
    [
        ("home/.local/lib/python3.11/site-packages", False),  # a user's site
        ("base/lib/python3.11/site-packages", False),  # the site below an environment's
        ("usr/lib/python3/dist-packages", False),
        ("target", True),  # pip install --target
    ],
)
def test_an_installed_package_is_nobody_s_code_wherever_it_was_installed(
    mine: Path, monkeypatch: pytest.MonkeyPatch, place: str, leaves: bool
) -> None:
    before = code_of(["my_net"])
    folder = install(mine / place)
    if leaves:
        (folder / "huge-1.0.dist-info").mkdir()
    monkeypatch.syspath_prepend(str(folder))
    assert file_of("huge", None) is None
    assert code_of(["huge"]) == ""
    assert code_of(["my_net"]) == before


def test_a_folder_of_the_user_s_on_the_path_is_the_user_s(
    mine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = code_of(["my_net"])
    folder = install(mine / "my library")
    monkeypatch.syspath_prepend(str(folder))
    assert file_of("huge.deep", None) == folder / "huge" / "deep.py"
    with_library = code_of(["my_net"])
    assert with_library != before
    (folder / "huge" / "deep.py").write_text("x = 1\n")
    assert code_of(["my_net"]) != with_library
