"""The commands of everychip. Whatever is heavy is imported where it is used: `--help` answers at once."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from everychip.cli import device_options as options
from everychip.cli import sharing
from everychip.cli.options import (
    AsJson,
    Folder,
    JsonFile,
    Network,
    On,
    Output,
    Recipe,
    Settings,
    Sharing,
    Workers,
)

Function = TypeVar("Function", bound=Callable[..., Any])


class Commands(typer.Typer):
    """Commands whose help wraps to the terminal, without the line breaks of the source."""

    def command(self, *args: Any, **options: Any) -> Callable[[Function], Function]:
        """As typer has it."""

        def decorate(function: Function) -> Function:
            parts = inspect.cleandoc(function.__doc__ or "").split("\n\n")
            words = "\n\n".join(" ".join(part.split()) for part in parts)
            register: Callable[[Function], Function] = super(Commands, self).command(
                *args, help=words, **options
            )
            return register(function)

        return decorate


app = Commands(
    name="everychip",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(asked: bool) -> None:
    if asked:
        from everychip import __version__

        typer.echo(f"everychip {__version__}")
        raise typer.Exit


@app.callback()
def everychip(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """One network, every chip: train a PyTorch model so that it works on every compute-in-memory chip it is
    programmed into, and prove it.
    """


@app.command(epilog="Example: everychip demo -o demo")
def demo(
    settings: Settings = [],  # noqa: B006
    output: Output = None,
    workers: Workers = 2,
    as_json: AsJson = False,
) -> None:
    """Train on digits in seven ways, program chips, compare.

    No download; under two minutes on two cores. Prints the verdicts, writes report.html, and says in three
    sentences what came of it.
    """
    from everychip.cli import commands

    raise typer.Exit(commands.demo(settings, output, workers, as_json=as_json))


@app.command(epilog="Example: everychip run digits --set training.epochs=3 -o my-run")
def run(
    recipe: Recipe,
    settings: Settings = [],  # noqa: B006
    output: Output = None,
    workers: Sharing = 1,
    on: On = "processes",
    as_json: AsJson = False,
) -> None:
    """Execute one recipe: train, program chips, measure them.

    The same recipe is never executed twice; an interrupted one goes on where it was.
    """
    from everychip.cli import commands

    raise typer.Exit(commands.run(recipe, settings, output, commands.Spread(workers, on), as_json=as_json))


@app.command(epilog="Example: everychip study demo --plan")
def study(
    recipe: Recipe,
    settings: Settings = [],  # noqa: B006
    output: Output = None,
    workers: Workers = 1,
    plan: Annotated[bool, typer.Option("--plan", help="Only list the runs, and which are complete.")] = False,
    on: On = "processes",
    shard: Annotated[str, typer.Option("--shard", help="Only this share of the runs, such as 2/8.")] = "",
    as_json: AsJson = False,
) -> None:
    """Execute a grid of recipes, resumably.

    Complete runs are not repeated. A run that fails is named, and the others go on (exit code 1).
    """
    from everychip.cli import commands

    spread = commands.Spread(workers, on, shard)
    raise typer.Exit(commands.study(recipe, settings, output, spread, plan=plan, as_json=as_json))


@app.command(epilog="Example: everychip report demo --target 0.9 --figures figures")
def report(
    folder: Folder,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="The page; FOLDER/report.html if absent."),
    ] = None,
    target: Annotated[float | None, typer.Option(help="Report the yield at this accuracy, 0 … 1.")] = None,
    markdown: Annotated[bool, typer.Option("--markdown", help="Only print the tables, as Markdown.")] = False,
    charts: Annotated[
        Path | None,
        typer.Option(
            "--figures", "--charts", metavar="DIR", help="Write the charts there, too, as SVG and PDF files."
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Tell a run or a study: tables here, charts in report.html.

    A study that still runs may be reported, too.
    """
    from everychip.cli import commands

    if markdown:
        raise typer.Exit(commands.markdown(folder, target))
    raise typer.Exit(commands.report(folder, output, target, charts, as_json=as_json))


