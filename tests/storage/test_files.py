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
from everychip.statistics.verdict import Verdict, verdict
from everychip.storage.files import (
    digest,
    locked,
    make_folder,
    read_json,
    write_json,
    write_record,
    write_text,
    write_whole,
)


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


def test_drafts_of_killed_writers_are_removed_by_who_holds_the_folder(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "b"
    make_folder(folder)
    with subprocess.Popen([sys.executable, "-c", ""]) as ended:
        pass
    for writer in (ended.pid, os.getpid(), 10**30, "x"):
        (folder / f".draws.parquet.{writer}.part").write_text("half")
    (folder / "draws.parquet").write_text("whole")
    with locked(folder):
        assert [file.name for file in folder.iterdir()] == ["draws.parquet"]


def test_who_takes_a_folder_leaves_what_another_process_writes_into_it_just_now(tmp_path: Path) -> None:
    """A report, a shard's recipe and a refused process's probe are written without holding the folder."""
    pytest.importorskip("fcntl")
    draft = tmp_path / f".report.html.{os.getppid()}.part"
    draft.write_text("half")
    with locked(tmp_path):
        assert draft.exists()


def test_a_probe_that_another_process_cleaned_up_is_no_mistake(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    touched = Path.touch

    def taken(path: Path) -> None:
        touched(path)
        with locked(tmp_path):
            path.unlink(missing_ok=True)

    monkeypatch.setattr(Path, "touch", taken)
    make_folder(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_process_that_is_refused_leaves_the_draft_of_the_one_that_holds_the_folder(tmp_path: Path) -> None:
    pytest.importorskip("fcntl")

    def write(draft: Path) -> None:
        draft.write_text("the first process")
        make_folder(tmp_path)
        with pytest.raises(StoreError, match="another process"), locked(tmp_path):
            pass

    with locked(tmp_path):
        write_whole(tmp_path / "draws.parquet", write)
    assert (tmp_path / "draws.parquet").read_text() == "the first process"


@pytest.mark.parametrize("place", ["begin", "middle", "end"])
def test_a_sealed_record_with_any_flipped_digit_is_refused(tmp_path: Path, place: str) -> None:
    path = tmp_path / "a.json"
    write_record(
        path, {"format": "f/1", "loss": 0.125, "rows": [1, None], "tuple": (2, 3), "nan": float("nan")}
    )
    whole = path.read_text()
    assert read_json(path, form="f/1", sealed=True)["rows"] == [1, None]
    old, new = {"begin": ("0.125", "0.126"), "middle": ("1,", "7,"), "end": ('"seal": "', '"seal": "0')}[
        place
    ]
    path.write_text(whole.replace(old, new, 1))
    with pytest.raises(StoreError, match="differs from its own SHA-256"):
        read_json(path, form="f/1")


def test_a_record_of_an_earlier_version_has_no_seal_and_is_read_where_none_is_needed(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"format": "f/1"})
    assert read_json(tmp_path / "a.json", form="f/1") == {"format": "f/1"}
    with pytest.raises(StoreError, match="SHA-256"):
        read_json(tmp_path / "a.json", form="f/1", sealed=True)


@pytest.mark.parametrize("text", ["[" * 100_000, '{"format": "f/1", "n": ' + "9" * 5000 + "}"])
def test_json_too_deep_or_too_long_to_read_is_refused_in_one_line(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(StoreError, match="text that is not JSON"):
        read_json(tmp_path / "a.json", form="f/1")


def test_a_link_is_written_through_and_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real" / "target.json")
    for content in ("first", "second"):
        write_text(tmp_path / "link", content)
        assert (tmp_path / "link").is_symlink()
        assert (tmp_path / "real" / "target.json").read_text() == content


def test_a_pipe_and_a_device_are_written_into_and_not_replaced(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    write_text(tmp_path / "pipe", "through")
    assert os.read(reader, 100) == b"through"
    os.close(reader)
    assert (tmp_path / "pipe").is_fifo()
    write_text(Path(os.devnull), "nothing")
    assert Path(os.devnull).is_char_device()


def test_content_is_on_the_disk_before_its_name_and_the_name_before_the_write_returns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []
    fsync, replace = os.fsync, os.replace

    def synced(handle: int) -> None:
        seen.append("folder" if Path(f"/proc/self/fd/{handle}").is_dir() else "file")
        fsync(handle)

    def renamed(source: Path, target: Path) -> None:
        seen.append("name")
        replace(source, target)

    monkeypatch.setattr("os.fsync", synced)
    monkeypatch.setattr("os.replace", renamed)
    write_text(tmp_path / "a", "all of it")
    assert seen == ["file", "name", "folder"]


def test_every_file_has_the_permissions_of_a_new_one(tmp_path: Path) -> None:
    (tmp_path / "new").touch()
    write_whole(tmp_path / "a", lambda draft: draft.touch(mode=0o600))
    assert (tmp_path / "a").stat().st_mode == (tmp_path / "new").stat().st_mode


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
        "import sys, time; from pathlib import Path; from everychip.storage.files import locked\n"
        "with locked(Path(sys.argv[1])):\n    print('held', flush=True); time.sleep(60)"
    )
    command = [sys.executable, "-c", hold, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(StoreError, match="another process"), locked(tmp_path):
            pass
        holder.kill()
    with locked(tmp_path):
        assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("kind", ["pipe", "folder"])
def test_what_is_no_file_is_refused_and_never_waited_for(tmp_path: Path, kind: str) -> None:
    place = tmp_path / "record.json"
    os.mkfifo(place) if kind == "pipe" else place.mkdir()
    with pytest.raises(StoreError, match="found a folder, a device or a pipe; expected a file"):
        read_json(place, form="form/1")


def test_a_damaged_file_says_what_to_do_about_that_file(tmp_path: Path) -> None:
    saved = tmp_path / "verdict.json"
    verdict([0.9, 0.8, 0.7]).save(saved)
    saved.write_text(saved.read_text(encoding="utf-8").replace("0.9", "0.8"), encoding="utf-8")
    with pytest.raises(StoreError, match="save the verdict again"):
        Verdict.load(saved)
    write_record(saved, {"format": "form/1"})
    saved.write_text("{", encoding="utf-8")
    with pytest.raises(StoreError, match="delete the folder and run the recipe again"):
        read_json(saved, form="form/1")
