"""Write docs/reference from the code (commands, recipes, methods, devices), and the JSON schema of recipes.

    python tools/docs/make_reference.py [--check]

With `--check` nothing is written, and what has drifted is named.
"""

from __future__ import annotations

import inspect
import sys
import types
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

import typer
from pydantic.fields import FieldInfo

from everychip.array import Array
from everychip.cli.app import app
from everychip.config.component import Component, Config
from everychip.data import Augment, Data
from everychip.devices import Device, presets
from everychip.hardware.hardware import Hardware
from everychip.mapping import CellMapping, Sign
from everychip.methods import Method
from everychip.methods.constraints import Constraint
from everychip.mitigate import Mitigation
from everychip.models import Model
from everychip.study import recipes
from everychip.study.compute import Compute
from everychip.study.experiment import Evaluation, Experiment
from everychip.study.recipe_schema import FILE, as_text, recipe_schema
from everychip.study.start import Start
from everychip.tasks import Task
from everychip.training.config import Training

ROOT = Path(__file__).resolve().parents[2]
REFERENCE = ROOT / "docs" / "reference"
MADE = "<!-- Made by `make docs` from the code; change the docstrings, not this page. -->"
LIMITS = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<"}


def pages() -> dict[str, str]:
    """The text of every page by its file name."""
    return {
        "cli.md": page("Commands", COMMANDS, commands()),
        "recipe.md": page("Recipes", RECIPES, recipe()),
        "methods.md": page("Methods", METHODS, methods()),
        "devices.md": page("Devices and mappings", DEVICES, devices()),
    }


COMMANDS = """\
A recipe and its settings say everything; there is no flag per field: `--set a.b=c` changes any key of it.
A mistake is one line on standard error and exit code 2. An interruption (Ctrl-C) is exit code 130; the same
command goes on from there.

Every command takes `--json` and then prints JSON and nothing else on standard output. Tables fit the width
of the terminal (`COLUMNS`; 80 in a pipe): labels wrap, and where numbers would be cut rows become blocks.
`NO_COLOR` turns colours off; a stream that lacks a letter has it spelt out. Completion by Tab:
`everychip --install-completion`, then a new shell."""

RECIPES = """\
A recipe is a TOML file with one table for each question. A component is a table with a `kind`, or the bare
name of the kind. The command line changes any key: `everychip run digits --set training.epochs=3`.
[How to write one](../how-to/my-recipe.md)."""

METHODS = """\
A method is a training objective from one paper. Give it to `everychip.fit`, bind it into your own loop
([how](../how-to/my-training-loop.md)), or name it in a recipe: `method = { kind = "irs", beta = 0.1 }`."""

CONSTRAINTS = """\
## Constraints

What the weights are brought back to after each step: `constraint = { kind = "clip", alpha = 1.5 }`."""

MITIGATIONS = """\
## Mitigations

What is done after training to every programmed chip before it is used. A table keeps the mitigations that
measure or write each chip again (per chip) apart from what needs no look at the chip (population)."""

DEVICES = """\
A device is the physics of one memory cell, a mapping says how weights become conductances. σ is a number of
the device; [what it means](../explanation/what-sigma-means.md) for a weight depends on the mapping.
[The devices family by family](../explanation/devices/README.md) have plots of their laws."""

PRESETS = """\
## Presets

`device = { preset = "FeFET6", sigma = 0.1 }`, or `everychip.devices.preset("FeFET6", sigma=0.1)`."""

MAPPINGS = """\
## Mappings

`mapping = { kind = "bit_sliced", quantize = true }`; [how they compose](../explanation/mappings.md)."""

SIGNS = """\
## Signs

A field of every mapping: `sign = "differential"` or `sign = { kind = "offset", noisy_reference = false }`."""

ELSEWHERE = """\
`[method]` has [a page of its own](methods.md), and so have `[hardware.device]` and `[hardware.mapping]`:
[devices and mappings](devices.md)."""


def page(title: str, introduction: str, parts: Iterable[str]) -> str:
    """A page with its title, its notice and its parts."""
    return "\n\n".join([f"# {title}", MADE, introduction, *parts]) + "\n"


