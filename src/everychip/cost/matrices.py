"""The matrices of a network as a crossbar sees them: inputs on rows, outputs on columns, how often read."""

from __future__ import annotations

from math import prod

from pydantic.dataclasses import dataclass
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

from everychip.config.columns import VALUES
from everychip.hardware.coverage import Coverage, check
from everychip.hardware.hardware import Hardware
from everychip.hardware.placement import Placed
from everychip.mapping.columns import Columns


@dataclass(frozen=True, config=VALUES)
class Matrix:
    """One parameter: `groups` blocks of inputs·kernel rows and `outputs` columns, read `vectors` times.

    inputs: channels of a group. kernel: positions of a convolution, 1 elsewhere. vectors: per network input.
    """

    name: str
    inputs: int
    outputs: int
    kernel: int = 1
    groups: int = 1
    vectors: int = 1

    @property
    def weights(self) -> int:
        """How many numbers it holds."""
        return self.groups * self.inputs * self.kernel * self.outputs

    @property
    def macs(self) -> int:
        """Multiply-accumulates per input of the network."""
        return self.weights * self.vectors


def matrices(model: nn.Module, hardware: Hardware, sample: Tensor) -> tuple[Matrix, ...]:
    """What the crossbar holds of a network, in the network's own order.

    >>> from everychip.devices import Gaussian; import torch
    >>> hw = Hardware(device=Gaussian(sigma=0.1))
    >>> matrices(nn.Sequential(nn.Conv2d(2, 4, 3)), hw, torch.ones(1, 2, 5, 5))
    (Matrix(name='0.weight', inputs=2, outputs=4, kernel=9, groups=1, vectors=9),)
    """
    coverage: Coverage = check(model, hardware, sample)
    columns, parameters = Placed.of(model, hardware).columns, dict(model.named_parameters())
    found = []
    for row in coverage.rows:
        if row.crossbar:
            owner = model.get_submodule(row.name.rpartition(".")[0])
            vectors = (row.macs or 0) // row.parameters
            found.append(_matrix(row.name, parameters[row.name], owner, columns[row.name], vectors))
    return tuple(found)


def _matrix(name: str, weight: Tensor, owner: nn.Module, columns: Columns, vectors: int) -> Matrix:
    shape = tuple(weight.shape)
    if isinstance(owner, _ConvTransposeNd):  # each input position feeds all kernel positions of the output
        kernel, groups = prod(shape[2:]), owner.groups
        return Matrix(name, shape[0] // groups, shape[1] * kernel, 1, groups, vectors)
    if isinstance(owner, _ConvNd):
        groups = owner.groups
        return Matrix(name, shape[1], shape[0] // groups, prod(shape[2:]), groups, vectors)
    outputs = shape[columns.axis]
    return Matrix(name, weight.numel() // outputs, outputs, 1, 1, vectors)
