"""Randomness: every sampler takes a generator, and every generator has an address."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from numbers import Integral, Real
from typing import Any

import torch

from everychip.config.validation import whole


def seed_for(seed: int, *path: str | int) -> int:
    """The 63-bit seed that stands at an address below `seed`; a number is the same whatever type it has.

    >>> seed_for(0, "chip", 5, "conv1.weight") == seed_for(0, "chip", 5, "conv1.weight")
    True
    >>> seed_for(0, "chip", 5) == seed_for(0, "chip", "5")
    False
    """
    address = "\x1f".join(map(_written, (whole(seed, "seed"), *path)))
    digest = hashlib.blake2b(address.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


def _written(part: Any) -> str:
    """A part of an address: texts and numbers of numpy and PyTorch as Python's own of the same value."""
    if type(part) in (str, int):  # nearly every part, several times a layer and chip
        return repr(part)
    if isinstance(part, str):
        return repr(str.__str__(part))
    if isinstance(part, bool):
        return repr(part)
    if isinstance(part, Real) and not isinstance(part, Integral):
        return repr(float(part))
    return repr(whole(part, "the address of a draw"))


def rng_for(seed: int, *path: str | int, device: torch.device | str = "cpu") -> torch.Generator:
    """A fresh generator for one address, so that a draw depends on nothing but its name.

    The same address gives the same stream alone, in a batch, on another worker and after a crash.
    PyTorch's CPU generator keeps 32 bits of the seed, so two of n addresses share a stream with
    probability about n²/2³³.

    Args:
        seed: of all draws, a whole number.
        path: names and whole numbers, from the general to the particular.
        device: where it draws.

    Returns:
        A fresh generator.

    >>> import torch
    >>> a = torch.randn(3, generator=rng_for(0, "chip", 1))
    >>> b = torch.randn(3, generator=rng_for(0, "chip", 1))
    >>> torch.equal(a, b)
    True
    """
    return torch.Generator(device).manual_seed(seed_for(seed, *path))


@contextmanager
def seeded_global_generator(seed: int, *path: str | int) -> Iterator[None]:
    """Let code that reads PyTorch's global generator (dropout, initialisation) draw from an address.

    Inside, the global generator starts at the address; afterwards it is where it was before.

    >>> import torch
    >>> before = torch.random.get_rng_state()
    >>> with seeded_global_generator(0, "dropout", 1):
    ...     _ = torch.nn.Linear(2, 2)
    >>> torch.equal(before, torch.random.get_rng_state())
    True
    """
    devices = range(torch.cuda.device_count()) if torch.cuda.is_available() else []
    with torch.random.fork_rng(devices=devices):
        start = seed_for(seed, *path)
        torch.default_generator.manual_seed(start)
        for index in devices:
            torch.cuda.default_generators[index].manual_seed(start)
        yield
