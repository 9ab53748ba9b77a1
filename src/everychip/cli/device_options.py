"""The options of `everychip device fit`: what the file holds, and how it is fitted."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

_FILE, _FIT = "The file", "The fit"

Measured = Annotated[
    Path,
    typer.Argument(
        metavar="MEASURED.CSV",
        help="Columns target and measured; where there are such, time (s), die, device, cycle.",
        show_default=False,
    ),
]
Unit = Annotated[
    str,
    typer.Option(
        metavar="UNIT",
        rich_help_panel=_FILE,
        help="The unit of target and measured: S, mS, uS, nS; Ohm, kOhm, MOhm; uA, nA with --read-voltage.",
    ),
]
MeasuredUnit = Annotated[
    str | None,
    typer.Option(
        "--measured-unit", metavar="UNIT", rich_help_panel=_FILE, help="That of measured, if it is another."
    ),
]
ReadVoltage = Annotated[
    float | None,
    typer.Option("--read-voltage", metavar="V", rich_help_panel=_FILE, help="G = I/V of currents, in volts."),
]
GMax = Annotated[
    float | None,
    typer.Option(
        "--g-max",
        metavar="G",
        rich_help_panel=_FILE,
        help="G_max in that unit (else µS); absent, the largest.",
    ),
]
Column = Annotated[
    list[str] | None,
    typer.Option(
        "--column",
        metavar="NAME=OWN",
        rich_help_panel=_FILE,
        help="The file's own name of a column: --column measured=I_nA. May be repeated.",
    ),
]
Decimal = Annotated[
    str | None,
    typer.Option(
        "--decimal", metavar="MARK", rich_help_panel=_FILE, help='The decimal mark, "," or ".", if in doubt.'
    ),
]
SkipInvalid = Annotated[
    bool,
    typer.Option(
        "--skip-invalid", rich_help_panel=_FILE, help="Leave out and count rows with OVERFLOW or empty cells."
    ),
]
Smooth = Annotated[
    bool,
    typer.Option(
        "--smooth",
        rich_help_panel=_FIT,
        help="Polynomials of σ(g) and bias(g), their degree chosen on left-out levels.",
    ),
]
Bins = Annotated[
    int | None,
    typer.Option(
        min=2, metavar="N", rich_help_panel=_FIT, help="Levels are N bins of equal width, not the targets."
    ),
]
SameOrder = Annotated[
    bool,
    typer.Option(
        "--same-order",
        rich_help_panel=_FIT,
        help="Without a column device: row n of each cycle is the same device.",
    ),
]
SplitStuck = Annotated[
    bool,
    typer.Option(
        "--split-stuck", rich_help_panel=_FIT, help="Cells that look stuck become stuck_at, not part of σ."
    ),
]
