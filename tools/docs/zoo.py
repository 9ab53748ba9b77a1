"""The table of the zoo's entries, from what their entry.json says."""

from __future__ import annotations

from everychip.zoo import load, shipped


def table() -> str:
    """A row for each entry of the package."""
    rows = ["| entry | digital | mean of chips | worst chip | chips | size |", "|" + " --- |" * 6]
    for name, folder in shipped().items():
        entry = load(name)
        about, mean = entry.about, entry.verdict.mean
        size = sum(path.stat().st_size for path in folder.iterdir()) / 1e6
        numbers = (f"{100 * about.digital:.1f} %", f"{mean}", f"{100 * about.worst:.1f} %", str(about.chips))
        rows.append(f"| `{name}` | {' | '.join(numbers)} | {size:.1f} MB |")
    return "\n".join(rows)


if __name__ == "__main__":
    print(table())
