"""`everychip leaderboard`: entries checked, and the page of those that may enter."""

from __future__ import annotations

from pathlib import Path

from everychip.cli.watching import console

SITE = Path("site")


def leaderboard(folder: Path, output: Path | None, *, check: bool) -> int:
    """Check a folder of entries, name what is refused, write the page of the others."""
    from everychip.leaderboard.page import check_folder, write_site

    checked = check_folder(folder)
    for path, reason in checked.refused:
        console(stderr=True).print(f"refused: {path}: {reason}", soft_wrap=True, highlight=False)
    out = console()
    entries = f"{len(checked.rows)} of {len({path for path, _ in checked.refused}) + len(checked.rows)}"
    out.print(f"{entries} entries may enter.", highlight=False)
    if not check:
        page = write_site(checked, output or SITE)
        out.print(f"Page: {page}", soft_wrap=True, highlight=False)
    return 1 if checked.refused else 0
