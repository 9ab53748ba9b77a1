"""What every test and every docstring example shares: one thread, and a generator of its own."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before PyTorch starts its threads; child processes inherit it

import pytest
import torch

from everychip.rng import seeded_global_generator

ROOT = Path(__file__).parent


def shared_data_folder() -> Path | None:
    """Local copies of hub data sets: EVERYCHIP_DATA, or a folder shared/data beside the checkout."""
    folder = Path(os.environ.get("EVERYCHIP_DATA") or ROOT.parent / "shared" / "data")
    return folder if folder.is_dir() else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if shared_data_folder() is None:
        for item in items:
            if item.get_closest_marker("shared_data"):
                item.add_marker(pytest.mark.skip(reason="no local data sets: set EVERYCHIP_DATA"))


@pytest.fixture(autouse=True)
def _generator_of_its_own(request: pytest.FixtureRequest) -> Iterator[None]:
    """A test may build layers with PyTorch's global generator; what it draws depends on its name alone."""
    with seeded_global_generator(0, "test", request.node.nodeid):
        yield


@pytest.fixture(autouse=True)
def _threads_restored() -> Iterator[None]:
    """A test that sets PyTorch's threads does not set them for the next one."""
    threads = torch.get_num_threads()
    yield
    if torch.get_num_threads() != threads:
        torch.set_num_threads(threads)


@pytest.fixture
def global_generators_untouched() -> Iterator[None]:
    """Fails the test if it moved PyTorch's, NumPy's or Python's global generator."""
    import random

    import numpy as np

    torch_before = torch.get_rng_state()
    numpy_before, python_before = np.random.get_state(), random.getstate()
    yield
    assert torch.equal(torch_before, torch.get_rng_state()), "PyTorch's global generator was moved"
    assert repr(numpy_before) == repr(np.random.get_state()), "NumPy's global generator was moved"
    assert python_before == random.getstate(), "Python's global generator was moved"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """A headless Chromium: Debian's package, or what CHROMIUM names."""
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: extra dev")
    names = ("chromium", "chromium-browser", "google-chrome")
    path = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, names)), None)
    if not path:
        pytest.skip("no chromium: apt-get install chromium, or name one in the variable CHROMIUM")
    with api.sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture(scope="session")
def root() -> Path:
    """The folder of the checkout."""
    return ROOT


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of local data sets; the test is skipped where there is none."""
    folder = shared_data_folder()
    if folder is None:
        pytest.skip("no local data sets: set EVERYCHIP_DATA")
    return folder
