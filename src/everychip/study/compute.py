"""What a run may use of the machine: how many threads, and whether a GPU."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Literal

from pydantic import Field

from everychip.config.component import Config
from everychip.errors import ConfigError

_DEFAULT_THREADS = 2


class Compute(Config):
    """What a run may use of the machine; another threads or gpu is another run, for it changes the last bits.

    threads: of PyTorch, whose number orders the sums; at most the cores of the machine that runs it, or 2.
    gpu: "cuda" trains and measures on the first NVIDIA GPU; absent, on the processor. A GPU draws other
    chips from the same seed, so it compares with runs on a GPU only.

    >>> Compute(gpu="cuda").place, Compute().place
    ('cuda', 'cpu')
    """

    threads: Annotated[int, Field(ge=1, le=65_536)] = _DEFAULT_THREADS
    gpu: Literal["cuda"] | None = None

    @property
    def place(self) -> str:
        """The torch device that the model and its chips lie on."""
        return self.gpu or "cpu"

    def must_be_here(self) -> None:
        """Raise ConfigError where this machine has no such GPU, or not so many cores."""
        import torch

        most = max(_DEFAULT_THREADS, os.cpu_count() or 1)
        if self.threads > most:
            raise ConfigError(
                "compute.threads",
                found=f"{self.threads}, while this machine has {os.cpu_count()} cores",
                expected=f"at most {most}",
                remedy="another number of threads is another run: compute.threads",
            )
        if self.gpu is not None and not torch.cuda.is_available():
            raise ConfigError(
                "compute.gpu",
                found=f'"{self.gpu}", while PyTorch {torch.__version__} finds no GPU here',
                expected="a GPU, its driver and a CUDA build of PyTorch",
                remedy="leave compute.gpu out to run on the processor",
            )

    @contextmanager
    def used(self) -> Iterator[None]:
        """Let PyTorch use so much inside; ConfigError where it is not there."""
        import torch

        self.must_be_here()
        before = torch.get_num_threads()
        torch.set_num_threads(self.threads)
        try:
            if self.gpu is None:
                yield
            else:
                with _same_bits_each_time():
                    yield
        finally:
            torch.set_num_threads(before)


@contextmanager
def _same_bits_each_time() -> Iterator[None]:
    """CUDA without its faster ways that change from run to run, and float32 that is not rounded to TF32."""
    import torch

    # cuBLAS reads it once, when it is first used.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    known = torch.are_deterministic_algorithms_enabled()
    warned = torch.is_deterministic_algorithms_warn_only_enabled()
    exact = torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False)
    with exact, warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*deterministic")
        torch.use_deterministic_algorithms(True, warn_only=True)
        try:
            yield
        finally:
            torch.use_deterministic_algorithms(known, warn_only=warned)
