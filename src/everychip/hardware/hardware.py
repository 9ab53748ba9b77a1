"""Hardware: a device, a mapping, and which matrices of a model they hold."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import Self

import torch
from pydantic import model_validator
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.parameter import UninitializedParameter

from everychip.array import Array, must_be_caught
from everychip.config.component import Config, refusal
from everychip.devices import Device, Levels, Sequence
from everychip.errors import ConfigError, ModelError
from everychip.mapping import BitSliced, CellMapping, Columns
from everychip.mapping.columns import columns_of
from everychip.network.exclusive import exclusive

_NORMS: tuple[type[nn.Module], ...] = (
    _NormBase,
    nn.LayerNorm,
    nn.GroupNorm,
    nn.LocalResponseNorm,
    *([nn.RMSNorm] if hasattr(nn, "RMSNorm") else []),
)
_BYTES = (torch.int8, torch.uint8, torch.float8_e4m3fn, torch.float8_e5m2)
_EMBEDDINGS = (nn.Embedding, nn.EmbeddingBag)
_CONVOLUTIONS = (nn.modules.conv._ConvNd,)


class Why(StrEnum):
    """Why a parameter stands where it does; the value is the reason in words."""

    MATRIX = "a matrix"
    EMBEDDING = "embedding"
    LOOK_UP = "an embedding table is a look-up"
    BY_REQUEST = "digital by request"
    NOT_FLOATING = "not floating point"
    NORMALISATION = "a normalisation is computed digitally"
    COMPUTED = "another weight is computed from it"
    VECTOR = "a bias or vector is added digitally"
    EMPTY = "it has no elements"
    SCALE = "the scale of a quantised matrix is multiplied digitally"
    ADDED = "a free parameter with a batch dimension (a position or class token) is added"

    @classmethod
    def of_text(cls, reason: str) -> Why:
        """What a reason says that was written, by an earlier version, without its name.

        >>> Why.of_text("digital by request (2)").name, Why.of_text("torch.int8 is not floating point").name
        ('BY_REQUEST', 'NOT_FLOATING')
        """
        return max(cls, key=lambda why: len(why) if why in reason else 0)


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
    their converters; absent, the products of the programmed weights are exact.

    >>> from everychip.devices import Gaussian
    >>> Hardware(device=Gaussian(sigma=0.1)).table()["mapping"]["kind"]
    'bit_sliced'
    """

    device: Device
    mapping: CellMapping = BitSliced()
    digital: tuple[str, ...] = ()
    embeddings: bool = False
    array: Array | None = None

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
        """The same hardware with its device at another nominal σ.

        Args:
            sigma: the nominal σ, a fraction of G_max.

        Returns:
            The same hardware at that σ.
        """
        return self.replace(device=self.device.with_sigma(sigma))

    def at(self, time: float) -> Self:
        """The same hardware with its device read at another time since programming, in seconds.

        Args:
            time: seconds since programming.

        Returns:
            The same hardware at that time.
        """
        return self.replace(device=self.device.at(time))

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
        unmatched = set(self.digital)
        rows = []
        with exclusive(model):  # while another thread runs a chip, the model holds the chip's tensors
            parameters = list(_parameters(model))
        for names, owners, parameter in parameters:
            why, reason = self._place(names, owners, parameter, unmatched)
            columns = columns_of(owners.values())
            rows.append(Placement(names[0], parameter, tuple(owners), why, reason, columns))
        if unmatched:
            pattern = min(unmatched)
            raise ConfigError(
                "hardware.digital",
                found=f"{pattern!r}, which matches no parameter and no module",
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
                    found=f"weights in {_dtype(row.parameter)}, whose steps are coarser than a chip's noise",
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

    def _must_be_caught(self, model: nn.Module, held: list[Placement]) -> None:
        for row in held:
            if self.array is not None:
                must_be_caught(row.name, [(owner, model.get_submodule(owner)) for owner in row.owners])

    def _place(
        self, names: list[str], owners: dict[str, nn.Module], parameter: Tensor, unmatched: set[str]
    ) -> tuple[Why, str]:
        asked = [p for p in self.digital if any(_matches(p, name) for name in names)]
        unmatched.difference_update(asked)
        if asked:
            return Why.BY_REQUEST, f"{Why.BY_REQUEST} ({asked[0]})"
        why = _digital_value(names, list(owners.values()), parameter) or self._of_matrix(owners, parameter)
        return why, f"{parameter.dtype} is {why}" if why is Why.NOT_FLOATING else str(why)

    def _of_matrix(self, owners: dict[str, nn.Module], parameter: Tensor) -> Why:
        modules = list(owners.values())
        if all(isinstance(module, _EMBEDDINGS) for module in modules):
            return Why.EMBEDDING if self.embeddings else Why.LOOK_UP
        if any(_is_scale(parameter, module) for module in modules):
            return Why.SCALE
        if parameter.shape[0] == 1 and not _is_layer_weight(modules):
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


def _digital_value(names: list[str], modules: list[nn.Module], parameter: Tensor) -> Why | None:
    """Why a parameter is no matrix of products, or None if it is one."""
    if isinstance(parameter, UninitializedParameter):
        raise ModelError(
            names[0], found="a lazy parameter without a shape", remedy="run the model once on a batch"
        )
    if not parameter.is_floating_point():
        return Why.NOT_FLOATING
    if all(isinstance(module, _NORMS) for module in modules):
        return Why.NORMALISATION
    if any(_is_computed_from(module, name) for module in modules for name in names):
        return Why.COMPUTED
    leaf = names[0].rpartition(".")[2]
    attached = leaf in ("bias_k", "bias_v") and isinstance(modules[0], nn.MultiheadAttention)
    if parameter.ndim < 2 or attached:
        return Why.VECTOR
    if parameter.numel() == 0:
        return Why.EMPTY
    return None


def _is_scale(parameter: Tensor, module: nn.Module) -> bool:
    """Whether the module has a larger matrix in bytes: this is then its scale or zero point."""
    held = (*module._parameters.values(), *module._buffers.values())
    matrices = (t for t in held if t is not None and t.dtype in _BYTES and t.ndim > 1)
    return any(parameter.numel() < matrix.numel() for matrix in matrices)


def _dtype(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def _is_computed_from(module: nn.Module, name: str) -> bool:
    """Whether the module multiplies by a tensor that it makes of this parameter (both of torch's ways)."""
    if "parametrizations" in name.split("."):
        return True
    weight, _, part = name.rpartition(".")[2].rpartition("_")
    return part in ("orig", "g", "v") and isinstance(module.__dict__.get(weight), Tensor)


def _is_layer_weight(modules: list[nn.Module]) -> bool:
    layers = (nn.Linear, nn.Bilinear, nn.RNNBase, nn.RNNCellBase, nn.MultiheadAttention, *_CONVOLUTIONS)
    return any(isinstance(module, layers) for module in modules)


def _matches(pattern: str, name: str) -> bool:
    """Whether a glob names the parameter itself or any module that holds it."""
    parts = name.split(".")
    return any(fnmatchcase(".".join(parts[:end]), pattern) for end in range(1, len(parts) + 1))


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
