"""How much memory a device has free, and how much a batch takes there."""

from __future__ import annotations

import torch
from torch import Tensor

from everychip.data.inputs import Inputs, leaves


def free_bytes(device: torch.device) -> int:
    """What an NVIDIA or AMD GPU has free beside what PyTorch keeps for itself; of others 0: it is not known.

    >>> free_bytes(torch.device("cpu"))
    0
    """
    return torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else 0


def bytes_of(x: Inputs) -> int:
    """What the tensors of a batch take, those in its lists, too.

    >>> bytes_of((torch.zeros(3, 2), {"a": [torch.zeros(4), "text"]}))
    40
    """
    parts = [item for leaf in leaves(x) for item in (leaf if isinstance(leaf, list) else [leaf])]
    return sum(part.nbytes for part in parts if isinstance(part, Tensor))
