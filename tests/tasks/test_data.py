"""What people have: dict batches, tables of the hub, pandas, streams larger than memory, images as bytes."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

import everychip as ec
from everychip.data import Arrays, Stream, as_arrays, as_examples, columns
from everychip.errors import ConfigError, DataError, ModelError
from everychip.rng import rng_for, seeded_global_generator

HW = ec.Hardware(device=ec.devices.Gaussian(sigma=0.1))
X = torch.randn(40, 8, generator=rng_for(0, "x"))
Y = (X[:, 0] > 0).long()


def net(outputs: int = 2) -> nn.Sequential:
    with seeded_global_generator(0, "net"):
        return nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, outputs)).eval()


class Dicts(Dataset):
    def __len__(self):
        return len(X)

    def __getitem__(self, index):
        return {"x": X[index], "label": Y[index]}


def test_everything_that_holds_the_same_rows_gives_the_same_draws():
    import datasets
    import pandas as pd

    frame = pd.DataFrame(X.numpy()).assign(target=Y.numpy())
    table = datasets.Dataset.from_dict({"features": X.tolist(), "label": Y.tolist(), "idx": list(range(40))})
    both = datasets.DatasetDict({"train": table.select(range(5)), "test": table})
    forms = {
        "tensors": (X, Y),
        "numpy": (X.numpy().astype(np.float64), Y.numpy()),
        "two splits": ((X[:5], Y[:5]), (X, Y)),
        "dict": {"x": X, "labels": Y},
        "dict loader": DataLoader(Dicts(), batch_size=7),
        "dict items": Dicts(),
        "hub": table,
        "hub splits": both,
        "pandas": frame,
        "pandas columns": columns(frame, x=list(range(8)), y="target"),
        "stream": Stream(DataLoader(Dicts(), batch_size=7), chips=2),
    }
    model = net()
    expected = ec.evaluate(model, HW, (X, Y), chips=3)
    for name, data in forms.items():
        found = ec.evaluate(model, HW, data, chips=3)
        assert torch.equal(found.accuracy, expected.accuracy), name
        assert torch.allclose(found.nll, expected.nll, rtol=1e-6), name
        assert found.images == 40 and found.whole_test, name


def test_training_takes_tables_and_dict_loaders_and_their_training_split():
    import datasets

    table = datasets.Dataset.from_dict({"features": X.tolist(), "label": Y.tolist()})
    for data in (datasets.DatasetDict({"train": table, "test": table}), DataLoader(Dicts(), batch_size=7)):
        model = ec.fit(net(), "vanilla", data, hardware=HW, epochs=2, batch_size=8, lr=0.01)
        same = ec.fit(net(), "vanilla", (X, Y), hardware=HW, epochs=2, batch_size=8, lr=0.01)
        assert all(torch.equal(a, b) for a, b in zip(model.parameters(), same.parameters(), strict=True))


def test_images_of_the_hub_are_scaled_as_said_or_refused():
    import datasets
    from PIL import Image

    pixels = np.arange(4 * 6 * 5 * 3, dtype=np.uint8).reshape(4, 6, 5, 3)
    images = [Image.fromarray(one) for one in pixels]
    table = datasets.Dataset.from_dict({"picture": images, "label": [0, 1, 0, 1]})
    table = table.cast_column("picture", datasets.Image())
    with pytest.raises(DataError, match=r"data.picture.*mean and std"):
        as_examples(table)
    found = columns(table, mean=0.5, std=0.25)
    expected = (torch.from_numpy(pixels).permute(0, 3, 1, 2) / 255 - 0.5) / 0.25
    assert torch.allclose(found.x, expected, atol=1e-6)


def test_text_is_left_out_unless_it_is_asked_for():
    import datasets

    table = datasets.Dataset.from_dict(
        {
            "text": ["a", "b"],
            "input_ids": [[1, 2], [3, 4]],
            "attention_mask": [[1, 1], [1, 0]],
            "label": [0, 1],
        }
    )
    assert sorted(columns(table).x) == ["attention_mask", "input_ids"]
    with pytest.raises(DataError, match="tokens first"):
        columns(table, x="text")
    with pytest.raises(DataError, match="none of numbers or images"):
        columns(table.select_columns(["text", "label"]))


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ({"x": X}, "found a dict of x.*labels"),
        ((X, torch.eye(2, dtype=torch.long)[Y]), r"one-hot labels.*y.argmax\(1\)"),
        ((X, X[:, 0]), 'task="regression"'),
        ((X, X[:, :3]), 'task="multilabel"'),
        ((X, torch.zeros(39).long()), "40 inputs and 39 labels"),
        (Stream, "Stream|type"),
    ],
)
def test_what_cannot_be_read_is_refused_with_the_remedy(data, words):
    with pytest.raises(DataError, match=words):
        ec.evaluate(net(), HW, data, chips=1)


def test_a_missing_split_or_column_names_the_known_ones():
    import datasets

    table = datasets.Dataset.from_dict({"a": [[0.0]], "label": [0]})
    with pytest.raises(DataError, match="splits odd.*one called test"):
        as_arrays(datasets.DatasetDict({"odd": table}), split="test")
    with pytest.raises(DataError, match="no column 'b'.*known: a, label"):
        columns(table, x="b")
    with pytest.raises(DataError, match="no column 'c'"):
        columns(table, y="c")


@pytest.mark.parametrize(
    ("x", "words"),
    [
        (torch.zeros(4, 8, 8, 3), r"x.permute\(0, 3, 1, 2\)"),
        (torch.zeros(4, 3, 8, 8, dtype=torch.uint8), r"\(x / 255 - mean\) / std"),
    ],
)
def test_images_with_channels_last_and_bytes_are_refused_with_the_remedy(x, words):
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(144, 2))
    with pytest.raises(ModelError, match=words):
        ec.evaluate(model, HW, (x, torch.tensor([0, 1, 0, 1])), chips=1)


def test_a_stream_is_read_once_for_several_chips_and_equals_memory():
    reads = []

    def batches():
        reads.append(1)
        return ((X[i : i + 7], X[i : i + 7, :3]) for i in range(0, 40, 7))

    model = net(3)
    streamed = ec.evaluate(model, HW, Stream(batches, chips=3), task="regression", chips=6)
    kept = ec.evaluate(model, HW, (X, X[:, :3]), task="regression", chips=6)
    assert len(reads) == 1 + 2, "once to look at two inputs, then once for every three chips"
    assert torch.allclose(streamed.RMSE, kept.RMSE, rtol=1e-9)
    assert streamed.images == 40


def test_streams_that_cannot_be_read_again_or_are_empty_are_refused():
    with pytest.raises(DataError, match="gone through once"):
        Stream((X, Y) for _ in range(1))
    with pytest.raises(DataError, match="no batch"):
        ec.evaluate(net(), HW, Stream(lambda: iter(())), chips=1)
    with pytest.raises(ConfigError, match="all of the data"):
        ec.evaluate(net(), HW, Stream([(X, Y)]), images=3, chips=1)
    with pytest.raises(ConfigError, match="a stream that is not kept"):
        ec.evaluate(net(), HW, Stream([(X, Y)]), score=lambda p, t: 0, chips=1)


LARGER_THAN_MEMORY = """
import resource, torch, everychip as ec
from torch import nn

