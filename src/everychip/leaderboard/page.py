"""The leaderboard as one static page: tables by task, filtered in the browser, each cell beside its proof."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from everychip.errors import ConfigError, EverychipError, StoreError
from everychip.leaderboard.entry import Entry, read_entry
from everychip.leaderboard.task import LeaderboardTask
from everychip.storage.files import digest, make_folder, write_text, write_whole

PAGE, PROOFS = "index.html", "entries"


@dataclass(frozen=True)
class Row:
    """An entry in the table: its numbers as words, and the file that proves them."""

    entry: Entry
    proof: str

    @property
    def task(self) -> LeaderboardTask:
        """What it was measured on."""
        return LeaderboardTask.of(self.entry.task)

    @property
    def host(self) -> str:
        """Where the entry's page is, so that nobody follows a link to another place than they think."""
        return urlsplit(self.entry.link).hostname or ""

    @property
    def cells(self) -> dict[str, tuple[str, str]]:
        """What the table shows, by column: a number, and its interval where it has one."""
        verdict = self.entry.verdict
        mean, kpp = verdict.mean, verdict.kpp
        digits = mean.digits
        return {
            "mean": (f"{100 * mean.estimate:.{digits}f}", mean.bounds(digits=digits)),
            "worst": ("–" if verdict.worst is None else f"{100 * verdict.worst:.1f}", ""),
            "KPP5": ("–" if kpp is None else f"{100 * kpp.estimate:.1f}", ""),
            "digital": (f"{100 * self.entry.digital:.1f}", ""),
            "claimed": ("–" if self.entry.claimed is None else f"{100 * self.entry.claimed:.1f}", ""),
            "seeds": (str(len(self.entry.trainings)), ""),
        }


@dataclass(frozen=True)
class Checked:
    """A folder of entries: those that may enter, and why the others may not."""

    rows: tuple[Row, ...]
    refused: tuple[tuple[Path, str], ...]
    files: tuple[Path, ...]


def check_folder(folder: str | Path) -> Checked:
    """Read every entry of a folder and ask whether it may enter.

    Args:
        folder: with one JSON file for each entry.

    Returns:
        Rows with the file of their proof, and each refusal with its file.
    """
    place = Path(folder)
    files = sorted(path for path in place.glob("*") if path.suffix.lower() == ".json")
    if not files:
        raise StoreError(str(folder), found="no entry", expected="a folder with one JSON file for each entry")
    entries: dict[Path, Entry] = {}
    reasons: dict[Path, Sequence[str]] = {}
    for path in files:
        try:
            entries[path] = read_entry(path)
            reasons[path] = entries[path].refusals()
        except EverychipError as error:
            reasons[path] = _lines(error, path)
    reasons |= _again({path: entry for path, entry in entries.items() if not reasons[path]})
    good = [path for path in files if not reasons[path]]
    # Named after its content: nobody's file name becomes a path of the site.
    rows = tuple(Row(entries[path], f"{PROOFS}/{digest(path)[:16]}.json") for path in good)
    return Checked(rows, tuple((path, line) for path in files for line in reasons[path]), tuple(good))


def _lines(error: EverychipError, path: Path) -> list[str]:
    """What is wrong with a file, without its name, a line for each mistake."""
    every = (error, *error.others) if isinstance(error, ConfigError) else (error,)
    lines = []
    for one in every:
        within = one.where.removeprefix(str(path)).lstrip(".")
        said = "; ".join(filter(None, (one.found, one.expected and f"expected {one.expected}")))
        lines.append(f"{within}: found {said}" if within else f"found {said}")
    return lines


def _again(entries: Mapping[Path, Entry]) -> dict[Path, list[str]]:
    """Which entries of a task have networks that another one has, too: what is copied says not who did."""
    owners: dict[tuple[str, str], list[Path]] = {}
    for path, entry in entries.items():
        for weights in dict.fromkeys(training.weights for training in entry.trainings):
            owners.setdefault((entry.task, weights), []).append(path)
    found: dict[Path, list[str]] = {}
    for paths in dict.fromkeys(tuple(paths) for paths in owners.values() if len(paths) > 1):
        for path in paths:
            others = ", ".join(other.name for other in paths if other != path)
            found.setdefault(path, []).append(
                f"trainings: found weights that stand in {others}, too; expected each network in one entry"
            )
    return found


def write_site(checked: Checked, folder: str | Path) -> Path:
    """Write the page and the proofs that its cells lead to.

    Args:
        checked: the entries.
        folder: of the site; files of an older one are replaced.

    Returns:
        The page.
    """
    site = Path(folder)
    make_folder(site / PROOFS)
    for row, source in zip(checked.rows, checked.files, strict=True):
        content = source.read_bytes()
        write_whole(site / row.proof, lambda draft, content=content: draft.write_bytes(content) and None)  # type: ignore[misc]
    write_text(site / PAGE, page(checked.rows))
    return site / PAGE


def page(rows: Sequence[Row]) -> str:
    """The page as HTML: one table for each task, the best mean first, unreliable entries last."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("everychip.leaderboard", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    tasks: dict[str, list[Row]] = {}
    for row in sorted(rows, key=_order):
        tasks.setdefault(row.entry.task, []).append(row)
    tables: list[dict[str, Any]] = [
        {"task": LeaderboardTask.of(name), "rows": found} for name, found in sorted(tasks.items())
    ]
    return environment.get_template("leaderboard.html.j2").render(tables=tables)


def _order(row: Row) -> tuple[bool, float, str]:
    return bool(row.entry.unreliable), -row.entry.verdict.mean.estimate, row.entry.method
