"""The commands around networks that are there: prove one as it is, make the page of a leaderboard."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from everychip.cli.options import AsJson, On, Output, Settings, Sharing


def evaluate(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL",
            help="A name of the zoo, the folder of a run, WEIGHTS.safetensors, package.module:function, or a "
            "recipe with a start.",
            show_default=False,
        ),
    ],
    data: Annotated[
        str, typer.Option(metavar="DATA", help="What it is measured on: a kind or a TOML table.")
    ] = "",
    hardware: Annotated[
        str, typer.Option(metavar="TABLE", help="Such as 'device={kind=\"gaussian\", sigma=0.1}'.")
    ] = "",
    settings: Settings = [],  # noqa: B006
    output: Output = None,
    workers: Sharing = 1,
    on: On = "processes",
    as_json: AsJson = False,
) -> None:
    """Prove a network as it is, on chips, without training.

    Prints the table with the digital score beside it and writes report.html. What comes with a recipe (zoo,
    run) needs neither data nor hardware; --set changes both.
    """
    from everychip.cli import evaluating
    from everychip.cli.commands import Spread

    table = hardware if hardware.lstrip().startswith("{") else f"{{{hardware}}}"
    asked = [f"data={data}"] * bool(data) + [f"hardware={table}"] * bool(hardware)
    spread = Spread(workers, on)
    raise typer.Exit(evaluating.evaluate(model, [*asked, *settings], output, spread, as_json=as_json))


def leaderboard(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="Entries: one JSON file each.", show_default=False)
    ],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="SITE", help="The folder of the page.")
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Only say of each entry whether it may enter (exit code 1).")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Check entries; make the page of a leaderboard.

    A static page without requests: tables by task, filtered in the browser, every cell linked to its proof.
    An entry that breaks a rule is named with the reason and left out (exit code 1).
    """
    from everychip.cli import ranking

    raise typer.Exit(ranking.leaderboard(folder, output, check=check, as_json=as_json))
