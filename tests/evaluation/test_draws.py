"""Draws hold one row per chip, join what was divided, and compare only what met the same chips."""

from __future__ import annotations

import dataclasses
import os
import sys
from html.parser import HTMLParser
from pathlib import Path

import duckdb
import pytest
import torch

from everychip.errors import DataError, MissingExtraError, StoreError
from everychip.evaluation.draws import Draws
from everychip.rng import rng_for
from everychip.statistics.paired_comparison import compare
from everychip.statistics.stopping import Until
from everychip.statistics.verdict import verdict
from everychip.tasks.metrics import METRICS, per_chip


def draws(
    chips: list[int], *, seed: int = 0, images: int = 60, whole_test: bool = True, gain: float = 0
) -> Draws:
    """Draws of a stand-in network whose logits depend on the chip's number alone."""
    rows = []
    for chip in chips:
        logits = torch.randn(images, 3, generator=rng_for(seed, "draws", chip))
        logits[:, 0] += 1 + gain
        rows.append(per_chip(logits, torch.zeros(images, dtype=torch.long)))
    return Draws.of(rows, seed=seed, images=images, chips=chips, whole_test=whole_test)


def same(a: Draws, b: Draws) -> bool:
    return a.columns() == b.columns()


def test_draws_divided_among_workers_join_to_those_of_one() -> None:
    whole = draws([0, 1, 2, 3, 4, 5])
    assert same(Draws.join([draws([4, 5]), draws([0, 3]), draws([2, 1])]), whole)
    assert same(Draws.join([whole]), whole)


def test_columns_are_plain_lists_of_one_entry_per_chip() -> None:
    got = draws([3, 1], seed=7).columns()
    assert list(got) == [*METRICS, "chip", "seed", "images", "whole_test"]
    assert got["chip"] == [3, 1]
    assert got["seed"] == [7, 7]
    assert got["images"] == [60, 60]
    assert got["whole_test"] == [True, True]
    assert all(type(value) is float for name in METRICS for value in got[name])
    assert {type(value) for value in got["whole_test"]} == {bool}


def test_columns_keep_the_metrics_to_the_last_bit() -> None:
    made = draws([0, 1, 2])
    columns = made.columns()
    back = Draws(
        scores={name: torch.tensor(columns[name], dtype=torch.float64) for name in METRICS},
        chip=torch.tensor(columns["chip"]),
        seed=0,
        images=60,
    )
    assert same(back, made)


def test_the_verdict_is_that_of_the_accuracies() -> None:
    made = draws(list(range(80)))
    assert made.verdict(target=0.6) == verdict(made.accuracy, target=0.6, images=60)
    assert str(made) == str(verdict(made.accuracy))
    assert len(made) == 80


def test_draws_on_random_images_refuse_percentiles() -> None:
    made = draws(list(range(80)), whole_test=False)
    assert made.verdict(target=0.6).kpp is None
    assert "own random 60 images" in str(made)


def test_a_comparison_pairs_by_the_number_of_the_chip_not_by_position() -> None:
    a, b = draws(list(range(20)), gain=0.5), draws(list(range(20)))
    expected = compare(a.accuracy, b.accuracy)
    assert a.compare(b) == expected
    assert a.compare(draws(list(reversed(range(20))))) == expected
    assert draws(list(reversed(range(20))), gain=0.5).compare(b) == expected


@pytest.mark.parametrize(
    ("other", "words"),
    [
        ({"seed": 1}, "seed 0 beside seed 1"),
        ({"images": 30}, "images 60 beside images 30"),
        ({"whole_test": False}, "whole_test True beside whole_test False"),
        ({"chips": [0, 1, 3]}, "3 chips beside 3, not the same ones"),
        ({"chips": [0, 1]}, "3 chips beside 2, not the same ones"),
    ],
)
def test_draws_of_other_chips_or_images_are_not_compared(other: dict[str, object], words: str) -> None:
    with pytest.raises(DataError, match=words):
        draws([0, 1, 2]).compare(draws(**{"chips": [0, 1, 2], **other}))  # type: ignore[arg-type]