def commands() -> Iterator[str]:
    """One section for each command: what it does, its arguments, its options."""
    group: Any = typer.main.get_command(app)
    for name, command in every_command(group):
        arguments = [p for p in command.params if p.param_type_name == "argument"]
        words = [argument_name(p) if p.required else f"[{argument_name(p)}]" for p in arguments]
        yield f"## everychip {name}"
        yield f"```text\n{' '.join(['everychip', name, *words, '[OPTIONS]'])}\n```"
        yield inspect.cleandoc(command.help or "")
        if command.epilog:
            yield f"```text\n{command.epilog.removeprefix('Example: ')}\n```"
        rows = [(f"`{argument_name(p)}`", p.help or "") for p in command.params if p.name != "help"]
        if rows:
            yield table(("", ""), rows)


def every_command(group: Any) -> Iterator[tuple[str, Any]]:
    """The commands of a group and of the groups in it, by the words that call them."""
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from ((f"{name} {inner}", found) for inner, found in every_command(command))
        else:
            yield name, command


def argument_name(parameter: Any) -> str:
    """MODEL, or --output, -o DIR."""
    value = str(parameter.metavar or parameter.name.upper())
    if parameter.param_type_name == "argument":
        return value
    return ", ".join(parameter.opts) + ("" if parameter.is_flag else f" {value}")


def recipe() -> Iterator[str]:
    """The tables of a recipe, then the families it chooses from, then the shipped recipes."""
    yield "## The recipe"
    yield from described(Experiment)
    for title, config in (
        ("[hardware]", Hardware),
        ("[hardware.array]", Array),
        ("[start]", Start),
        ("[training]", Training),
        ("[evaluation]", Evaluation),
        ("[compute]", Compute),
    ):
        yield f"## {title}"
        yield from described(config)
    for title, family in (
        ("[task]", Task),
        ("[data]", Data),
        ("[model]", Model),
        ("[training.augment]", Augment),
    ):
        yield f"## {title}"
        for kind, component in own_kinds(family):
            yield f"### {kind}"
            yield from described(component)
    yield ELSEWHERE
    yield "## Shipped recipes"
    yield "\n".join(f"- `{name}`: {title_of(path)}" for name, path in recipes.shipped().items())


def title_of(path: Path) -> str:
    """The title that a recipe gives itself."""
    import tomllib

    return str(tomllib.loads(path.read_text(encoding="utf-8")).get("title", ""))


def methods() -> Iterator[str]:
    """What every method has, then one section for each kind, then the constraints."""
    yield "## What every method has"
    yield from described(Method)
    for kind, component in own_kinds(Method):
        yield f"## {kind}"
        yield from described(component, beyond=Method)
    yield CONSTRAINTS
    for kind, component in own_kinds(Constraint):
        yield f"### {kind}"
        yield from described(component)
    yield MITIGATIONS
    for kind, component in own_kinds(Mitigation):
        yield f"### {kind}"
        yield from described(component)


def devices() -> Iterator[str]:
    """One section for each device, the presets, one section for each mapping."""
    for kind, component in own_kinds(Device):
        yield f"## {kind}"
        yield from described(component, beyond=Device)
    yield PRESETS
    shipped = sorted(presets().items())
    yield table(
        ("preset", "kind", "range", "unit", "source"),
        [(f"`{n}`", f"`{d['kind']}`", d["range"], d["unit"], d["source"]) for n, d in shipped],
    )
    yield MAPPINGS
    yield from described(CellMapping)
    for kind, component in own_kinds(CellMapping):
        yield f"### {kind}"
        yield from described(component, beyond=CellMapping)
    yield SIGNS
    for kind, component in own_kinds(Sign):
        yield f"### {kind}"
        yield from described(component)


def own_kinds(family: type[Component]) -> Iterator[tuple[str, type[Component]]]:
    """The kinds that everychip itself brings."""
    for kind, component in family.kinds().items():
        if component.__module__.startswith("everychip."):
            yield kind, component


