"""What there is: devices and methods, told from their own docstrings."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from everychip.cli.docstrings import About, about, as_toml, flowing
from everychip.cli.printing import print_json
from everychip.cli.watching import console
from everychip.config.component import Component
from everychip.config.registering import broken_plugins
from everychip.errors import ConfigError, known_names

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.text import Text

    from everychip.devices import Device
    from everychip.mapping import CellMapping


NARROW = 60
"""A terminal of fewer columns has no room for two beside each other."""
NOMINAL = 0.1
"""The σ at which the effective noise of presets without one of their own is told."""


def devices(kind: str | None, *, as_json: bool) -> int:
    """All devices and presets, or one in detail."""
    from everychip.devices import Device, presets

    kinds = {name: about(device) for name, device in Device.kinds().items()}
    shipped = {name: _preset(name) for name in presets()}
    if kind is not None:
        found = _find(kind, [*kinds, *shipped], "device")
        if found in shipped:
            return _show_preset(found, shipped[found], as_json=as_json)
        return _detail(kinds[found], Device, as_json=as_json)
    if as_json:
        return print_json(
            {"devices": [vars(entry) for entry in kinds.values()], "presets": list(shipped.values())}
        )
    out = console()
    out.print(_list("device", kinds.values()))
    out.print(_preset_table(shipped))
    out.print(
        "σ is not comparable between papers, so the effective noise of normally distributed weights is told: "
        f"RRAM1 … FeFET6 at σ = {NOMINAL:g} on 8-bit weights in 2-bit cells, MRAM in 1-bit cells, the others "
        "with one analog cell for each weight. In a recipe: "
        'hardware.device = { preset = "FeFET6", sigma = 0.1 }. One in detail: everychip devices Hermes-2',
        style="dim",
        highlight=False,
        markup=False,
    )
    _tell_broken()
    return 0


def mappings(kind: str | None, *, as_json: bool) -> int:
    """All mappings and ways to hold a sign, or one in detail."""
    from everychip.mapping import CellMapping, Sign

    kinds = {name: about(mapping) for name, mapping in CellMapping.kinds().items()}
    signs = {name: about(sign) for name, sign in Sign.kinds().items()}
    if kind is not None:
        found = _find(kind, [*kinds, *signs], "mapping")
        return _detail({**kinds, **signs}[found], CellMapping if found in kinds else Sign, as_json=as_json)
    if as_json:
        return print_json(
            {"mappings": list(map(vars, kinds.values())), "signs": list(map(vars, signs.values()))}
        )
    out = console()
    out.print(_list("mapping", kinds.values()))
    out.print(_list("sign", signs.values()))
    out.print(
        "Every mapping goes with every sign, a scale per layer or column, and an on-off ratio. In a recipe: "
        'hardware.mapping = { kind = "direct", sign = "differential", scale = "column", on_off = 20 }. '
        "One in detail: everychip mappings offset",
        style="dim",
        highlight=False,
        markup=False,
    )
    _tell_broken()
    return 0


def methods(kind: str | None, *, as_json: bool) -> int:
    """All methods, or one in detail."""
    from everychip.methods import Method
    from everychip.report.method_kinds import place_of

    known = Method.kinds()
    kinds = {name: about(known[name]) for name in sorted(known, key=place_of)}
    if kind is not None:
        return _detail(kinds[_find(kind, kinds, "method")], Method, as_json=as_json)
    costs = {name: _cost(Method, name) for name in kinds}
    if as_json:
        return print_json(
            {"methods": [{**vars(entry), "forwards": costs[entry.kind]} for entry in kinds.values()]}
        )
    out = console()
    out.print(_list("method", kinds.values(), costs))
    out.print(
        "Cost: forwards of the backbone per training step, each with its backward; exits come on top. In a "
        'recipe: method = { kind = "irs", beta = 0.1 }. One in detail: everychip methods irs',
        style="dim",
        highlight=False,
        markup=False,
    )
    _tell_broken()
    return 0


def _cost(family: Any, kind: str) -> str:
    try:
        return f"{family.parse(kind).forwards:.2g}"
    except ConfigError:  # a third party's method may have no default for every field
        return "–"


def _find(asked: str, known: Iterable[str], family: str) -> str:
    folded = {name.casefold(): name for name in known}
    if asked.casefold() not in folded:
        raise ConfigError(f"{family}s", found=f"unknown {family} {asked!r}", remedy=known_names(asked, known))
    return folded[asked.casefold()]


def schema() -> int:
    """The JSON schema of recipes."""
    from everychip.study.recipe_schema import as_text, recipe_schema

    print(as_text(recipe_schema()), end="")  # noqa: T201
    return 0


def version(*, as_json: bool) -> int:
    """What a report of a fault should say first."""
    import platform

    from everychip import __version__

    found = {"everychip": __version__, "torch": _installed("torch"), "python": platform.python_version()}
    if as_json:
        return print_json(found)
    for name, words in found.items():
        print(f"{name} {words}")  # noqa: T201
    return 0


def _installed(package: str) -> str:
    from importlib.metadata import PackageNotFoundError
    from importlib.metadata import version as of

    try:
        return of(package)
    except PackageNotFoundError:
        return "not installed"


def _list(family: str, entries: Any, costs: dict[str, str] | None = None) -> RenderableType:
    rows = [
        (entry.kind, *([costs[entry.kind]] if costs else []), _sourced(entry.summary, entry.source))
        for entry in entries
    ]
    return _table((family, *(["cost"] if costs else []), "what it is"), rows)


def _table(names: Sequence[str], rows: Iterable[Sequence[str | Text]]) -> RenderableType:
    """Rows under names; on a narrow terminal a name, and below it what there is to say, row by row."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    if console().width < NARROW:
        return Group(*(line for row in rows for line in _stacked(names, row)))
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for index, name in enumerate(names):
        table.add_column(name, no_wrap=index == 0, style="bold" if index == 0 else None)
    for row in rows:
        table.add_row(*(Text(cell) if isinstance(cell, str) else cell for cell in row))
    return table


