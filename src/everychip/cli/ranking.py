"""`everychip leaderboard`: entries checked, and the page of those that may enter."""

from __future__ import annotations

from pathlib import Path

from everychip.cli.printing import print_json
from everychip.cli.watching import console
from everychip.errors import visible

SITE = Path("site")


def leaderboard(folder: Path, output: Path | None, *, check: bool, as_json: bool) -> int:
    """Check a folder of entries, name what is refused, write the page of the others."""
    from everychip.leaderboard.page import check_folder, write_site

    checked = check_folder(folder)
    for path, reason in checked.refused:
        console(stderr=True).print(
            f"refused: {visible(str(path))}: {visible(reason)}", soft_wrap=True, highlight=False
        )
    page = None if check else write_site(checked, output or SITE)
    if as_json:
        refused = [{"file": str(path), "reason": reason} for path, reason in checked.refused]
        print_json({"entries": len(checked.rows), "refused": refused, "page": page and str(page)})
        return 1 if checked.refused else 0
    out = console()
    entries = f"{len(checked.rows)} of {len({path for path, _ in checked.refused}) + len(checked.rows)}"
    out.print(f"{entries} entries may enter.", highlight=False)
    if page is not None:
        out.print(f"Page: {page}", soft_wrap=True, highlight=False)
    return 1 if checked.refused else 0
