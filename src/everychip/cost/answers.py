"""What an answer of a network whose exits stay takes: multiplications, layers, energy and time per input."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from pydantic.dataclasses import dataclass
from torch import Tensor, nn

from everychip.config.columns import VALUES
from everychip.cost.components import Components
from everychip.cost.counting import Format
from everychip.cost.estimate import estimate_matrices, hardware_format, layer_formats
from everychip.cost.matrices import Matrix, matrices
from everychip.errors import ConfigError
from everychip.exits import multi_exit
from everychip.exits.macs import Route, routes
from everychip.hardware.hardware import Hardware
from everychip.policies import Last, Only, Policy
from everychip.policies.early import SHARES

SLACK = 1e-3
"""By which shares that were rounded to four digits may miss a sum of 1."""


@dataclass(frozen=True, config=VALUES)
class Answer:
    """What one input takes on average until it is answered.

    name: "exit n" or "last" (that output alone), "combined", or "early". macs, layers: multiply-accumulates
    and matrices, digital ones included. energy_j in J, latency_s in s: of what stands on the crossbar, one
    layer after the other. of_combined: the MACs over those of `combined`.
    """

    name: str
    macs: float
    layers: float
    energy_j: float
    latency_s: float
    of_combined: float

    def facts(self) -> dict[str, Any]:
        """The same as a record keeps it."""
        return dict(vars(self))


@dataclass(frozen=True, config=VALUES)
class Answers:
    """The ways of one network to its outputs on one hardware, each with its cost.

    alone: "exit 1" … "exit N" and "last": the backbone up to there, and the head of that exit only. leaving:
    an input that leaves at each output, the combination's last, with every head on the way.
    """

    alone: tuple[Answer, ...]
    leaving: tuple[Answer, ...]

    @property
    def combined(self) -> Answer:
        """What every input takes where all outputs are combined."""
        return self.leaving[-1]

    def early(self, shares: Sequence[float]) -> Answer:
        """The mean over inputs of which these shares leave at each output.

        Args:
            shares: of the inputs that leave at exits 1 … N, and of those that get the combination; they sum
                to 1. `Early` measures them on validation chips (`draws.treatment`).
        """
        if len(shares) != len(self.leaving) or min(shares) < 0 or abs(sum(shares) - 1) > SLACK:
            raise ConfigError(
                "shares",
                found=str(list(shares)),
                expected=f"{len(self.leaving)} shares, one for each output, that sum to 1",
            )
        means = [
            sum(share * getattr(answer, name) for share, answer in zip(shares, self.leaving, strict=True))
            for name in ("macs", "layers", "energy_j", "latency_s", "of_combined")
        ]
        return Answer("early", *means)

    def of(self, policy: Policy | None, facts: Iterable[Mapping[str, Any]] = ()) -> Answer:
        """What a policy takes; `early` by the shares that it reported in `draws.treatment`."""
        shares = next((fact[SHARES] for fact in facts if SHARES in fact), None)
        if shares is not None:
            return self.early(shares)
        if isinstance(policy, Only):
            return self.alone[policy.exit - 1]
        if isinstance(policy, Last):
            return self.alone[-1]
        return self.combined if policy is None else replace(self.combined, name=policy.kind)

    def rows(self, shares: Sequence[float] | None = None) -> tuple[Answer, ...]:
        """Every answer: each output alone, the combination, and `early` where its shares are known."""
        return (*self.alone, self.combined, *(() if shares is None else (self.early(shares),)))


def answers(
    network: nn.Module, hardware: Hardware, sample: Tensor, *, components: Components | None = None
) -> Answers:
    """Count what each way to answer takes of a network whose exits stay, and estimate energy and time.

    Args:
        network: a network with exits (`everychip.MultiExit`); any other is refused.
        hardware: what it is programmed into; what that keeps digital has MACs but no energy here.
        sample: a batch as the network takes it.
        components: the table of energies and times; the shipped one by default.

    Returns:
        The answers, per input.

    >>> import torch, everychip as ec
    >>> net = ec.MultiExit(nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 4)), torch.ones(2, 8))
    >>> found = answers(net, ec.Hardware(device=ec.devices.Gaussian(sigma=0.1)), torch.ones(2, 8))
    >>> [(one.name, int(one.macs), one.layers) for one in found.rows()]
    [('exit 1', 768, 3.0), ('last', 192, 2.0), ('combined', 832, 4.0)]
    >>> found.early([0.5, 0.5]).macs
    800.0
    """
    network = multi_exit(network, where="cost")
    table = components or Components.shipped()
    form = hardware_format(hardware, table)
    held = {matrix.name: matrix for matrix in matrices(network, hardware, sample)}
    ways = routes(network, sample)
    every = _combined(ways)
    own = layer_formats(hardware, list(held.values()), table)
    price = _Price(held, form, own, table, every.macs + every.head_macs)
    alone = tuple(price.of(way.name, way.backbone, way.head, way.macs + way.head_macs) for way in ways)
    return Answers(alone, tuple(price.of(*_leaving(ways, n)) for n in range(len(ways))))


def _combined(ways: Sequence[Route]) -> Route:
    last = ways[-1]
    heads = tuple(name for way in ways for name in way.head)
    return Route("combined", last.backbone, heads, last.macs, sum(way.head_macs for way in ways))


def _leaving(ways: Sequence[Route], n: int) -> tuple[str, tuple[str, ...], tuple[str, ...], int]:
    """An input that leaves at output n has met every head up to there."""
    met = ways[: n + 1]
    name = "combined" if n == len(ways) - 1 else f"leaving at exit {n + 1}"
    heads = tuple(name for way in met for name in way.head)
    return name, ways[n].backbone, heads, ways[n].macs + sum(way.head_macs for way in met)


@dataclass(frozen=True, config=VALUES)
class _Price:
    """What a set of matrices costs; `whole` are the MACs of the combination."""

    held: Mapping[str, Matrix]
    form: Format
    own: Mapping[str, Format]
    table: Components
    whole: int

    def of(self, name: str, backbone: tuple[str, ...], heads: tuple[str, ...], macs: int) -> Answer:
        used = [self.held[one] for one in (*backbone, *heads) if one in self.held]
        cost = estimate_matrices(used, self.form, self.table, own=self.own) if used else None
        energy, latency = (0.0, 0.0) if cost is None else (cost.energy_j, cost.latency_s)
        return Answer(name, macs, len(backbone) + len(heads), energy, latency, macs / self.whole)