def described(config: type[Config], *, beyond: type[Config] | None = None) -> Iterator[str]:
    """The docstring of a value, its fields, its example; what `beyond` explains is left out."""
    text, _, example = (inspect.getdoc(config) or "").partition(">>>")
    yield text.strip()
    known = set() if beyond is None else set(unchanged(config, beyond))
    for parent in config.__mro__[1:]:
        inherited = {n for n in vars(parent).get("__annotations__", {}) if n in config.model_fields} - known
        if inherited and beyond is not None and not issubclass(beyond, parent):
            yield paragraph(parent)
    rows = [field_row(name, field) for name, field in config.model_fields.items() if name not in known]
    if rows:
        yield table(("key", "value", "default"), rows)
    if example:
        yield f"```pycon\n>>>{example.rstrip()}\n```"


def unchanged(config: type[Config], beyond: type[Config]) -> Iterator[str]:
    """The fields that a value has from `beyond` as they are there."""
    for name, field in beyond.model_fields.items():
        if config.model_fields[name].default == field.default:
            yield name


def paragraph(config: type[Any]) -> str:
    """The part of a docstring that explains fields: its last paragraph before the example."""
    return (inspect.getdoc(config) or "").partition(">>>")[0].strip().split("\n\n")[-1]


def field_row(name: str, field: FieldInfo) -> tuple[str, str, str]:
    """Name, type and default of a field, in words."""
    if field.is_required():
        default = "required"
    elif field.default is None:
        default = "absent"
    else:
        default = f"`{plain(field.get_default(call_default_factory=True))}`"
    return f"`{name}`", type_words(field.annotation, field.metadata), default


def plain(value: Any) -> str:
    """A default as TOML would have it."""
    if isinstance(value, Component):
        return value.kind
    if isinstance(value, Config):
        return "{}"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return f"[{', '.join(map(plain, value))}]"
    return f'"{value}"' if isinstance(value, str) else str(value)


def type_words(annotation: Any, metadata: Iterable[Any] = ()) -> str:
    """A type as a reader of TOML understands it."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    limits = list(bounds(metadata))
    if hasattr(annotation, "__metadata__"):
        return type_words(arguments[0], [*annotation.__metadata__, *metadata])
    if origin is Literal:
        return ", ".join(f'`"{value}"`' for value in arguments)
    if origin in (Union, types.UnionType):
        words = [type_words(part, metadata) for part in arguments if part is not type(None)]
        return " or ".join(words)
    if origin is tuple:
        return f"list of {type_words(arguments[0])}"
    if inspect.isclass(annotation) and issubclass(annotation, Component):
        return FAMILIES.get(annotation.family, f"a {annotation.family}")
    return " ".join([NAMES.get(annotation, "table"), ", ".join(limits)]).strip()


def bounds(metadata: Iterable[Any]) -> Iterator[str]:
    """`≥ 0`, `< 1`: what pydantic checks."""
    for item in metadata:
        if isinstance(item, FieldInfo):
            yield from bounds(item.metadata)
        yield from (f"{sign} {getattr(item, key):g}" for key, sign in LIMITS.items() if hasattr(item, key))


FAMILIES = {"data": "a data set", "augment": "an augmentation"}
NAMES = {float: "number", int: "whole number", str: "text", bool: "`true` or `false`"}


def table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    """A Markdown table."""
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for row in rows:
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |")
    return "\n".join(lines)


def main() -> int:
    """Write the pages, or with `--check` say which of them the code has left behind."""
    REFERENCE.mkdir(exist_ok=True)
    drifted = []
    made = {REFERENCE / name: text for name, text in pages().items()}
    made[ROOT / "src" / "everychip" / "recipes" / FILE] = as_text(recipe_schema(plugins=False))
    for path, text in made.items():
        if path.exists() and path.read_text(encoding="utf-8") == text:
            continue
        drifted.append(str(path.relative_to(ROOT)))
        if "--check" not in sys.argv:
            path.write_text(text, encoding="utf-8")
    if drifted and "--check" in sys.argv:
        print(f"{', '.join(drifted)} differ from the code; run `make docs`")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