@app.command(epilog="Example: everychip check vgg8 --set hardware.device.sigma=0.2")
def check(
    model: Network,
    settings: Settings = [],  # noqa: B006
    as_json: AsJson = False,
    output: JsonFile = None,
) -> None:
    """What of a model is on the crossbar, at which effective noise.

    Says for every parameter why it is not. The hardware is the recipe's; for a bare model, a uniform
    device of σ 0.1 and digits as data, which --set changes.
    """
    from everychip.cli import checking

    raise typer.Exit(checking.check(model, settings, as_json=as_json, output=output))


_evaluate = app.command(epilog="Example: everychip evaluate digits-lenet-gaussian-0.3 --json")(
    sharing.evaluate
)
_leaderboard = app.command(epilog="Example: everychip leaderboard entries -o site")(sharing.leaderboard)


@app.command(epilog="Example: everychip devices Hermes-2")
def devices(
    kind: Annotated[
        str | None, typer.Argument(help="A device or preset to explain.", show_default=False)
    ] = None,
    as_json: AsJson = False,
) -> None:
    """The devices and presets, their sources and effective noise."""
    from everychip.cli import catalogue

    raise typer.Exit(catalogue.devices(kind, as_json=as_json))


@app.command(epilog="Example: everychip cost vgg8 --json")
def cost(
    model: Network,
    settings: Settings = [],  # noqa: B006
    components: Annotated[
        Path | None,
        typer.Option(metavar="FILE.toml", help="Components of your own; ISAAC's if absent."),
    ] = None,
    as_json: AsJson = False,
    output: JsonFile = None,
) -> None:
    """Estimate what a model takes in silicon.

    Counts cells, tiles, ADC conversions, write pulses, and what exits add to training; estimates energy, time
    and area from a table of components, and compares with the design that they come from.
    """
    from everychip.cli import costing

    raise typer.Exit(costing.cost(model, settings, components, as_json=as_json, output=output))


def _group(name: str, words: str) -> typer.Typer:
    """A command that has commands of its own."""
    group = Commands(no_args_is_help=True, context_settings={"help_option_names": ["-h", "--help"]})
    app.add_typer(group, name=name, help=words)
    return group


device = _group("device", "Devices of your own, from measurements.")


@device.command("fit", epilog="Example: everychip device fit cells.csv --unit uS --smooth -o my-cells.toml")
def device_fit(
    measured: options.Measured,
    unit: options.Unit,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE.toml", help="The device; named as the CSV if absent."),
    ] = None,
    measured_unit: options.MeasuredUnit = None,
    read_voltage: options.ReadVoltage = None,
    g_max: options.GMax = None,
    column: options.Column = None,
    decimal: options.Decimal = None,
    skip_invalid: options.SkipInvalid = False,
    smooth: options.Smooth = False,
    bins: options.Bins = None,
    same_order: options.SameOrder = False,
    split_stuck: options.SplitStuck = False,
    as_json: AsJson = False,
) -> None:
    """Fit a device to measured conductances, resistances or currents, for any recipe.

    Says how good the fit is; writes the device as TOML, and a plot with residuals beside it. In a
    recipe, hardware = { device = { file = "FILE.toml" }, mapping = "direct" } reads it.
    """
    from everychip.cli import measuring

    asked = measuring.Asked(
        unit=unit,
        measured_unit=measured_unit,
        read_voltage=read_voltage,
        g_max=g_max,
        column=tuple(column or ()),
        decimal=decimal,
        skip_invalid=skip_invalid,
        smooth=smooth,
        bins=bins,
        same_order=same_order,
        split_stuck=split_stuck,
    )
    raise typer.Exit(measuring.fit(measured, asked, output, as_json=as_json))


@app.command(epilog="Example: everychip export my-run --to onnx -o my-network")
def export(
    run: Annotated[Path, typer.Argument(help="The folder of a complete run.", show_default=False)],
    to: Annotated[str, typer.Option(metavar="FORM", help="Whose model: aihwkit, or onnx.")],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="DIR", help="A new folder; RUN-FORM here if absent."),
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Compare logits without noise, accuracy with it (exit code 1).")
    ] = False,
    chips: Annotated[int, typer.Option(min=2, help="How many chips each simulator programs.")] = 100,
    as_json: AsJson = False,
) -> None:
    """Write a run's network for another simulator or as ONNX.

    aihwkit: weights, recipe and a script that loads them; with --check and no -o, only compares. onnx: the
    clean network, and how far off each matrix will be on its cells.
    """
    from everychip.cli import exporting

    raise typer.Exit(exporting.export(run, to, output, check=check, chips=chips, as_json=as_json))


