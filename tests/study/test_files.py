"""Files are whole or absent, and one process holds a folder."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from everychip.errors import StoreError
from everychip.study.files import digest, held, make_folder, read_json, write_json, write_text, write_whole


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    write_text(path, "old")

    def fail(draft: Path) -> None:
        draft.write_text("half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_whole(path, fail)
    assert {file.name: file.read_text() for file in tmp_path.iterdir()} == {"a.txt": "old"}


def test_json_has_no_nan(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"format": "f", "loss": float("nan"), "rows": [float("inf"), 1.5]})
    assert json.loads((tmp_path / "a.json").read_text(), parse_constant=pytest.fail) == {
        "format": "f",
        "loss": None,
        "rows": [None, 1.5],
    }


@pytest.mark.parametrize("text", ["", "{", "[]", "3", '{"format": "another/1"}', "\ufffd"])
def test_json_of_another_format_is_refused_in_one_line(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(StoreError, match=r"a\.json") as caught:
        read_json(tmp_path / "a.json", form="everychip-run/1")
    assert "\n" not in str(caught.value)


def test_digest_is_sha256(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"chip" * 100_000)
    assert digest(tmp_path / "a") == hashlib.sha256(b"chip" * 100_000).hexdigest()


def test_a_folder_is_made_with_its_parents_and_drafts_of_killed_writers_are_removed(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "b"
    make_folder(folder)
    (folder / ".draws.parquet.1.part").write_text("half")
    (folder / "draws.parquet").write_text("whole")
    make_folder(folder)
    assert [file.name for file in folder.iterdir()] == ["draws.parquet"]


def test_a_folder_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="choose another one: --output DIR"):
        make_folder(tmp_path / "file" / "below")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_permission_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(StoreError, match="permission denied"):
        make_folder(tmp_path)
    tmp_path.chmod(0o700)


def test_a_held_folder_is_refused_to_others_until_its_holder_is_gone(tmp_path: Path) -> None:
    pytest.importorskip("fcntl")
    hold = (
        "import sys, time; from pathlib import Path; from everychip.study.files import held\n"
        "with held(Path(sys.argv[1])):\n    print('held', flush=True); time.sleep(60)"
    )
    command = [sys.executable, "-c", hold, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(StoreError, match="another process"), held(tmp_path):
            pass
        holder.kill()
    with held(tmp_path):
        assert not list(tmp_path.iterdir())
