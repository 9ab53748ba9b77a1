"""The addresses that the draws of named parameters have, whatever wraps the model."""

from __future__ import annotations

import re
from collections.abc import Iterable

_WRAPPERS = ("_orig_mod.", "_fsdp_wrapped_module.", "_checkpoint_wrapped_module.")
"""What PyTorch's wrappers put into the names of the parameters below them."""


def addresses(names: Iterable[str]) -> dict[str, str]:
    """The names that the draws of these parameters go by: the same whether or not a model is wrapped.

    `module.` is a wrapper's where all names begin with it, as in `DistributedDataParallel` and
    `AveragedModel`.

    >>> addresses(["_orig_mod.0.weight"]), addresses(["module.0.weight", "head.weight"])
    ({'_orig_mod.0.weight': '0.weight'}, {'module.0.weight': 'module.0.weight', 'head.weight': 'head.weight'})
    """
    plain = {name: re.sub("|".join(map(re.escape, _WRAPPERS)), "", name) for name in names}
    while plain and all(name.startswith("module.") for name in plain.values()):
        plain = {name: short.removeprefix("module.") for name, short in plain.items()}
    return plain
