"""Hardware: a device, a mapping, and which matrices of a model they hold."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal, Self

import torch
from pydantic import SerializerFunctionWrapHandler, model_serializer, model_validator
from torch import Tensor, nn

from everychip.array import Array, must_be_caught
from everychip.config.component import Config, refusal
from everychip.devices import Device, Levels, Sequence
from everychip.errors import ConfigError, ModelError
from everychip.hardware.layers import Layer, matches
from everychip.hardware.reasons import (
    EMBEDDINGS,
    digital_value,
    dtype_of,
    is_layer_weight,
    is_scale,
)
from everychip.hardware.reasons import Why as Why  # noqa: PLC0414 (rows are read by it)
from everychip.mapping import BitSliced, CellMapping, Columns
from everychip.mapping.columns import columns_of
from everychip.network.exclusive import exclusive


@dataclass(frozen=True)
class Placement:
    """Where one parameter of a model is held, and why; `reason` is the text, `why` what code goes by."""

    name: str
    parameter: Tensor
    owners: tuple[str, ...]
    why: Why
    reason: str
    columns: Columns

    @property
    def crossbar(self) -> bool:
        """Whether the crossbar holds it."""
        return self.why in (Why.MATRIX, Why.EMBEDDING)


class Hardware(Config):
    """What a model is programmed into: one kind of cell, one mapping, and the layers that stay digital.

    device: the cell. mapping: how weights become conductances. digital: glob patterns of parameters or
    modules that stay digital. embeddings: whether embedding tables are on the crossbar. array: the tiles and
    their converters; absent, the products of the programmed weights are exact. layers: those with another
    device, mapping or array (`Layer`), by patterns; the first that names a parameter counts.

    >>> from everychip.devices import Gaussian
    >>> Hardware(device=Gaussian(sigma=0.1)).table()["mapping"]["kind"]
    'bit_sliced'
    """

    device: Device
    mapping: CellMapping = BitSliced()
    digital: tuple[str, ...] = ()
    embeddings: bool = False
    array: Array | None = None
    layers: tuple[Layer, ...] = ()

    @model_serializer(mode="wrap")
    def _without_rules_no_key(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Recipes without `layers` have no such key, and keep the run ids that they had."""
        found: dict[str, Any] = handler(self)
        return found if self.layers else {key: value for key, value in found.items() if key != "layers"}

    @model_validator(mode="after")
    def _layers_are_hardware(self) -> Self:
        for place, layer in enumerate(self.layers):
            try:
                self._own(layer)
            except ConfigError as error:
                key = error.where.rpartition(".")[2]
                expected = error.expected or "another one"
                raise refusal(("layers", str(place), key), error.found, expected) from None
        return self

    def _own(self, layer: Layer) -> Self:
        return self.replace(layers=(), **layer.changes())

    def by_layer(self, names: Iterable[str]) -> dict[str, Self]:
        """The hardware of every parameter: its own where `layers` name it.

        Args:
            names: of parameters, as `placement` has them.

        Returns:
            Parameter name → hardware without `layers`; one object for all that share it.
        """
        if not self.layers:
            return dict.fromkeys(names, self)
        default, own = self.replace(layers=()), [self._own(layer) for layer in self.layers]
        return {
            name: next((hw for layer, hw in zip(self.layers, own, strict=True) if layer.names(name)), default)
            for name in names
        }

    @property
    def arrays(self) -> tuple[Array, ...]:
        """The arrays of the hardware and of the layers that have their own."""
        every = (self.array, *(layer.array for layer in self.layers))
        return tuple(array for array in every if array is not None)

    @property
    def mappings(self) -> tuple[CellMapping, ...]:
        """The mapping of the hardware and those of the layers that have their own."""
        return (self.mapping, *(layer.mapping for layer in self.layers if layer.mapping is not None))

    def with_mappings(self, change: Callable[[CellMapping], CellMapping]) -> Self:
        """The same hardware with every mapping changed.

        Args:
            change: from a mapping to another.

        Returns:
            The same hardware with the other mappings.
        """
        layers = tuple(
            layer if layer.mapping is None else layer.replace(mapping=change(layer.mapping))
            for layer in self.layers
        )
        return self.replace(mapping=change(self.mapping), layers=layers)

    def with_arrays(self, change: Callable[[Array], Array]) -> Self:
        """The same hardware with every array changed.

        Args:
            change: from an array to another.

        Returns:
            The same hardware with the other arrays.
        """
        array = None if self.array is None else change(self.array)
        return self.replace(array=array, layers=tuple(layer.with_array(change) for layer in self.layers))

    @model_validator(mode="after")
    def _levels_need_digits(self) -> Self:
        if self.device.needs_digits and not self.mapping.has_digits:
            raise refusal(
                ("mapping",),
                f'{self.mapping.kind} without digits, while the device has level_of = "cell"',
                'digits whose level can be looked up: mapping = { kind = "bit_sliced", quantize = true }',
            )
        if self.mapping.on_off is not None and _has_unlike_levels(self.device):
            raise refusal(
                ("mapping", "on_off"),
                f"{self.mapping.on_off:g}, while the levels of {self.device.label} lie between 0 and G_max",
                "no on_off, or a device whose σ is a function of the conductance",
            )
        return self

    @model_validator(mode="after")
    def _laws_of_cells_need_cells(self) -> Self:
        mapping, levels = self.mapping, self.device.levels
        if not isinstance(mapping, BitSliced):
            return self
        if self.device.needs_cells and not mapping.quantize:
            raise refusal(
                ("mapping",),
                f"whole weights in place of cells, while {self.device.label} is a law of one cell",
                'mapping = "direct", or mapping = { kind = "bit_sliced", quantize = true }',
            )
        if levels is not None and 2**mapping.cell_bits != levels:
            raise refusal(
                ("mapping", "cell_bits"),
                f"{2**mapping.cell_bits} levels, while a cell of {self.device.label} has {levels}",
                f"cell_bits = {levels.bit_length() - 1}",
            )
        return self

    def with_sigma(self, sigma: float) -> Self:
        """The same hardware with its device at another nominal σ; that of `layers` keeps its ratio to it.

        Args:
            sigma: the nominal σ, a fraction of G_max.

        Returns:
            The same hardware at that σ.
        """
        layers = tuple(layer.with_sigma(sigma, self.device.nominal_sigma) for layer in self.layers)
        return self.replace(device=self.device.with_sigma(sigma), layers=layers)

    def with_scale(self, scale: Literal["layer", "column"]) -> Self:
        """The same hardware with G_max standing for the largest weight of each layer, or of each column.

        Args:
            scale: "layer", or "column", which is what a network asks for that was not trained for a chip.

        Returns:
            The same hardware, every mapping of it at that scale.

        >>> from everychip.devices import Gaussian
        >>> Hardware(device=Gaussian(sigma=0.1)).with_scale("column").mapping.scale
        'column'
        """
        return self.with_mappings(lambda mapping: mapping.replace(scale=scale))

    def at(self, time: float) -> Self:
        """The same hardware with its device read at another time since programming, in seconds.

        Args:
            time: seconds since programming.

        Returns:
            The same hardware at that time.
        """
        return self.replace(
            device=self.device.at(time), layers=tuple(layer.at(time) for layer in self.layers)
        )

    def on_die(self, rng: torch.Generator) -> Self:
        """The same hardware with its device as one die has it: a chip is one die.

        Args:
            rng: the generator of the draw.

        Returns:
            The hardware of one die.
        """
        device = self.device.on_die(rng)
        return self if device is self.device else self.replace(device=device)

    def placement(self, model: nn.Module) -> list[Placement]:
        """Where every parameter of the model is held, in the model's own order.

        Args:
            model: the network, any `nn.Module`; it is left as it is.

        Returns:
            A row for every parameter, with the reason.
        """
        unmatched, unnamed = set(self.digital), {p for layer in self.layers for p in layer.match}
        rows = []
        with exclusive(model):  # while another thread runs a chip, the model holds the chip's tensors
            parameters = list(_parameters(model))
        for names, owners, parameter in parameters:
            why, reason = self._place(names, owners, parameter, unmatched)
            self._must_name(names, unnamed)
            columns = columns_of(owners.values())
            rows.append(Placement(names[0], parameter, tuple(owners), why, reason, columns))
        for where, patterns in (("digital", unmatched), ("layers", unnamed)):
            if patterns:
                raise ConfigError(
                    f"hardware.{where}",
                    found=f"{min(patterns)!r}, which matches no parameter and no module",
                    expected="glob patterns of names such as " + ", ".join(row.name for row in rows[:3]),
                )
        return rows

    def crossbar(self, model: nn.Module) -> dict[str, Tensor]:
        """The parameters that the crossbar holds, by name.

        Args:
            model: the network, any `nn.Module`; it is left as it is.

        Returns:
            Parameter name → the model's own tensor.
        """
        rows = self.placement(model)
        self.must_hold(model, rows)
        return {row.name: row.parameter for row in rows if row.crossbar}

    def columns(self, model: nn.Module) -> dict[str, Columns]:
        """Which numbers share a column, for every parameter that the crossbar holds, by name.

        Args:
            model: the network, any `nn.Module`; it is left as it is.

        Returns:
            Parameter name → its columns.
        """
        return {row.name: row.columns for row in self.placement(model) if row.crossbar}

    def must_hold(self, model: nn.Module, rows: Iterable[Placement]) -> None:
        """Refuse a model that this hardware cannot hold, by the rows of `placement`.

        Args:
            model: the network, any `nn.Module`; it is left as it is.
            rows: those of `placement`.
        """
        _must_be_callable_with_other_weights(model)
        held = []
        for row in rows:
            if row.why is Why.COMPUTED:
                raise ModelError(
                    row.name,
                    found="a parameter that another weight is computed from (weight norm, pruning, …)",
                    expected="the weight itself, which is what a crossbar holds",
                    remedy="fold it with torch.nn.utils.parametrize.remove_parametrizations, "
                    "remove_weight_norm or prune.remove, or name it in hardware.digital",
                )
            if row.crossbar and row.parameter.element_size() < 2:
                raise ModelError(
                    row.name,
                    found=f"{dtype_of(row.parameter)} weights, whose steps are coarser than a chip's noise",
                    expected="float16, bfloat16, float32 or float64",
                    remedy="call model.to(torch.bfloat16), or name it in hardware.digital",
                )
            held += [row] if row.crossbar else []
        self._must_be_caught(model, held)
        if not held:
            raise ModelError(
                type(model).__name__,
                found="no matrix that a crossbar could hold",
                expected="at least one Linear, convolution, attention or recurrent weight",
                remedy="see everychip check; hardware.digital may cover every layer",
            )

    def _must_name(self, names: list[str], unnamed: set[str]) -> None:
        """Strike the patterns of `layers` that name a parameter; refuse one that names only a tie of it."""
        for layer in self.layers:
            unnamed.difference_update(p for p in layer.match if matches(p, names[0]))
            tie = next((name for name in names[1:] if layer.names(name)), None)
            if tie is not None and not layer.names(names[0]):
                raise ConfigError(
                    "hardware.layers",
                    found=f"a pattern of {tie}, which is the same tensor as {names[0]}",
                    expected=f"one that names {names[0]}",
                )

    def _must_be_caught(self, model: nn.Module, held: list[Placement]) -> None:
        own = self.by_layer(row.name for row in held)
        for row in held:
            if own[row.name].array is not None:
                must_be_caught(row.name, [(owner, model.get_submodule(owner)) for owner in row.owners])

    def _place(
        self, names: list[str], owners: dict[str, nn.Module], parameter: Tensor, unmatched: set[str]
    ) -> tuple[Why, str]:
        asked = [p for p in self.digital if any(matches(p, name) for name in names)]
        unmatched.difference_update(asked)
        if asked:
            return Why.BY_REQUEST, f"{Why.BY_REQUEST} ({asked[0]})"
        why = digital_value(names, list(owners.values()), parameter) or self._of_matrix(owners, parameter)
        return why, f"{parameter.dtype} is {why}" if why is Why.NOT_FLOATING else str(why)

    def _of_matrix(self, owners: dict[str, nn.Module], parameter: Tensor) -> Why:
        modules = list(owners.values())
        if all(isinstance(module, EMBEDDINGS) for module in modules):
            return Why.EMBEDDING if self.embeddings else Why.LOOK_UP
        if any(is_scale(parameter, module) for module in modules):
            return Why.SCALE
        if parameter.shape[0] == 1 and not is_layer_weight(modules):
            return Why.ADDED
        return Why.MATRIX