def test_draws_of_another_setting_are_not_joined_and_no_chip_counts_twice() -> None:
    with pytest.raises(DataError, match=r"Draws\.join: found seed 0 beside seed 1"):
        Draws.join([draws([0]), draws([1], seed=1)])
    with pytest.raises(DataError, match="chip 1 more than once"):
        Draws.join([draws([0, 1]), draws([1, 2])])
    with pytest.raises(DataError, match="nothing to join"):
        Draws.join([])


def test_columns_of_unequal_length_and_empty_draws_are_refused() -> None:
    made = draws([0, 1])
    with pytest.raises(DataError, match="one value per chip"):
        dataclasses.replace(made, scores={**made.scores, "ece": made.ece[:1]})
    with pytest.raises(DataError, match="at least one chip"):
        Draws.of([], seed=0, images=60)


def test_draws_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        draws([0]).seed = 1  # type: ignore[misc]


def overflowed() -> Draws:
    made = draws([0])
    return dataclasses.replace(made, scores={**made.scores, "nll": torch.tensor([float("inf")])})


def full() -> Draws:
    """Draws in which nothing has its default, and metrics have all their bits."""
    return dataclasses.replace(
        draws([7, 2, 5], seed=3, whole_test=False),
        purpose="validate",
        until=Until.parse("±0.2 failures 5 %"),
        treatment=({"writes": 1.25, "layers": {"conv": [1, 2]}}, {"scale": 0.1}),
        cells=("conv.weight 3×3", "größe 1×2"),
    )


def test_saved_draws_are_themselves_to_the_last_bit(tmp_path: Path) -> None:
    for made in (full(), draws([0, 1]), overflowed()):
        made.save(tmp_path / "draws.parquet")
        back = Draws.load(tmp_path / "draws.parquet")
        assert {name: column.tolist() for name, column in back.scores.items()} == {
            name: column.tolist() for name, column in made.scores.items()
        }
        for one in dataclasses.fields(Draws):
            if one.name == "scores":
                continue
            mine, theirs = getattr(made, one.name), getattr(back, one.name)
            assert torch.equal(mine, theirs) if isinstance(mine, torch.Tensor) else mine == theirs, one.name
    assert [path.name for path in tmp_path.iterdir()] == ["draws.parquet"]


def test_saved_draws_are_a_table_for_other_programs(tmp_path: Path) -> None:
    made = full()
    made.save(str(tmp_path / "draws [1].parquet"))
    other = tmp_path / "plain.parquet"
    (tmp_path / "draws [1].parquet").rename(other)
    rows = duckdb.connect().execute(f"select chip, accuracy, seed from '{other}'").fetchall()
    assert rows == list(zip(made.chip.tolist(), made.accuracy.tolist(), [3, 3, 3], strict=True))


def test_what_save_did_not_write_is_refused(tmp_path: Path) -> None:
    path, other = tmp_path / "draws.parquet", tmp_path / "other.parquet"
    full().save(path)
    connection = duckdb.connect()
    connection.execute(f"copy (select * from '{path}') to '{other}' (format parquet)")
    with pytest.raises(StoreError, match="found a parquet file of something else; expected draws that"):
        Draws.load(other)
    (said,) = (
        row[2].decode() for row in connection.execute(f"from parquet_kv_metadata('{path}')").fetchall()
    )
    changed = f"select * replace (accuracy + 1e-9 as accuracy) from '{path}'"
    connection.execute(
        f"copy ({changed}) to '{other}' (format parquet, kv_metadata {{everychip: $m}})", {"m": said}
    )
    with pytest.raises(StoreError, match="differs from its own SHA-256"):
        Draws.load(other)
    said = said.replace('"validate"', '"evaluate"')
    connection.execute(
        f"copy (from '{path}') to '{other}' (format parquet, kv_metadata {{everychip: $m}})", {"m": said}
    )
    with pytest.raises(StoreError, match="differs from its own SHA-256"):
        Draws.load(other)
    path.write_bytes(path.read_bytes()[:-20])
    for missing in (path, tmp_path / "none.parquet"):
        with pytest.raises(StoreError) as error:
            Draws.load(missing)
        assert "\n" not in str(error.value)


def test_a_data_frame_has_the_columns_of_the_draws() -> None:
    pandas = pytest.importorskip("pandas")
    made = draws([3, 1], seed=7)
    frame = made.to_pandas()
    assert isinstance(frame, pandas.DataFrame)
    assert frame.to_dict("list") == made.columns()


