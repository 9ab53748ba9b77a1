"""`everychip cost`: what a network takes in cells, conversions, writes; roughly in energy, time, area."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from everychip.charts.paragraph import paragraph
from everychip.cli.answering import measured_shares, show_answers
from everychip.cli.checking import asked, write_output
from everychip.cli.printing import print_json
from everychip.cli.watching import console
from everychip.report.blocks import Column, Row, Table
from everychip.report.terminal import rich_table
from everychip.report.wording import quantity

if TYPE_CHECKING:
    from torch import Tensor, nn

    from everychip.cost import Answer, Components, Cost, ExitCost
    from everychip.cost.counting import Format
    from everychip.study.experiment import Experiment

WIDTH = 80


def cost(
    model: str, settings: list[str], components: Path | None, *, as_json: bool, output: Path | None
) -> int:
    """Count and estimate the model of a run or a recipe, a shipped model or a user's own."""
    from everychip.cost import Components, estimate, exit_cost

    table = Components.from_toml(components) if components else Components.shipped()
    experiment = asked(model, settings)
    with experiment.compute.used():
        splits = experiment.data.load()
        network = experiment.model.build(splits.input_shape, splits.classes, seed=experiment.seed)
        sample = splits.train.x[:2]
        found = estimate(network, experiment.hardware, sample, components=table)
        design = _on_the_design(found, table)
        training = exit_cost(network, experiment.method, sample, seed=experiment.seed)
        answered = _answers(model, network, experiment, sample, table)
    told = {**_facts(experiment, found, design, training), **_answer_facts(answered)}
    if output is not None:
        write_output(output, json.dumps(told, indent=1, ensure_ascii=False) + "\n")
    if as_json:
        print_json(told)
    else:
        _show(experiment, found, design, training, answered)
    return 0


def _answers(
    model: str, network: nn.Module, experiment: Experiment, sample: Tensor, table: Components
) -> tuple[Answer, ...]:
    """What each way to answer takes; none of a network without exits."""
    from everychip.cost import answers
    from everychip.exits import MultiExit

    if not isinstance(network, MultiExit):
        return ()
    ways = answers(network, experiment.hardware, sample, components=table)
    return ways.rows(measured_shares(model))


def _answer_facts(answered: tuple[Answer, ...]) -> dict[str, Any]:
    return {"answers": [one.facts() for one in answered]} if answered else {}


def _on_the_design(found: Cost, table: Components) -> Cost | None:
    """The same network with the bits of the published design, if the table tells of one."""
    from everychip.cost.estimate import estimate_matrices, published_format

    form = published_format(table)
    return None if form is None else estimate_matrices(found.matrices, form, table)


def _show(
    experiment: Experiment,
    found: Cost,
    design: Cost | None,
    training: ExitCost,
    answered: tuple[Answer, ...],
) -> None:
    out = console()
    width = min(WIDTH, out.width)
    out.print(rich_table(_table(found), width=width))
    for line in _lines(experiment, found, training, width=width - 1):
        out.print(line, highlight=False, markup=False)
    if answered:
        show_answers(answered, out, width=width)
    for words in (_beside(design), _caution(found)):
        if words:
            out.print()
            out.print("\n".join(paragraph(words, width - 1)), highlight=False, markup=False, style="dim")


def _table(found: Cost) -> Table:
    from everychip.hardware.coverage import short

    rows = []
    for layer in found.layers:
        numbers = (layer.weights, layer.cells, layer.tiles)
        cells = [short(number) for number in numbers] + [f"{layer.occupied:.0%}".replace("%", " %")]
        rows.append(Row((layer.name, *cells, short(layer.array_reads), short(layer.conversions))))
    names = ("weights", "cells", "tiles", "used", "reads", "conversions")
    return Table("", (Column("matrix", "key"), *map(Column, names)), tuple(rows))


def _held(found: Cost) -> str:
    """The cells of a weight, and where layers have hardware of their own, of the weights of how many."""
    kinds = Counter(_cells_of(form) for form in found.formats)
    first, *others = kinds.most_common()
    more = [f"{cells} in {n} of {len(found.formats)} matrices" for cells, n in others]
    return ", ".join([f"{first[0]} for a weight", *more])


def _cells_of(form: Format) -> str:
    one, more = ("cell", "cells") if form.sides == 1 else ("pair of cells", "pairs of cells")
    return f"{form.slices} {one if form.slices == 1 else more}"


def _tiles(found: Cost) -> str:
    """The sizes of the tiles, the commonest first."""
    sizes = Counter(f"{form.rows}×{form.columns}" for form in found.formats)
    return " and ".join(size for size, _ in sizes.most_common())


def _facts_in_words(experiment: Experiment, found: Cost, training: ExitCost) -> dict[str, str]:
    """What there is to say, by what it is about."""
    tiles = found.total("tiles")
    of_chip = tiles / found.components.arrays_in("chip")
    return {
        "Cells": f"{_short(found, 'cells')}, {_held(found)}; {tiles} tiles of {_tiles(found)}, "
        f"{found.occupied:.0%} used",
        "Per input": f"{_short(found, 'macs')} MACs, {_short(found, 'array_reads')} reads of a tile, "
        f"{_short(found, 'conversions')} ADC conversions",
        "Writes": f"{_pulses(found.pulses)}; {_pulses(found.pulses_verified)} if every cell is "
        f"verified{_selected(experiment, found)}",
        "Energy": f"{quantity(found.energy_j, 'J')} per input, {found.tera_ops_per_w:.2g} TOPS/W: "
        + _largest(found),
        "Time": f"{quantity(found.latency_s, 's')} per input, layer after layer; inputs "
        f"{quantity(found.interval_s, 's')} apart if all layers work at once",
        "Area": f"{found.area_mm2:.3g} mm², {of_chip:.2%} of the arrays of a chip",
        "Training": f"{training.method}: {_times(training.factor)} plain training{_heads(training)}",
    }