torch.set_num_threads(1)
hw = ec.Hardware(device=ec.devices.Gaussian(sigma=0.1))
model = nn.Sequential(nn.Flatten(), nn.Linear(3 * 64 * 64, 4))
small = torch.zeros(2, 3, 64, 64), torch.tensor([0, 1])
ec.evaluate(model, hw, small, chips=1)  # what is imported on the way counts for nothing
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
allowed = 256 * 2**20
resource.setrlimit(resource.RLIMIT_AS, (used + allowed, used + allowed))
batch, batches = 200, 60
size = batch * batches * 3 * 64 * 64 * 4
assert size > 2 * allowed, size

def read():
    for n in range(batches):
        x = torch.randn(batch, 3, 64, 64, generator=ec.rng_for(0, n))
        yield x, torch.arange(batch) % 4

draws = ec.evaluate(model, hw, ec.data.Stream(read, chips=2), chips=2)
assert draws.images == batch * batches
try:
    kept = [part for part in read()]
except (MemoryError, RuntimeError):
    print("bounded", draws.images)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="/proc and RLIMIT_AS")
def test_a_set_larger_than_the_allowed_memory_is_evaluated_in_bounded_memory():
    command = [sys.executable, "-c", LARGER_THAN_MEMORY]
    # Freed batches go back to the system: else the heap's gaps count as used, now and then all of them.
    own = {**os.environ, "MALLOC_MMAP_THRESHOLD_": str(2**20)}
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=own)
    assert done.stdout.split() == ["bounded", "12000"], done.stderr[-2000:]


def test_several_inputs_are_rows_of_one_batch():
    pair = Arrays((X, X[:, :2]), Y)
    assert [len(part) for part in pair.take([0, 1]).x] == [2, 2]
    with pytest.raises(DataError, match="40 and 39|39 and 40"):
        Arrays((X, X[:39]), Y)
