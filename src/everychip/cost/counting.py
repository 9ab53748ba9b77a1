"""Cells, tiles, reads and conversions of one matrix: whole numbers, no table needed."""

from __future__ import annotations

from math import ceil

import torch
from pydantic.dataclasses import dataclass

from everychip.array import Array
from everychip.config.columns import VALUES
from everychip.cost.matrices import Matrix
from everychip.hardware.hardware import Hardware
from everychip.mapping import BitSliced
from everychip.mapping.columns import OUTPUTS_FIRST


@dataclass(frozen=True, config=VALUES)
class Format:
    """How a weight is held: cells of its magnitude (slices), sides (2 in a pair), references of an offset.

    rows, columns: of a tile. cycles: reads for one input vector. together: whether slices are added before
    the conversion.
    """

    slices: int = 1
    sides: int = 1
    references: int = 0
    rows: int = 128
    columns: int = 128
    cycles: int = 1
    together: bool = False

    @property
    def per_weight(self) -> int:
        """Cells of one weight, the reference of an offset apart."""
        return self.slices * self.sides


def format_of(hardware: Hardware, *, array: Array, cycles: int) -> Format:
    """The format of a hardware's mapping on tiles of an array."""
    mapping = hardware.mapping
    slices = len(mapping.places) if isinstance(mapping, BitSliced) else len(mapping.cells(torch.zeros(1)))
    parts = mapping.sign.parts(torch.zeros(1, 1), columns=OUTPUTS_FIRST, steps=mapping.steps)
    shared = sum(part.shared for part in parts)
    together = array.shift_add == "analog"
    return Format(slices, len(parts) - shared, shared, array.rows, array.columns, cycles, together)


@dataclass(frozen=True, config=VALUES)
class Counts:
    """What one matrix takes. Reads, conversions and driven rows are per input of the network.

    cells: of all weights and references. tiles: crossbars, of which `occupied` is the share of used cells.
    array_reads: reads of one tile. rows_driven: inputs put on a row. conversions: of an ADC.
    columns_read: cells' columns sampled. vectors: reads of the whole matrix, cycles apart. steps: reads that
    follow one another.
    """

    name: str
    weights: int
    macs: int
    cells: int
    tiles: int
    occupied: float
    array_reads: int
    rows_driven: int
    columns_read: int
    conversions: int
    steps: int


def count(matrix: Matrix, form: Format) -> Counts:
    """Lay a matrix on tiles and count.

    Rows: whole channels share a tile where they fit, as `everychip.array` lays them. Columns: the slices and
    both sides of a weight stand beside one another, a reference column for each slice beside them. Several
    groups share a tile along its diagonal where they fit. The two sides of a pair, and a reference, are
    subtracted before the conversion.

    >>> found = count(Matrix("w", inputs=64, outputs=10, kernel=9, vectors=4), Format(slices=4, cycles=8))
    >>> found.tiles, found.cells, found.conversions  # 14 channels on a tile: 5 tiles; 5·10·4·4·8
    (5, 23040, 6400)
    """
    row_tiles, used_rows = _rows(matrix, form)
    width = matrix.outputs * form.per_weight + form.references * form.slices
    column_tiles = ceil(width / form.columns)
    shared = _groups_on_a_tile(used_rows, width, form) if row_tiles == column_tiles == 1 else 1
    tiles = ceil(matrix.groups / shared) * row_tiles * column_tiles
    cells = matrix.groups * matrix.inputs * matrix.kernel * width
    reads = matrix.vectors * form.cycles
    converted = matrix.outputs * (1 if form.together else form.slices)
    return Counts(
        name=matrix.name,
        weights=matrix.weights,
        macs=matrix.macs,
        cells=cells,
        tiles=tiles,
        occupied=cells / (tiles * form.rows * form.columns),
        array_reads=reads * tiles,
        rows_driven=reads * matrix.groups * matrix.inputs * matrix.kernel * column_tiles,
        columns_read=reads * matrix.groups * width * row_tiles,
        conversions=reads * matrix.groups * converted * row_tiles,
        steps=reads,
    )


def _rows(matrix: Matrix, form: Format) -> tuple[int, int]:
    """Tiles that the inputs of a group are split into, and the rows used where it is one."""
    if matrix.kernel > form.rows:
        return matrix.inputs * ceil(matrix.kernel / form.rows), form.rows
    channels = form.rows // matrix.kernel
    return ceil(matrix.inputs / channels), matrix.inputs * matrix.kernel


def _groups_on_a_tile(rows: int, width: int, form: Format) -> int:
    return max(1, min(form.rows // rows, form.columns // width))
