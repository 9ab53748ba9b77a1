"""What people bring: tensors of any task, streams, frames, and the overflow of an instrument."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file, save_model
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import everychip as ec
from everychip.cli import call
from everychip.device_fit import read_csv
from everychip.errors import ConfigError, DataError, ModelError
from everychip.rng import rng_for, seeded_global_generator

HW = ec.Hardware(device=ec.devices.Gaussian(sigma=0.1))
X = torch.randn(40, 6, generator=torch.Generator().manual_seed(0))
TARGETS: dict[str, Any] = {
    "multilabel": (X[:, :3] > 0).long(),
    "regression": X[:, :1] * 2,
}


def tensors(folder: Path, y: torch.Tensor) -> Path:
    file = folder / "mine.safetensors"
    save_file({"x_train": X, "y_train": y, "x_test": X.clone(), "y_test": y.clone()}, str(file))
    return file


@pytest.mark.parametrize("task", TARGETS)
def test_a_file_of_tensors_serves_every_task_at_the_command_line(tmp_path, capsys, monkeypatch, task):
    monkeypatch.chdir(tmp_path)
    y = TARGETS[task]
    file = tensors(tmp_path, y)
    model = ec.models.MLP(hidden=(8,)).build((6,), y.shape[1], seed=0)
    save_model(model, "net.safetensors")
    words = ["evaluate", "net.safetensors", "--set", "model.kind=mlp", "--set", "model.hidden=[8]"]
    words += ["--set", f"task={task}", "--set", "evaluation.chips=3"]
    words += [
        "--data",
        f'{{kind="tensors", path="{file}"}}',
        "--hardware",
        'device={kind="gaussian", sigma=0.1}',
    ]
    assert call([*words, "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    mapping = ec.mapping.BitSliced(scale="column")
    draws = ec.evaluate(model, HW.replace(mapping=mapping), (X, y), task=task, chips=3)
    (row,) = said["conditions"]
    assert row["mean"] == pytest.approx(float(draws.values.mean()))
    worst = draws.values.min() if draws.score.higher_is_better else draws.values.max()
    assert row["worst"] == pytest.approx(float(worst))
    assert said["score"]["name"] == draws.score.name
    assert said["digital"] == pytest.approx(draws.digital)
    assert call([*words, "--output", "shown"]) == 0
    assert draws.score.text(draws.digital) in capsys.readouterr().out


def batches() -> Any:
    return ((X[i : i + 10], (X[i : i + 10, 0] > 0).long()) for i in range(0, 40, 10))


def test_a_function_that_runs_the_chip_goes_through_a_stream_itself():
    def right(run: Any, data: Any) -> float:
        seen = [(run(part.x).argmax(1) == part.y).float() for part in data]
        return float(torch.cat(seen).mean())

    model = nn.Linear(6, 2)
    streamed = ec.evaluate(model, HW, ec.data.Stream(batches), score=right, chips=3)
    kept = ec.evaluate(model, HW, (X, (X[:, 0] > 0).long()), chips=3)
    assert streamed.values.tolist() == pytest.approx(kept.accuracy.tolist())


def test_sensitivity_of_a_stream_is_refused_in_one_line():
    with pytest.raises(ConfigError, match=r"^sensitivity.data: found a stream"):
        ec.sensitivity(nn.Linear(6, 2), HW, ec.data.Stream(batches), chips=2)


def test_a_streaming_set_of_the_hub_is_refused_with_what_takes_it():
    datasets = pytest.importorskip("datasets", reason="of the extra hub")
    table = datasets.Dataset.from_dict({"x": X.tolist(), "label": (X[:, 0] > 0).long().tolist()})
    with pytest.raises(DataError, match=r"row by row.*ec\.data\.Stream\(DataLoader"):
        ec.evaluate(nn.Linear(6, 2), HW, table.to_iterable_dataset(), chips=2)


def test_a_frame_of_pandas_own_numbers_is_read_as_one_of_numpy_s():
    pandas = pytest.importorskip("pandas", reason="of the extra pandas")
    plain = pandas.DataFrame(X.numpy().astype(np.float64), columns=list("abcdef"))
    own = plain.astype("Float64")
    for frame in (plain, own):
        frame["label"] = (X[:, 0] > 0).long().numpy()
    one, other = (ec.evaluate(nn.Linear(6, 2).requires_grad_(False), HW, f, chips=2) for f in (plain, plain))
    assert len(one) == len(other)
    model = nn.Linear(6, 2)
    assert torch.equal(
        ec.evaluate(model, HW, plain, chips=2).accuracy, ec.evaluate(model, HW, own, chips=2).accuracy
    )


CLASSES = (X[:, 0] > 0).long()
NAMES = np.array(["low", "up"])[CLASSES.numpy()]
NUMBERED = np.unique(NAMES, return_inverse=True)[1]


def a_frame(label: Any) -> Any:
    pandas = pytest.importorskip("pandas", reason="of the extra pandas")
    return pandas.DataFrame(X.numpy(), columns=list("abcdef")).assign(label=label)


def a_table(label: Any) -> Any:
    datasets = pytest.importorskip("datasets", reason="of the extra hub")
    return datasets.Dataset.from_dict({"x": X.tolist(), "label": label})


@pytest.mark.parametrize(
    ("data", "words", "mended"),
    [
        ((X, NAMES), r"y: found text, such as .*numpy.unique\(y, return_inverse", NUMBERED),
        ((X, NAMES.tolist()), r"y: found text, such as", NUMBERED),
        ((X, NAMES.astype(object)), r"y: found text, such as", NUMBERED),
        (a_frame(NAMES), r"data.label: found text, such as", NUMBERED),
        (a_table(NAMES.tolist()), r"data.label: found text, such as", NUMBERED),
        ((X, CLASSES.bool()), r"labels of type bool.*call y.long\(\)", CLASSES.bool().long()),
        (
            (X, CLASSES.bool().numpy()),
            r"labels of type bool.*y.astype\(int\)",
            CLASSES.bool().numpy().astype(int),
        ),
        (
            (X, CLASSES[:, None]),
            r"labels of shape \[40, 1\].*y\[:, 0\] if they are classes",
            CLASSES[:, None][:, 0],
        ),
        ((X, CLASSES.float()), r"labels of type float32.*call y.long\(\)", CLASSES.float().long()),
    ],
    ids=["array", "list", "objects", "frame", "hub", "bool tensor", "bool array", "one column", "floats"],
)
def test_labels_in_another_form_are_refused_with_what_makes_class_numbers_of_them(data, words, mended):
    model = nn.Linear(6, 2)
    for act in (
        lambda: ec.evaluate(model, HW, data, chips=2),
        lambda: ec.fit(model, "vanilla", data, hardware=HW, epochs=1, batch_size=8),
    ):
        with pytest.raises(DataError, match=words):
            act()
    found, plain = (ec.evaluate(model, HW, (X, y), chips=2) for y in (mended, CLASSES))
    assert found.accuracy.tolist() == plain.accuracy.tolist()


def test_missing_labels_are_counted_and_not_taken_for_numbers_to_be_predicted():
    y = CLASSES.double().numpy()
    y[3] = np.nan
    with pytest.raises(DataError, match="1 of them are missing"):
        ec.evaluate(nn.Linear(6, 2), HW, (X, y), chips=1)


def test_yes_and_no_columns_of_a_frame_are_ones_and_zeros():
    """As pandas.get_dummies makes them of categories."""
    frame = a_frame(CLASSES.numpy())
    frame["a"] = frame["a"] > 0
    numbers = frame.assign(a=frame["a"].astype(float))
    model = nn.Linear(6, 2)
    found, plain = (ec.evaluate(model, HW, one, chips=2) for one in (frame, numbers))
    assert found.nll.tolist() == plain.nll.tolist()
    only = ec.data.columns(frame, x=["a"], y="label").x
    assert only.dtype == torch.float32 and only[:, 0].tolist() == frame["a"].astype(float).tolist()
    with pytest.raises(DataError, match=r"data.b: found a column of .*; expected numbers; .*get_dummies"):
        ec.evaluate(model, HW, frame.assign(b=NAMES), chips=1)


@pytest.mark.parametrize(
    ("name", "reader"),
    [
        ("photos", 'datasets.load_dataset("imagefolder", data_dir='),
        ("mine.csv", "pandas.read_csv("),
        ("mine.parquet", "pandas.read_parquet("),
        ("mine.npz", "numpy.load("),
        ("mine.pt", "torch.load("),
        ("mine.safetensors", "ec.data.Tensors(path="),
        ("digit", "did you mean digits?"),
    ],
)
@pytest.mark.parametrize("form", [str, Path])
def test_a_path_is_refused_with_what_reads_it(tmp_path, name, reader, form):
    (tmp_path / "photos").mkdir()
    data = form(name if "." not in name and name != "photos" else tmp_path / name)
    for act in (
        lambda: ec.evaluate(nn.Linear(6, 2), HW, data, chips=1),
        lambda: ec.evaluate(nn.Linear(6, 2), HW, data, task="regression", chips=1),
        lambda: ec.fit(nn.Linear(6, 2), "vanilla", data, hardware=HW, epochs=1),
    ):
        with pytest.raises(DataError) as caught:
            act()
        line = str(caught.value)
        assert line.startswith("data: found the ") and reader in line
        assert name != "photos" or repr(str(tmp_path / name)) in line


def test_the_kind_of_a_data_set_is_the_data_set():
    model = ec.models.MLP(hidden=(8,)).build((1, 8, 8), 10, seed=0)
    found, plain = (ec.evaluate(model, HW, data, chips=2) for data in ("digits", ec.data.Digits()))
    assert found.accuracy.tolist() == plain.accuracy.tolist()


@pytest.mark.parametrize("shape", [(40, 5, 6), (40, 1, 8, 6)])
def test_a_model_that_answers_at_many_places_is_refused_before_any_chip(shape):
    x = torch.zeros(shape)
    with pytest.raises(
        ModelError, match=r"model output: found an output of shape .*one row of logits per input"
    ):
        ec.evaluate(nn.Linear(6, 2), HW, (x, CLASSES), chips=1)


def with_late(y: torch.Tensor, value: float) -> torch.Tensor:
    """The targets with one that is out of range, far from the first."""
    found = y.clone()
    found[35].reshape(-1)[0] = value
    return found


IMAGES = X.reshape(40, 1, 2, 3)
IDS = torch.randint(9, (40, 5), generator=torch.Generator().manual_seed(1))
LATE: dict[str, Any] = {
    "multilabel": (nn.Linear(6, 2), X, with_late((X[:, :2] > 0).long(), 2), "each 0 or 1"),
    "segmentation": (nn.Conv2d(1, 3, 1), IMAGES, with_late((IMAGES[:, 0] > 0).long(), 7), "found label 7"),
    "tokens": (
        nn.Sequential(nn.Embedding(9, 4), nn.Linear(4, 3)),
        IDS,
        with_late(IDS % 3, 8),
        "found label 8",
    ),
    "classification": (nn.Linear(6, 3), X, with_late(CLASSES, 5), "labels 0 … 5|label 5"),
}


@pytest.mark.parametrize("task", LATE)
@pytest.mark.parametrize("streamed", [False, True])
def test_a_target_out_of_range_far_from_the_first_is_refused_in_one_line(task, streamed):
    model, x, y, words = LATE[task]
    data = ec.data.Stream([(x[:20], y[:20]), (x[20:], y[20:])]) if streamed else (x, y)
    with pytest.raises(DataError, match=words):
        ec.evaluate(model, HW, data, task=task, chips=2)
    if not streamed:
        with pytest.raises(DataError, match=words):
            ec.sensitivity(model, HW, data, task=task, chips=2)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_targets_of_a_regression_that_are_no_numbers_are_counted(value):
    with pytest.raises(DataError, match="y: found 1 NaN or infinite targets"):
        ec.evaluate(nn.Linear(6, 1), HW, (X, with_late(X[:, :1], value)), task="regression", chips=2)


def test_boxes_of_a_class_that_there_is_not_are_refused_wherever_they_are():
    boxes = [{"boxes": torch.zeros(0, 4), "labels": torch.zeros(0).long()} for _ in range(9)]
    boxes[7] = {"boxes": torch.ones(1, 4), "labels": torch.tensor([12])}
    detector, task = nn.Conv2d(1, 6, 1), ec.tasks.Detection(classes=2)
    with pytest.raises(DataError, match="labels 12 … 12"):
        ec.evaluate(detector, HW, (torch.zeros(9, 1, 4, 4), boxes), task=task, chips=1)


def test_a_bunch_of_scikit_learn_is_its_data_and_target():
    from sklearn.datasets import load_iris

    bunch, model = load_iris(), nn.Linear(4, 3)
    pair = (bunch.data, bunch.target)
    found, plain = (ec.evaluate(model, HW, data, chips=2) for data in (bunch, pair))
    assert found.accuracy.tolist() == plain.accuracy.tolist()


def test_a_frame_beside_its_targets_is_read_as_its_numbers():
    pandas = pytest.importorskip("pandas", reason="of the extra pandas")
    frame = pandas.DataFrame(X.numpy(), columns=list("abcdef")).assign(a=X.numpy()[:, 0] > 0)
    numbers = torch.cat([(X[:, :1] > 0).float(), X[:, 1:]], dim=1)
    y, model = pandas.Series(CLASSES.numpy()), nn.Linear(6, 2)
    found, plain = (ec.evaluate(model, HW, data, chips=2) for data in ((frame, y), (numbers, CLASSES)))
    assert found.nll.tolist() == pytest.approx(plain.nll.tolist())
    with pytest.raises(DataError, match=r"x.b: found a column of .*get_dummies"):
        ec.evaluate(model, HW, (frame.assign(b=NAMES), y), chips=1)


def sparse() -> Any:
    from scipy.sparse import csr_matrix

    return csr_matrix(X.numpy())


def of_polars() -> Any:
    polars = pytest.importorskip("polars", reason="of the extra polars")
    return polars.DataFrame(
        {name: X[:, n].numpy() for n, name in enumerate("abcdef")} | {"label": CLASSES.numpy()}
    )


@pytest.mark.parametrize(
    ("data", "remedy"),
    [
        (lambda: (sparse(), CLASSES), r"x\.toarray\(\)"),
        (of_polars, r"data\.to_pandas\(\)"),
        (lambda: list(zip(X, CLASSES, strict=True)), r"default_collate\(items\)"),
        (lambda: [{"x": X, "label": CLASSES}] * 3, r"ec\.data\.Stream\(batches\)"),
    ],
    ids=["sparse", "polars", "items", "batches"],
)
def test_what_one_call_makes_readable_is_refused_with_that_call(data, remedy):
    with pytest.raises(DataError, match=remedy):
        ec.evaluate(nn.Linear(6, 2), HW, data(), chips=1)


@pytest.mark.parametrize(
    ("model", "x", "words"),
    [
        (nn.Linear(6, 1), X, 'one logit for each input.*task="multilabel"'),
        (nn.Sequential(nn.Linear(6, 1), nn.Flatten(0)), X, 'task="multilabel" for a network of one logit'),
        (nn.Linear(6, 2), (9 * X).long(), r"x\.to\(torch\.float32\)"),
        (nn.Linear(6, 2, device="meta"), X, "weight: found a weight without values, on the meta device"),
    ],
    ids=["one logit", "one logit without its axis", "whole numbers", "meta"],
)
def test_a_network_that_does_not_fit_its_data_is_refused_with_what_would(model, x, words):
    with pytest.raises(ModelError, match=words):
        ec.evaluate(model, HW, (x, CLASSES), chips=1)


def test_a_network_of_one_logit_is_a_multilabel_one_as_the_line_says():
    model = nn.Linear(6, 1)
    draws = ec.evaluate(
        model, ec.Hardware(device=ec.devices.Ideal()), (X, CLASSES), task="multilabel", chips=1
    )
    right = ((model(X)[:, 0] > 0) == CLASSES.bool()).double().mean()
    assert float(draws.scores["accuracy"][0]) == pytest.approx(float(right))


def test_a_network_without_values_is_checked_by_its_shapes():
    coverage = ec.check(nn.Sequential(nn.Linear(6, 4), nn.Linear(4, 2)).to("meta"), HW)
    assert coverage.parameters == (24 + 8) / (24 + 8 + 6)
    assert coverage.outliers == ()


@pytest.mark.parametrize("reading", ["9.9E+37", "-9.9e37", "9.91E37"])
def test_an_instrument_s_overflow_is_no_measurement(tmp_path, reading):
    rows = [f"{t},{t + 0.1 * (n % 3)}" for t in (0, 10, 20) for n in range(12)]
    file = tmp_path / "k.csv"
    file.write_text("\n".join(["target,measured", *rows, f"10,{reading}"]) + "\n")
    with pytest.raises(DataError, match="skip-invalid"):
        read_csv(file, unit="uS")
    read = read_csv(file, unit="uS", skip_invalid=True)
    assert len(read.target) == 36
    assert "1 of 37 rows left out" in read.notes[0]


def test_splits_by_name_are_read_as_the_splits_they_are():
    frame = pytest.importorskip("pandas").DataFrame
    other = torch.randn(200, 6, generator=rng_for(8))
    other = other, (other[:, 0] > 0).long()
    parts = {
        "pairs": (lambda x, y: (x, y)),
        "sets": TensorDataset,
        "loaders": lambda x, y: DataLoader(TensorDataset(x, y), batch_size=7),
        "frames": lambda x, y: frame(x.numpy()).assign(label=y.numpy()),
    }
    model = nn.Linear(6, 3)
    expected = ec.evaluate(model, HW, (X, CLASSES), chips=2).accuracy
    for form, of in parts.items():
        for name in ("test", "validation", "val"):
            data = {"train": of(*other), name: of(X, CLASSES)}
            assert torch.equal(ec.evaluate(model, HW, data, chips=2).accuracy, expected), form
    options = {"hardware": HW, "epochs": 10, "batch_size": 10, "lr": 0.05}
    once, again = (
        ec.fit(copy.deepcopy(model), "vanilla", data, **options)
        for data in (other, {"train": other, "test": (X, CLASSES)})
    )
    assert torch.equal(once.weight, again.weight)
    with pytest.raises(DataError, match=r'found splits train; expected one called test; data\["train"\]'):
        ec.evaluate(model, HW, {"train": other}, chips=1)


@pytest.mark.parametrize("data", [zip(X, X, strict=True), ((X, X) for _ in range(1))])
def test_what_can_be_gone_through_once_is_refused_with_what_keeps_it(data):
    with pytest.raises(DataError, match=r"list\(data\).*ec\.data\.Stream\(the function that makes it\)"):
        ec.evaluate(nn.Linear(6, 3), HW, data, chips=1)


class NextToken(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        with seeded_global_generator(0, "next token"):
            self.words, self.head = nn.Embedding(12, 8), nn.Linear(8, 12)

    def forward(self, input_ids, attention_mask=None):
        return self.head(self.words(input_ids))


def test_a_stream_of_text_needs_no_labels_and_its_refusal_says_how():
    ids = torch.randint(12, (20, 6), generator=rng_for(3))
    mask = torch.ones_like(ids)
    mask[:7, 4:] = 0
    batch, task = {"input_ids": ids, "attention_mask": mask}, {"kind": "tokens", "causal": True}
    kept = ec.evaluate(NextToken(), HW, batch, task=task, chips=2)
    halves = [{name: part[rows] for name, part in batch.items()} for rows in (slice(9), slice(9, 20))]
    streamed = ec.evaluate(
        NextToken(), HW, ec.data.Stream(lambda: halves, labelled=False), task=task, chips=2
    )
    assert streamed.perplexity.tolist() == pytest.approx(kept.perplexity.tolist(), rel=1e-12)
    with pytest.raises(DataError, match=r"stream: found a dict of input_ids, .*Stream\(…, labelled=False\)"):
        ec.evaluate(NextToken(), HW, ec.data.Stream(lambda: halves), task=task, chips=2)
