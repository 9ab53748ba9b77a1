"""The table of components: what each takes in power and area, where it stands, and who says so."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field

from everychip.config.component import Config
from everychip.config.toml import read_toml

Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
Whole = Annotated[int, Field(ge=1)]
Level = Literal["unit", "cluster", "chip"]
Per = Literal["conversion", "row", "column", "cell", "array"]


class ArrayTable(Config):
    """The crossbar that the powers and areas are of: rows, columns, and the time of one read, in ns."""

    rows: Whole = 128
    columns: Whole = 128
    cycle_ns: Positive = 100.0


class Inputs(Config):
    """How inputs arrive: `bits` of them, `bits_per_cycle` in every read."""

    bits: Whole = 16
    bits_per_cycle: Whole = 1


class Hierarchy(Config):
    """How many arrays make a unit, units a cluster, clusters a chip (ISAAC's IMA, tile and chip)."""

    arrays_per_unit: Whole = 8
    units_per_cluster: Whole = 12
    clusters_per_chip: Whole = 168


class Write(Config):
    """Pulses to write one cell, blindly and, as a mean, until it reads right."""

    pulses: Positive = 1.0
    pulses_verified: Positive = 10.0


class Published(Config):
    """What the authors state of a chip: power in W, area in mm², 10¹² operations/s, and at how many bits."""

    power_w: Positive
    area_mm2: Positive
    tera_ops: Positive
    weight_bits: Whole
    cell_bits: Whole
    input_bits: Whole

    @property
    def tera_ops_per_w(self) -> float:
        """Operations per joule, in 10¹²: two for each MAC."""
        return self.tera_ops / self.power_w


class Part(Config):
    """One component: the power in mW and area in mm² of all of it in a unit, cluster or chip.

    per: what its energy and area go with. verified: whether the numbers were found in a second source.
    """

    name: str
    level: Level
    per: Per
    power_mw: NotNegative
    area_mm2: NotNegative
    verified: bool = False


class Components(Config):
    """A table of components, as a TOML file; the shipped one is ISAAC's.

    within: how far its estimates stand from those of other tools, in words; absent, nobody has compared.

    Source: Shafiee et al., ISCA 2016 (see `isaac.toml` for what is verified).

    >>> table = Components.shipped()
    >>> round(table.power_w(chips=1), 1), round(table.area_mm2(chips=1), 1)
    (65.8, 85.4)
    """

    name: str
    source: str
    within: str | None = None
    array: ArrayTable = ArrayTable()
    inputs: Inputs = Inputs()
    hierarchy: Hierarchy = Hierarchy()
    write: Write = Write()
    published: Published | None = None
    component: Annotated[tuple[Part, ...], Field(min_length=1)]

    @classmethod
    def shipped(cls) -> Self:
        """ISAAC-CE's."""
        return cls.from_toml(Path(str(files("everychip.cost"))) / "isaac.toml")

    @classmethod
    def from_toml(cls, path: str | Path) -> Self:
        """A table of one's own."""
        return cls.read(read_toml(Path(path)), where=Path(path).name)

    def arrays_in(self, level: Level) -> int:
        """How many arrays a unit, a cluster or a chip holds."""
        h = self.hierarchy
        of = {"unit": 1, "cluster": h.units_per_cluster, "chip": h.units_per_cluster * h.clusters_per_chip}
        return h.arrays_per_unit * of[level]

    def power_w(self, *, chips: int) -> float:
        """The power of whole chips, all arrays at work, in W."""
        return chips * sum(part.power_mw * self._on_a_chip(part) for part in self.component) / 1000

    def area_mm2(self, *, chips: int) -> float:
        """The area of whole chips, in mm²."""
        return chips * sum(part.area_mm2 * self._on_a_chip(part) for part in self.component)

    def _on_a_chip(self, part: Part) -> int:
        return self.arrays_in("chip") // self.arrays_in(part.level)

    def picojoules(self, part: Part) -> float:
        """The energy of one event of a component, in pJ: its power over how often it happens at full rate."""
        array = self.array
        events = {"array": 1, "row": array.rows, "cell": array.rows * array.columns}
        each = events.get(part.per, array.columns)
        return part.power_mw * array.cycle_ns / (self.arrays_in(part.level) * each)  # mW·ns = pJ

    def area_of_array(self, *, rows: int, columns: int) -> float:
        """One array's share of all areas, in mm²; what goes with rows, columns or cells grows with them."""
        by = {"row": rows / self.array.rows, "column": columns / self.array.columns, "array": 1.0}
        by |= {"conversion": by["column"], "cell": by["row"] * by["column"]}
        return sum(part.area_mm2 * by[part.per] / self.arrays_in(part.level) for part in self.component)