@app.command(epilog="Example: everychip mappings offset")
def mappings(
    kind: Annotated[
        str | None, typer.Argument(help="A mapping or sign to explain, such as offset.", show_default=False)
    ] = None,
    as_json: AsJson = False,
) -> None:
    """The mappings of weights onto cells, and how cells hold a sign."""
    from everychip.cli import catalogue

    raise typer.Exit(catalogue.mappings(kind, as_json=as_json))


@app.command(epilog="Example: everychip methods irs")
def methods(
    kind: Annotated[
        str | None, typer.Argument(help="A method to explain, such as irs.", show_default=False)
    ] = None,
    as_json: AsJson = False,
) -> None:
    """The training methods, with their sources and costs."""
    from everychip.cli import catalogue

    raise typer.Exit(catalogue.methods(kind, as_json=as_json))


@app.command(epilog="Example: everychip schema > recipe.schema.json")
def schema(as_json: AsJson = False) -> None:
    """Print the JSON schema of recipes, for editors.

    Of runs and of studies, with the kinds of installed plug-ins. everychip schema > recipe.schema.json
    writes it; a recipe whose first line is #:schema ./recipe.schema.json has it.
    """
    from everychip.cli import catalogue

    del as_json  # there is no other form
    raise typer.Exit(catalogue.schema())


@app.command(epilog="Example: everychip sensitivity my-run --drop 2")
def sensitivity(
    run: Annotated[
        str,
        typer.Argument(
            metavar="RUN",
            help="The folder of a run; or a recipe, which is executed first.",
            show_default=False,
        ),
    ],
    settings: Settings = [],  # noqa: B006
    chips: Annotated[int, typer.Option(min=2, help="How many chips are programmed for each layer.")] = 20,
    all_but: Annotated[
        bool, typer.Option("--all-but", help="Ask what comes back where one layer alone has no noise.")
    ] = False,
    target: Annotated[
        float | None, typer.Option(help="Find the σ at which the mean accuracy crosses this, 0 … 1.")
    ] = None,
    drop: Annotated[
        str | None,
        typer.Option(metavar="POINTS", help="Or so much below the one without noise; 1 point if absent."),
    ] = None,
    output: Output = None,
    as_json: AsJson = False,
) -> None:
    """Which layers of a trained model the noise hurts.

    Programs the same chips with the noise of one layer at a time; says which layers deserve write-verify or
    digital execution, and up to which σ the accuracy holds. Writes sensitivity.json and a chart into the
    folder of the run, whose report then shows them. Of a run, --set changes hardware and evaluation only.
    """
    from everychip.cli import asking
    from everychip.study.sensitivity import Question

    question = Question(
        chips=chips,
        mode="all_but" if all_but else "only",
        target=target,
        drop=drop,
        settings=tuple(settings),
    )
    raise typer.Exit(asking.sensitivity(run, question, output, as_json=as_json))


@app.command(epilog='Example: everychip sql demo "select method, avg(accuracy) from draws group by all"')
def sql(
    folder: Folder,
    query: Annotated[
        str, typer.Argument(help="SQL about the table draws; all columns if absent.", show_default=False)
    ] = "DESCRIBE draws",
    csv: Annotated[bool, typer.Option("--csv", help="Comma-separated values, for programs.")] = False,
    as_json: AsJson = False,
) -> None:
    """Ask the draws of a run or a study with SQL (DuckDB)."""
    from everychip.cli import commands

    raise typer.Exit(commands.sql(folder, query, csv=csv, as_json=as_json))


@app.command(epilog="Example: everychip version --json")
def version(as_json: AsJson = False) -> None:
    """The versions of everychip, PyTorch and Python."""
    from everychip.cli import catalogue

    raise typer.Exit(catalogue.version(as_json=as_json))