def test_without_pandas_one_line_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(MissingExtraError) as error:
        draws([0]).to_pandas()
    assert str(error.value).endswith('pip install "everychip[pandas]"')


class Tags(HTMLParser):
    """Collects the words of a page, and refuses a tag that is not closed."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.words: list[str] = []
        self.feed(page)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def test_in_a_notebook_draws_are_one_line_or_the_table_of_their_verdict() -> None:
    made = draws(list(range(80)))
    mean = f"{100 * float(made.accuracy.mean()):.1f} %"
    assert repr(made) == f"Draws(80 chips, mean accuracy {mean}, seed 0, 60 images)"
    for shown in (made, made.verdict(), made.compare(draws(list(range(80)), gain=1))):
        assert "\n" not in repr(shown)
        assert "tensor" not in repr(shown)
    verdict = made.verdict(target=0.6)
    words = Tags(verdict._repr_html_()).words
    said = str(verdict)
    assert all(word in said for word in words)
    assert {"mean", "worst", "KPP5", "yield at 60 %"} < set(words)
    assert set(verdict.refusals + verdict.cautions) < set(words)


def test_the_chart_has_the_chips_and_the_verdict() -> None:
    made = draws(list(range(80)))
    verdict = made.verdict(target=0.6)
    ticks, band, points = (layer["data"]["values"] for layer in inlined(made.plot(target=0.6).to_dict()))
    assert sorted(row["chip"] for row in ticks) == list(range(80))
    assert [row["accuracy"] for row in ticks] == pytest.approx(
        sorted((100 * made.accuracy).tolist()), abs=1e-3
    )
    assert band == [
        pytest.approx({"accuracy": 100 * verdict.mean.low, "high": 100 * verdict.mean.high}, abs=1e-3)
    ]
    shown = {row["what"]: row["accuracy"] for row in points}
    assert shown["worst"] == pytest.approx(100 * float(made.accuracy.min()), abs=1e-3)
    assert set(shown) == {"mean", "KPP5", "worst"}
    assert [layer["data"]["values"] for layer in inlined(verdict.plot().to_dict())] == [band, points]


def test_a_chart_of_many_chips_keeps_the_best_and_the_worst() -> None:
    made = draws(list(range(300)), images=10)
    rows = inlined(made.plot().to_dict())[0]["data"]["values"]
    assert len(rows) == 200
    values = [row["accuracy"] for row in rows]
    assert min(values) == pytest.approx(100 * float(made.accuracy.min()), abs=1e-3)
    assert max(values) == pytest.approx(100 * float(made.accuracy.max()), abs=1e-3)


def test_what_is_refused_has_no_mark() -> None:
    layers = inlined(draws([0], whole_test=False).plot().to_dict())
    assert [layer["data"]["values"] for layer in layers[1:]] == [
        [],
        [{"what": "mean", "accuracy": pytest.approx(100 * float(draws([0]).accuracy[0]), abs=1e-3)}],
    ]


def inlined(spec: dict) -> list[dict]:  # type: ignore[type-arg]
    """The layers of a chart, each with its own rows."""
    sets = spec.get("datasets", {})
    for layer in spec["layer"]:
        layer["data"] = {"values": sets.get(layer["data"].get("name"), layer["data"].get("values"))}
    return list(spec["layer"])


def test_compare_takes_draws_and_pairs_them_by_chip() -> None:
    a, b = draws(list(range(20)), gain=0.5), draws(list(reversed(range(20))))
    assert compare(a, b) == a.compare(b)
    with pytest.raises(DataError, match="draws beside plain numbers"):
        compare(a, b.accuracy)
    with pytest.raises(DataError, match="seed 0 beside seed 1"):
        compare(a, draws(list(range(20)), seed=1))


@pytest.mark.parametrize("kind", ["pipe", "folder"])
def test_what_is_no_file_is_refused_and_never_waited_for(tmp_path: Path, kind: str) -> None:
    place = tmp_path / "draws.parquet"
    os.mkfifo(place) if kind == "pipe" else place.mkdir()
    with pytest.raises(StoreError, match="found a folder, a device or a pipe; expected a parquet file"):
        Draws.load(place)
