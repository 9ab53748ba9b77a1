"""A few inputs of whatever holds some: what a network is tried, counted and sized with."""

from __future__ import annotations

from typing import Any

from torch.utils.data import DataLoader, Dataset

from everychip.data.base import Data
from everychip.data.columns import is_table
from everychip.data.convert import as_examples
from everychip.data.examples import Examples
from everychip.data.inputs import Inputs, batch, taken
from everychip.data.stream import Stream
from everychip.data.values import Splits

_FEW = slice(2)


def sample_of(data: Any, *, where: str = "sample") -> Inputs:
    """The first two inputs of a batch, a loader, a stream, a table or a set, as a model takes them.

    A pair is two inputs: here nothing says that the second one is targets.

    Args:
        data: inputs alone; or a `Stream`, a DataLoader, a Dataset of torch or of the hub, a pandas frame, a
            component of `everychip.data` or Examples, whose targets are left out.
        where: what errors call it.

    Returns:
        At most two inputs.

    >>> import torch
    >>> pairs = torch.utils.data.TensorDataset(torch.zeros(8, 4), torch.zeros(8))
    >>> sample_of(DataLoader(pairs, batch_size=4)).shape, sample_of(torch.zeros(8, 4)).shape
    (torch.Size([2, 4]), torch.Size([2, 4]))
    """
    if isinstance(data, DataLoader) and (data.batch_size is not None or data.batch_sampler is not None):
        data = Stream(data, labelled=False)
    if isinstance(data, Stream):
        return data.first().x
    if isinstance(data, Data | Splits | Examples | Dataset | DataLoader) or is_table(data):
        return taken(as_examples(data, split="test", labelled=False, where=where).x, _FEW)
    batch(data, where)
    return taken(data, _FEW)
