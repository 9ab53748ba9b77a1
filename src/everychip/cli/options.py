"""Arguments and options that several commands share, or that would hide what a command says."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Recipe = Annotated[
    str, typer.Argument(help="A TOML file, or the name of a shipped recipe.", show_default=False)
]
Folder = Annotated[Path, typer.Argument(help="The folder of a run or a study.", show_default=False)]
Settings = Annotated[
    list[str],
    typer.Option(
        "--set", metavar="KEY=VALUE", help="Change the recipe, as in --set training.epochs=3; repeatable."
    ),
]
Output = Annotated[
    Path | None, typer.Option("--output", "-o", metavar="DIR", help="The folder of the results.")
]
Workers = Annotated[int, typer.Option(min=1, help="How many runs at a time, each in a process of its own.")]
Sharing = Annotated[
    int, typer.Option("--workers", min=1, help="How many processes measure blocks of the chips side by side.")
]
On = Annotated[
    str, typer.Option("--on", help="Where runs are computed: processes, ray, slurm, or a TOML table.")
]
AsJson = Annotated[bool, typer.Option("--json", help="JSON on standard output, for programs.")]
JsonFile = Annotated[
    Path | None, typer.Option("--output", "-o", metavar="FILE", help="Write the JSON into a file, too.")
]


Network = Annotated[
    str,
    typer.Argument(
        metavar="MODEL",
        help="A recipe, the folder of a run, a kind of model (vgg8), or package.module:function.",
        show_default=False,
    ),
]