def _has_unlike_levels(device: Device) -> bool:
    if isinstance(device, Sequence):
        return any(_has_unlike_levels(effect) for effect in device.devices)
    return isinstance(device, Levels) and device.uniform_std is None


def _must_be_callable_with_other_weights(model: nn.Module) -> None:
    """Torch's functional_call cannot look into these two, and no array sees what they multiply."""
    for name, module in model.named_modules():
        where = name or type(module).__name__
        if isinstance(module, nn.DataParallel):
            raise ModelError(where, found="a wrapped model", remedy="pass the model inside: model.module")
        if isinstance(module, torch.jit.ScriptModule):
            raise ModelError(where, found="a TorchScript model", remedy="pass the model it was made from")


def _parameters(model: nn.Module) -> Iterator[tuple[list[str], dict[str, nn.Module], Tensor]]:
    """Every parameter once, with all its names and all the modules that hold it (ties share one entry)."""
    names: dict[int, list[str]] = {}
    owners: dict[int, dict[str, nn.Module]] = {}
    tensors: dict[int, Tensor] = {}
    for prefix, module in model.named_modules(remove_duplicate=False):
        for leaf, parameter in module.named_parameters(recurse=False, remove_duplicate=False):
            key = id(parameter)
            tensors[key] = parameter
            names.setdefault(key, []).append(f"{prefix}.{leaf}" if prefix else leaf)
            owners.setdefault(key, {})[prefix] = module
    for key, parameter in tensors.items():
        yield names[key], owners[key], parameter