def _lines(experiment: Experiment, found: Cost, training: ExitCost, *, width: int) -> list[str]:
    """The same as lines of a terminal, the labels hanging out on the left."""
    lines = []
    for label, words in _facts_in_words(experiment, found, training).items():
        lines += paragraph(words.replace("%", " %"), width, first=f"{label:<11}", hanging=" " * 11)
    return lines


def _short(found: Cost, name: str) -> str:
    from everychip.hardware.coverage import short

    return short(found.total(name))


def _pulses(number: float) -> str:
    from everychip.hardware.coverage import short

    return f"{short(round(number))} pulses"


def _largest(found: Cost) -> str:
    """The three components that take most of the energy."""
    shares = sorted(zip(found.energy_by_part, found.components.component, strict=True), key=lambda s: -s[0])
    names = [f"{part.name.partition(',')[0]} {joules / found.energy_j:.0%}" for joules, part in shares[:3]]
    return ", ".join(names)


def _times(factor: float) -> str:
    return "the MACs of" if factor == 1 else f"{factor:.3g} times the MACs of"


def _heads(training: ExitCost) -> str:
    if not training.positions:
        return ""
    return (
        f"; its {len(training.positions)} exits add {training.of_macs:.1%} MACs and "
        f"{training.of_parameters:.1%} parameters, and are dropped afterwards"
    )


def _selected(experiment: Experiment, found: Cost) -> str:
    """What a recipe's selective write-verify takes."""
    from everychip.mitigate import SelectiveWriteVerify

    asked = experiment.evaluation.mitigation
    if not isinstance(asked, SelectiveWriteVerify):
        return ""
    blind = found.components.write.pulses
    each = asked.fraction * asked.cycles + (1 - asked.fraction) * blind
    return f"; {_pulses(found.total('cells') * each)} if it is the recipe's {asked.fraction:.0%}"


def _beside(design: Cost | None) -> str:
    """The published design on the same network."""
    if design is None or design.components.published is None:
        return ""
    own, name = design.components.published, design.components.name
    words = (
        f"{name}, as published: {own.power_w:g} W, {own.area_mm2:g} mm² and {own.tera_ops:g} TOPS a chip. "
        f"With its {own.weight_bits}-bit weights in {own.cell_bits}-bit cells and {own.input_bits}-bit "
        f"inputs, this network takes {design.total('tiles')} tiles and {quantity(design.energy_j, 'J')} per "
        f"input, {design.energy_j / design.full_use_j:.2g} times what the published "
        f"{own.tera_ops_per_w:.2g} TOPS/W would take: those are with every cell at work, here "
        f"{design.occupied:.0%} of them hold something."
    )
    return words.replace("%", " %")


def _caution(found: Cost) -> str:
    parts = found.components.component
    doubtful = sum(not part.verified for part in parts)
    unverified = f" {doubtful} of {len(parts)} components are unverified." if doubtful else ""
    return (
        f"An estimate{_within(found)} with the components of {found.components.name} "
        f"({found.components.source})."
        f"{unverified} Left out: digital layers, traffic between chips and with memory, leakage, the energy "
        "of writes, copies of early layers. ADCs are the table's, whatever bits the hardware asks for. "
        "Components of your own: --components my.toml"
    )


def _within(found: Cost) -> str:
    return f", good to {found.components.within}," if found.components.within else ""


def _facts(experiment: Experiment, found: Cost, design: Cost | None, training: ExitCost) -> dict[str, Any]:
    """Everything for programs, SI units."""
    parts = [part.name for part in found.components.component]
    facts = {
        "model": experiment.model.label,
        "estimate": True,
        "components": found.components.table(),
        "format": vars(found.format),
        "layers": _layers(found),
        **_sums(found),
        "energy_by_component_j": dict(zip(parts, found.energy_by_part, strict=True)),
        "training": {**vars(training), "factor": training.factor},
    }
    if design is not None:
        facts["as_published"] = {**_sums(design), "at_published_efficiency_j": design.full_use_j}
    return facts


def _layers(found: Cost) -> list[dict[str, Any]]:
    """Every layer's counts, with its format where it has one of its own."""
    return [
        {**vars(layer), **({} if form == found.format else {"format": vars(form)})}
        for layer, form in zip(found.layers, found.formats, strict=True)
    ]


def _sums(found: Cost) -> dict[str, Any]:
    names = ("weights", "macs", "cells", "tiles", "array_reads", "rows_driven", "conversions")
    return {
        **{name: found.total(name) for name in names},
        "occupied": found.occupied,
        "write_pulses": found.pulses,
        "write_pulses_verified": found.pulses_verified,
        "energy_j": found.energy_j,
        "latency_s": found.latency_s,
        "interval_s": found.interval_s,
        "area_mm2": found.area_mm2,
        "chips": found.chips,
    }
