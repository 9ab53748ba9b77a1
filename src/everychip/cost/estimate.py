"""Energy, time and area of a network, from counts and a table of components: an estimate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import ceil

from pydantic.dataclasses import dataclass
from torch import Tensor, nn

from everychip.array import Array
from everychip.config.columns import VALUES
from everychip.cost.components import Components
from everychip.cost.counting import Counts, Format, count, format_of
from everychip.cost.matrices import Matrix, matrices
from everychip.hardware.hardware import Hardware


@dataclass(frozen=True, config=VALUES)
class Cost:
    """What a network takes on one hardware; energy and time are per input, the first layer to the last.

    layers: the counts of every matrix. energy_j: by component. latency_s: one layer after the other.
    interval_s: between inputs where all layers work at once, each on one copy of its weights.
    area_mm2: the share of the arrays in all areas. chips: whole ones. format: how weights are held, and
    formats the same for every layer, where some have hardware of their own.
    """

    components: Components
    format: Format
    formats: tuple[Format, ...]
    matrices: tuple[Matrix, ...]
    layers: tuple[Counts, ...]
    energy_by_part: tuple[float, ...]
    latency_s: float
    interval_s: float
    area_mm2: float
    chips: int

    @property
    def energy_j(self) -> float:
        """The energy of one input in J."""
        return sum(self.energy_by_part)

    def total(self, name: str) -> int:
        """A count over all layers: cells, tiles, conversions, …"""
        return int(sum(getattr(layer, name) for layer in self.layers))

    @property
    def occupied(self) -> float:
        """The share of the tiles' cells that hold something."""
        held = (n.tiles * form.rows * form.columns for n, form in zip(self.layers, self.formats, strict=True))
        return self.total("cells") / sum(held)

    @property
    def pulses(self) -> float:
        """Pulses to write all cells blindly."""
        return self.total("cells") * self.components.write.pulses

    @property
    def pulses_verified(self) -> float:
        """Pulses to write all cells until they read right, as a mean."""
        return self.total("cells") * self.components.write.pulses_verified

    @property
    def tera_ops_per_w(self) -> float:
        """Operations per joule in 10¹², two for each MAC on the crossbar."""
        return 2 * self.total("macs") / self.energy_j / 1e12

    @property
    def full_use_j(self) -> float:
        """The energy that the published peak efficiency of the design would take for the same MACs."""
        published = self.components.published
        return 2 * self.total("macs") / published.tera_ops_per_w / 1e12 if published else float("nan")


def estimate(
    model: nn.Module, hardware: Hardware, sample: Tensor, *, components: Components | None = None
) -> Cost:
    """Count what the crossbar holds of a network, and estimate what it takes.

    The tiles are those of `hardware.array`, else the table's; the inputs have its dac_bits, else the table's.
    Left out: what is digital (biases, norms, attention scores), moving data between chips and from memory,
    leakage, the writes' energy, and copies of early layers that a balanced pipeline makes.

    >>> import torch, everychip as ec
    >>> hw = ec.Hardware(device=ec.devices.Gaussian(sigma=0.1))
    >>> cost = estimate(nn.Linear(128, 32), hw, torch.ones(1, 128))
    >>> cost.total("cells"), cost.total("tiles"), cost.total("conversions")  # 4 cells a weight, 16 input bits
    (16384, 1, 2048)
    >>> round(cost.energy_j * 1e9, 1)  # a full array: its share of the chip's 65.8 W, for 1.6 µs
    6.5
    """
    table = components or Components.shipped()
    found = matrices(model, hardware, sample)
    form, own = hardware_format(hardware, table), layer_formats(hardware, found, table)
    return estimate_matrices(found, form, table, own=own)


def hardware_format(hardware: Hardware, table: Components) -> Format:
    """How a hardware holds weights and reads them, with the table's numbers where it does not say."""
    array = hardware.array or Array(rows=table.array.rows, columns=table.array.columns)
    bits = array.dac_bits or table.inputs.bits
    return format_of(hardware, array=array, cycles=ceil(bits / table.inputs.bits_per_cycle))


def layer_formats(hardware: Hardware, found: Sequence[Matrix], table: Components) -> dict[str, Format]:
    """How each matrix is held, where layers have hardware of their own; empty where none has."""
    if not hardware.layers:
        return {}
    own = hardware.by_layer(matrix.name for matrix in found)
    return {name: hardware_format(one, table) for name, one in own.items()}


def published_format(table: Components) -> Format | None:
    """How the table's own design holds weights, if it says so."""
    own = table.published
    if own is None:
        return None
    return Format(
        slices=ceil(own.weight_bits / own.cell_bits),
        rows=table.array.rows,
        columns=table.array.columns,
        cycles=ceil(own.input_bits / table.inputs.bits_per_cycle),
    )


def estimate_matrices(
    found: Sequence[Matrix], form: Format, table: Components, *, own: Mapping[str, Format] | None = None
) -> Cost:
    """The estimate of matrices that are known without their network; own: other formats by their names."""
    formats = tuple((own or {}).get(matrix.name, form) for matrix in found)
    layers = tuple(count(matrix, one) for matrix, one in zip(found, formats, strict=True))
    steps = [layer.steps for layer in layers]
    tiles = sum(layer.tiles for layer in layers)
    return Cost(
        components=table,
        format=form,
        formats=formats,
        matrices=tuple(found),
        layers=layers,
        energy_by_part=_energies(layers, formats, table),
        latency_s=sum(steps) * table.array.cycle_ns * 1e-9,
        interval_s=max(steps) * table.array.cycle_ns * 1e-9,
        area_mm2=sum(
            n.tiles * table.area_of_array(rows=one.rows, columns=one.columns)
            for n, one in zip(layers, formats, strict=True)
        ),
        chips=ceil(tiles / table.arrays_in("chip")),
    )


def _energies(layers: Sequence[Counts], formats: Sequence[Format], table: Components) -> tuple[float, ...]:
    """In J, by component. All cells of a tile that is read conduct, used or not."""
    pairs = list(zip(layers, formats, strict=True))
    events = {
        "array": sum(layer.array_reads for layer in layers),
        "cell": sum(layer.array_reads * form.rows * form.columns for layer, form in pairs),
        "row": sum(layer.rows_driven for layer in layers),
        "column": sum(layer.columns_read for layer in layers),
        "conversion": sum(layer.conversions for layer in layers),
    }
    return tuple(events[part.per] * table.picojoules(part) * 1e-12 for part in table.component)