def _stacked(names: Sequence[str], row: Sequence[str | Text]) -> Iterator[Text]:
    from rich.text import Text

    first, *between, last = row
    yield Text(str(first), style="bold")
    yield from (Text(f"{name}: {cell}") for name, cell in zip(names[1:], between, strict=False))
    yield last if isinstance(last, Text) else Text(last)
    yield Text("")


def _sourced(words: str, source: str) -> Text:
    from rich.text import Text

    return Text.assemble(words, *([(f"\nSource: {source}", "dim")] if source else []))


def _tell_broken() -> None:
    """Name the plug-ins that are not in the lists above."""
    for name, why in broken_plugins.items():
        words = f"The plug-in {name} cannot be imported: {why}"
        console(stderr=True).print(words, style="yellow", highlight=False, soft_wrap=True)


def _detail(entry: About, family: type[Component], *, as_json: bool) -> int:
    if as_json:
        return print_json(vars(entry))
    out = console()
    out.print(entry.kind, style="bold")
    out.print(flowing(entry.text), highlight=False, markup=False)
    shared = set(family.model_fields)
    for title, names in (
        ("field", [name for name in entry.fields if name not in shared]),
        (f"with every {family.family}", [name for name in entry.fields if name in shared]),
    ):
        if names:
            out.print(_table((title, "default"), [(name, entry.fields[name]) for name in names]))
    out.print("\n\n".join(_explained(entry, family)), style="dim", highlight=False, markup=False)
    return 0


def _explained(entry: About, family: type[Component]) -> list[str]:
    """What the classes between a kind and its family, and the family itself, say of the fields they share."""
    classes = family.kinds()[entry.kind].__mro__[1:]
    return [flowing(about(found).text) for found in classes if issubclass(found, family)]


def _preset(name: str) -> dict[str, Any]:
    from everychip.devices import preset, presets
    from everychip.hardware.chip import effective_sigma
    from everychip.hardware.hardware import Hardware

    facts = presets()[name]
    sigma = {"sigma": NOMINAL} if facts["kind"] == "levels" else {}
    device = preset(name, **sigma)
    effective = effective_sigma(normal_matrix(), Hardware(device=device, mapping=_mapping_for(device)))
    return {
        "preset": name,
        "table": {**device.table(), **sigma},
        "sigma": device.nominal_sigma,
        "mapping": _mapping_for(device).table(),
        "sigma_of_max": effective.of_max,
        "sigma_of_rms": effective.of_rms,
        **{key: facts[key] for key in ("range", "unit", "source")},
    }


def _mapping_for(device: Device) -> CellMapping:
    """The mapping in which a preset is told: laws of one cell have one cell for each weight."""
    from everychip.mapping import BitSliced, Direct

    if device.levels is not None:
        return BitSliced(cell_bits=device.levels.bit_length() - 1, quantize=True)
    return Direct() if device.needs_cells else BitSliced()


def normal_matrix() -> Any:
    """A layer of normally distributed weights, the same for every device."""
    import torch

    from everychip.rng import rng_for

    layer = torch.nn.Linear(512, 512, bias=False)
    layer.weight.data.normal_(generator=rng_for(0, "catalogue"))
    return layer


def _preset_table(shipped: dict[str, dict[str, Any]]) -> RenderableType:
    rows = []
    for name, row in shipped.items():
        words = _sourced(_range(row), row["source"].partition(": m = ")[0])
        rows.append((name, f"{row['sigma_of_max']:.2%}".replace("%", " %"), words))
    return _table(("preset", "σ_W/max|W|", "range and source"), rows)


def _range(row: dict[str, Any]) -> str:
    """The valid range, with the unit of the numbers where the range does not say it."""
    return str(row["range"] if row["unit"] in row["range"] else f"{row['range']}; unit: {row['unit']}")


def _show_preset(name: str, row: dict[str, Any], *, as_json: bool) -> int:
    if as_json:
        return print_json(row)
    out = console()
    out.print(name, style="bold")
    for key, value in row["table"].items():
        out.print(f"{key} = {as_toml(value)}", highlight=False, markup=False)
    out.print(f"Range: {_range(row)}", highlight=False, markup=False)
    out.print(f"Source: {row['source']}", highlight=False, markup=False)
    sigma = "" if row["sigma"] is None else f"at σ = {row['sigma']:g}, "
    cells = {"bit_sliced": "8-bit weights on 2-bit cells", "direct": "one analog cell for each weight"}
    words = cells[row["mapping"]["kind"]] if row["mapping"].get("cell_bits", 2) == 2 else "1-bit cells"
    out.print(
        f"Normal weights, {sigma}{words}: "
        f"σ_W/max|W| {row['sigma_of_max']:.4f}, σ_W/rms(W) {row['sigma_of_rms']:.4f}",
        highlight=False,
        markup=False,
    )
    return 0
