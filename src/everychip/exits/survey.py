"""What every submodule of a model puts out: which axis is the batch, which the features, which are space."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor, nn
from torch.nn.modules import batchnorm, conv, instancenorm, pooling

from everychip.data.inputs import Inputs, rows_of, taken
from everychip.errors import DataError, ModelError
from everychip.network.macs import Call, Features, Trace, trace

# Layers whose output tells on which axis the features are.
_SECOND = (
    conv._ConvNd,
    batchnorm._BatchNorm,
    instancenorm._InstanceNorm,
    nn.GroupNorm,
    pooling._MaxPoolNd,
    pooling._AvgPoolNd,
    pooling._AdaptiveAvgPoolNd,
    pooling._AdaptiveMaxPoolNd,
)
_LAST = (nn.Linear, nn.LayerNorm, nn.RNNBase, nn.MultiheadAttention, nn.Embedding)


@dataclass(frozen=True)
class Site:
    """Where an exit can be: a submodule, the layout of its output, and the size that is pooled to."""

    name: str
    batch_axis: int
    features_last: bool
    channels: int
    spatial: tuple[int, ...]
    dtype: torch.dtype
    device: torch.device
    pool: tuple[int, ...] = ()

    @property
    def features(self) -> int:
        """The length of the pooled and flattened features."""
        return self.channels * prod(self.pool)

    def arrange(self, output: Tensor) -> Tensor:
        """The submodule's output as [images, channels, *spatial].

        Args:
            output: what the submodule gave.

        Returns:
            [images, channels, *spatial].
        """
        if self.batch_axis:
            output = output.movedim(self.batch_axis, 0)
        return output.movedim(-1, 1) if self.features_last else output


@dataclass(frozen=True)
class Survey:
    """A traced model: its forward on two inputs, and the sites in the order they are computed."""

    trace: Trace
    sites: Mapping[str, Site]
    classes: int | None


def survey(model: nn.Module, sample: Inputs) -> Survey:
    """Run the model on two and on three inputs: the axis that grows with them is the batch.

    >>> model = torch.nn.Sequential(torch.nn.Conv1d(3, 5, 3), torch.nn.ReLU())
    >>> site = survey(model, torch.ones(1, 3, 9)).sites["1"]
    >>> site.batch_axis, site.channels, site.spatial
    (0, 5, (7,))
    """
    if (isinstance(sample, Tensor) and sample.dim() == 0) or rows_of(sample) == 0:
        raise DataError("exits.sample", found="no input", expected="a tensor that holds one input or more")
    held = rows_of(sample)
    two, three = (trace(model, taken(sample, torch.arange(n) % held)) for n in (2, 3))
    grown = {call.name: call.features for call in three.calls}
    last = {call.name: call for call in two.calls}
    layouts = _layouts(model, two.calls)
    sites = {}
    for call in two.calls:
        axis = _batch_axis(call.features, grown.get(call.name))
        if call is last[call.name] and call.features and axis is not None:
            sites[call.name] = _site(call.name, call.features, axis, layouts[call.name])
    return Survey(two, sites, _classes(two.output))


def output_classes(model: nn.Module, survey: Survey, *, otherwise: str | None = None) -> int:
    """The number of classes in the model's own output.

    Args:
        model: the network, for what errors call it.
        survey: of the model.
        otherwise: what else the caller takes in place of a row of logits per input.

    Returns:
        How many logits there are.
    """
    if survey.classes is None:
        remedies = [_axes(survey.trace.output), otherwise]
        raise ModelError(
            type(model).__name__,
            found="an output that is not one row of logits per input",
            expected="logits of shape [images, classes]",
            remedy="; ".join(one for one in remedies if one) or None,
        )
    return survey.classes


def _axes(output: Tensor | None) -> str | None:
    """Of an output at several places, the axes that its classes may be on."""
    if output is None or output.ndim < 3:
        return None
    shape = list(output.shape)
    return (
        f"axis=1 where the {shape[1]} of {shape} are classes at every place, as in segmentation, axis=-1 "
        f"where the {shape[-1]} are, as in tokens"
    )


def _classes(output: Tensor | None) -> int | None:
    rows = output is not None and output.dim() == 2 and output.shape[0] == 2 and output.is_floating_point()
    return int(output.shape[1]) if rows and output is not None else None


def _batch_axis(two: Features | None, three: Features | None) -> int | None:
    if two is None or three is None or len(two.shape) != len(three.shape) or len(two.shape) < 2:
        return None
    changed = [n for n, (a, b) in enumerate(zip(two.shape, three.shape, strict=True)) if a != b]
    grows = len(changed) == 1 and (two.shape[changed[0]], three.shape[changed[0]]) == (2, 3)
    return changed[0] if grows else None


def _layouts(model: nn.Module, calls: Iterable[Call]) -> dict[str, tuple[bool, int] | None]:
    """Per submodule, what the last telling layer before its end said: (features last, how many)."""
    layout: tuple[bool, int] | None = None
    seen = {}
    for call in calls:
        module = model.get_submodule(call.name)
        if call.features and len(call.features.shape) > 2 and isinstance(module, _SECOND + _LAST):
            last = isinstance(module, _LAST)
            layout = (last, call.features.shape[-1 if last else 1])
        seen[call.name] = layout
    return seen


def _site(name: str, features: Features, axis: int, layout: tuple[bool, int] | None) -> Site:
    shape = [features.shape[axis], *features.shape[:axis], *features.shape[axis + 1 :]]
    last = _features_last(shape, layout)
    channels, spatial = (shape[-1], shape[1:-1]) if last else (shape[1], shape[2:])
    return Site(name, axis, last, channels, tuple(spatial), features.dtype, features.device)


def _features_last(shape: list[int], layout: tuple[bool, int] | None) -> bool:
    if len(shape) == 2:
        return False
    if layout is None:
        return len(shape) == 3
    last, features = layout
    # The model may have moved the axes since, as a vision transformer does with its patches.
    here, there = (shape[-1], shape[1]) if last else (shape[1], shape[-1])
    return last if here == features or there != features else not last
