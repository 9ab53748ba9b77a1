"""Claims about hub sets, on tiny parquet folders that are written here in the hub's layout."""

from __future__ import annotations

import io
import os
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from everychip.data import Hub
from everychip.errors import ConfigError, DataError, MissingExtraError

datasets = pytest.importorskip("datasets")
Image = pytest.importorskip("PIL.Image")
Pixels = NDArray[np.uint8]


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.delenv("EVERYCHIP_DATA", raising=False)


def encoded(image: Pixels, kind: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, format=kind)
    return buffer.getvalue()


def write(
    folder: Path,
    split: str,
    images: Sequence[Pixels | bytes | None],
    labels: Sequence[object],
    *,
    columns: tuple[str, str] = ("image", "label"),
    classes: int | None = 3,
) -> None:
    """One parquet file of a split, as `datasets` writes it for the hub."""
    folder.mkdir(exist_ok=True)
    image, label = columns
    kind = datasets.Value("int64") if classes is None else datasets.ClassLabel(num_classes=classes)
    if any(not isinstance(value, int) for value in labels):
        kind = datasets.Value("string")
    features = datasets.Features({image: datasets.Image(), label: kind})
    cells = [
        x if x is None else {"bytes": x if isinstance(x, bytes) else encoded(x), "path": None} for x in images
    ]
    table = datasets.Dataset.from_dict({image: cells, label: list(labels)}, features=features)
    table.to_parquet(folder / f"{split}-00000-of-00001.parquet")


def noise(count: int, *shape: int, seed: int = 0) -> list[Pixels]:
    return list(np.random.default_rng(seed).integers(0, 256, (count, *shape), dtype=np.uint8))


@pytest.fixture
def toy(tmp_path: Path) -> Path:
    """Nine grey images of 6×6 to train on, three to test on; three classes."""
    folder = tmp_path / "toy"
    write(folder, "train", noise(9, 6, 6), [0, 1, 2] * 3)
    write(folder, "test", noise(3, 6, 6, seed=1), [2, 0, 1])
    return folder


def test_pixels_become_value_over_255_minus_mean_over_std_in_the_order_of_the_file(toy: Path) -> None:
    splits = Hub(name="some/toy", path=str(toy), mean=(0.25,), std=(2.0,)).load()
    expected = (np.stack(noise(9, 6, 6)).astype(np.float64) / 255 - 0.25) / 2
    assert np.allclose(splits.train.x[:, 0].numpy(), expected, atol=1e-6)
    assert splits.test.y.tolist() == [2, 0, 1]
    assert (splits.classes, splits.name, splits.input_shape) == (3, "toy", (1, 6, 6))


@pytest.mark.parametrize("shape", [(6, 6), (6, 6, 3)])
def test_enlarging_gives_pillows_bilinear_image_to_the_byte(tmp_path: Path, shape: tuple[int, ...]) -> None:
    images = noise(4, *shape)
    write(tmp_path / "toy", "train", images, [0, 1, 2, 0])
    write(tmp_path / "toy", "test", images, [0, 1, 2, 0])
    x = Hub(name="toy", path=str(tmp_path / "toy"), size=9, mean=(0.0,), std=(1.0,)).load().test.x
    expected = np.stack(
        [np.asarray(Image.fromarray(i).resize((9, 9), Image.Resampling.BILINEAR)) for i in images]
    )
    expected = expected[:, None] if expected.ndim == 3 else expected.transpose(0, 3, 1, 2)
    assert ((x * 255).round().to(torch.uint8).numpy() == expected).all()


def test_colour_images_have_a_mean_and_std_for_each_channel(tmp_path: Path) -> None:
    flat = [np.full((4, 4, 3), (0, 51, 255), dtype=np.uint8)] * 3
    for split in ("train", "test"):
        write(tmp_path / "cifar", split, flat, [0, 1, 2], columns=("img", "fine"))
    set_ = Hub(
        name="cifar",
        path=str(tmp_path / "cifar"),
        label_column="fine",
        mean=(0.0, 0.1, 0.5),
        std=(1.0, 0.1, 2.0),
    )
    assert set_.load().train.x[0, :, 0, 0].tolist() == pytest.approx([0, 1, 0.25])
    with pytest.raises(DataError, match=r"data.mean: found 2 numbers for the 3 channel"):
        set_.replace(mean=(0.0, 0.1)).load()


def test_grey_images_among_colour_ones_become_colour(tmp_path: Path) -> None:
    grey, colour = noise(1, 4, 4)[0], noise(1, 4, 4, 3)[0]
    for split in ("train", "test"):
        write(tmp_path / "mixed", split, [grey, colour, grey], [0, 1, 2])
    x = Hub(name="mixed", path=str(tmp_path / "mixed"), mean=(0.0,), std=(1.0,)).load().train.x * 255
    assert torch.equal(x[0].round().to(torch.uint8), torch.from_numpy(grey).expand(3, 4, 4))
    assert torch.equal(x[1].round().to(torch.uint8), torch.from_numpy(colour).permute(2, 0, 1))


def test_images_of_several_sizes_need_a_size_and_keep_their_order(tmp_path: Path) -> None:
    flat = [np.full((side, side + 1), shade, dtype=np.uint8) for side, shade in ((4, 10), (7, 20), (4, 30))]
    for split in ("train", "test"):
        write(tmp_path / "toy", split, flat, [0, 1, 2])
    hub = Hub(name="toy", path=str(tmp_path / "toy"), mean=(0.0,), std=(1.0,))
    with pytest.raises(DataError, match=r"images of 4×5 and of 7×8 pixels; expected one size; set data.size"):
        hub.load()
    x = hub.replace(size=5).load().train.x
    assert x.shape == (3, 1, 5, 5)
    assert (x[:, 0, 2, 2] * 255).round().tolist() == [10, 20, 30]


def test_a_palette_and_a_transparent_image_are_read_as_colour(tmp_path: Path) -> None:
    colour = noise(1, 4, 4, 3)[0]
    transparent = np.concatenate([colour, np.full((4, 4, 1), 255, np.uint8)], axis=2)
    for split in ("train", "test"):
        write(tmp_path / "toy", split, [transparent, colour], [0, 1])
    x = Hub(name="toy", path=str(tmp_path / "toy")).load().train.x
    assert torch.equal(x[0], x[1])


def test_a_limit_is_a_balanced_part_and_smaller_parts_lie_in_larger_ones(toy: Path) -> None:
    hub = Hub(name="toy", path=str(toy))
    whole = hub.load().train
    parts = [hub.replace(limit=size).load().train for size in (3, 6)]
    assert [sorted(part.y.tolist()) for part in parts] == [[0, 1, 2], [0, 0, 1, 1, 2, 2]]
    rows = [{tuple(x.flatten().tolist()) for x in part.x} for part in (*parts, whole)]
    assert rows[0] < rows[1] < rows[2]
    for part in parts:  # labels stayed with their images
        for x, y in zip(part.x, part.y, strict=True):
            assert whole.y[(whole.x == x).flatten(1).all(1)].tolist() == [y]


def test_the_seed_draws_the_part_and_nothing_else(toy: Path, global_generators_untouched: None) -> None:
    hub = Hub(name="toy", path=str(toy), limit=3)
    parts = [hub.replace(seed=seed).load().train.x for seed in range(4)]
    assert len({tuple(part.flatten().tolist()) for part in parts}) > 1
    assert hub.load().train is hub.replace(test_limit=None).load().train


def test_the_splits_may_have_other_names(toy: Path) -> None:
    write(toy, "validation", noise(2, 6, 6), [1, 2])
    hub = Hub(name="toy", path=str(toy), train_split="test", test_split="validation")
    assert (hub.load().train.y.tolist(), hub.load().test.y.tolist()) == ([2, 0, 1], [1, 2])


def test_too_large_a_limit_is_refused(toy: Path) -> None:
    with pytest.raises(DataError, match=r"data.test_limit: found 4; expected at most 3"):
        Hub(name="toy", path=str(toy), test_limit=4).load()


def test_only_the_images_that_are_used_are_decoded(tmp_path: Path) -> None:
    write(tmp_path / "toy", "train", [*noise(5, 4, 4), b"damaged"], [0] * 5 + [1], classes=2)
    write(tmp_path / "toy", "test", noise(1, 4, 4), [0], classes=2)
    hub = Hub(name="toy", path=str(tmp_path / "toy"))
    assert len(hub.replace(limit=2).load().train) == 2
    with pytest.raises(DataError, match=r"toy.train\[5\]: found bytes that are no image"):
        hub.load()


def test_without_class_names_the_labels_count_the_classes(tmp_path: Path) -> None:
    write(tmp_path / "toy", "train", noise(2, 4, 4), [0, 1], classes=None)
    write(tmp_path / "toy", "test", noise(2, 4, 4), [4, 1], classes=None)
    assert Hub(name="toy", path=str(tmp_path / "toy")).load().classes == 5


def break_file(how: Callable[[bytes], bytes]) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        file = folder / "train-00000-of-00001.parquet"
        file.write_bytes(how(file.read_bytes()))

    return apply


def drop(split: str) -> Callable[[Path], None]:
    return lambda folder: (folder / f"{split}-00000-of-00001.parquet").unlink()


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (break_file(lambda _: b""), "no readable data set"),
        (break_file(lambda whole: whole[: len(whole) // 2]), "no readable data set"),
        (break_file(lambda whole: b"x" * len(whole)), "no readable data set"),
        (drop("test"), "no split 'test'; expected data.test_split to be one of train"),
        (lambda folder: [drop(split)(folder) for split in ("train", "test")], "no readable data set"),
        (lambda folder: write(folder, "train", [], []), "no readable data set .*no data"),
        (lambda folder: write(folder, "train", [None], [0]), r"toy.train\[0\]: found no image"),
        (
            lambda folder: write(folder, "train", [b"GIF89a"], [0]),
            r"train\[0\]: found bytes that are no image",
        ),
        (
            lambda folder: write(folder, "train", [encoded(noise(1, 40, 40)[0])[:-900]], [0]),
            "a damaged image",
        ),
        (
            lambda folder: write(folder, "train", [encoded(noise(1, 6, 6)[0].astype(np.uint16))], [0]),
            "8 bits",
        ),
        (
            lambda folder: write(folder, "train", noise(1, 9, 9), [0]),
            r"toy.test: found inputs of shape \[1, 6, 6\]",
        ),
    ],
)
def test_damaged_data_is_refused_in_one_line(toy: Path, damage: Callable[[Path], object], words: str) -> None:
    damage(toy)
    with pytest.raises(DataError, match=words) as caught:
        Hub(name="toy", path=str(toy)).load()
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize(
    ("labels", "classes", "words"),
    [
        (["cat", "dog"], None, "the label 'cat'"),
        ([0, -1], None, "the label -1"),
        ([0, -1], 3, "the label -1"),
    ],
)
def test_labels_that_are_no_class_numbers_are_named(
    tmp_path: Path, labels: list[object], classes: int | None, words: str
) -> None:
    for split in ("train", "test"):
        write(tmp_path / "toy", split, noise(2, 4, 4), labels, classes=classes)
    with pytest.raises(DataError, match=words):
        Hub(name="toy", path=str(tmp_path / "toy")).load()


def test_a_missing_column_is_answered_with_the_known_ones(toy: Path) -> None:
    with pytest.raises(DataError, match=r"no column 'fine_label'.*image, label"):
        Hub(name="toy", path=str(toy), label_column="fine_label").load()
    with pytest.raises(DataError, match="no column of images called 'label'; expected one of image"):
        Hub(name="toy", path=str(toy), image_column="label").load()


def test_the_place_is_the_path_or_else_the_folder_of_exactly_that_name(
    toy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EVERYCHIP_DATA", str(tmp_path))
    assert len(Hub(name="someone/toy").load().train) == 9
    write(tmp_path / "other", "train", noise(1, 6, 6), [0])
    write(tmp_path / "other", "test", noise(1, 6, 6), [0])
    assert len(Hub(name="someone/toy", path=str(tmp_path / "other")).load().train) == 1

    def unreachable(name: str) -> None:
        raise ConnectionError(f"cannot reach {name}\nmore words")

    monkeypatch.setattr(datasets, "load_dataset", unreachable)
    for name in ("someone/toys", "someone/to", "toy/someone"):
        with pytest.raises(
            DataError, match=rf"{name}: .*cannot reach {name}\); set data.path or EVERYCHIP_DATA"
        ):
            Hub(name=name).load()


def test_a_folder_that_is_not_there_is_never_looked_for_on_the_hub(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(DataError, match=r"data.path: found no folder .*absent"):
        Hub(name="toy", path=str(tmp_path / "absent")).load()
    monkeypatch.setenv("EVERYCHIP_DATA", str(tmp_path / "absent"))
    with pytest.raises(DataError, match=r"EVERYCHIP_DATA: found no folder"):
        Hub(name="toy").load()


@pytest.mark.parametrize("name", ["to[y]", "to*", "t?y"])
def test_a_folder_is_no_pattern_that_another_folder_fits(toy: Path, name: str) -> None:
    shutil.copytree(toy, toy.parent / name)
    with pytest.raises(DataError, match="takes as a pattern.*rename it") as caught:
        Hub(name="toy", path=str(toy.parent / name)).load()
    assert str(caught.value).startswith(str(toy.parent / name))


@pytest.mark.parametrize("name", ["with space", "größe µ", "{toy,b}", "a;$(x)", "-rf", "100%s", "c&d<e>"])
def test_any_other_name_of_a_folder_will_do(toy: Path, name: str) -> None:
    shutil.copytree(toy, toy.parent / name)
    assert torch.equal(
        Hub(name="toy", path=str(toy.parent / name)).load().test.x,
        Hub(name="toy", path=str(toy)).load().test.x,
    )


def test_a_folder_of_images_is_read_whatever_its_files_and_classes_are_called(tmp_path: Path) -> None:
    classes = ["-bird", "cat 'A'", "dog [B]", "ö µ"]
    names = [
        "plain",
        "with space",
        "größe",
        "[red]b[bold]",
        "semi;$(x)`y`",
        "-rf",
        "🙂",
        'q"',
        "a&b<c>",
        "100%s{0}",
    ]
    for split, count in (("train", 10), ("test", 3)):
        for number, label in enumerate(classes):
            place = tmp_path / "pics" / split / label
            place.mkdir(parents=True)
            for name in names[:count]:
                pixels = np.full((4, 4), 60 * number, dtype=np.uint8)
                (place / f"{name}.png").write_bytes(encoded(pixels))
    splits = Hub(name="pics", path=str(tmp_path / "pics"), mean=(0.0,), std=(1.0,)).load()
    assert splits.classes == 4
    assert splits.train.y.bincount().tolist() == [10] * 4
    assert splits.test.y.bincount().tolist() == [3] * 4
    brightness = splits.train.x.mean(dim=(1, 2, 3)) * 255
    assert torch.allclose(brightness, 60.0 * splits.train.y, atol=1e-3)


@pytest.mark.parametrize("content", [b"", b"no image", encoded(noise(1, 32, 32)[0])[:300]])
def test_a_damaged_image_of_a_folder_is_named_by_its_file(tmp_path: Path, content: bytes) -> None:
    for split in ("train", "test"):
        for label in ("a", "b"):
            place = tmp_path / "pics" / split / label
            place.mkdir(parents=True)
            for number in range(3):
                (place / f"{number}.png").write_bytes(encoded(np.zeros((4, 4), np.uint8)))
    broken = tmp_path / "pics" / "train" / "b" / "1.png"
    broken.write_bytes(content)
    with pytest.raises(DataError) as caught:
        Hub(name="pics", path=str(tmp_path / "pics")).load()
    assert str(broken) in str(caught.value)
    assert "expected a whole PNG or JPEG file" in str(caught.value)


def test_loading_writes_nothing_beside_the_data(toy: Path) -> None:
    before = {(file.name, file.stat().st_mtime_ns) for file in toy.iterdir()}
    for file in (*toy.iterdir(), toy):
        file.chmod(0o555)
    os.sync()
    Hub(name="toy", path=str(toy)).load()
    assert {(file.name, file.stat().st_mtime_ns) for file in toy.iterdir()} == before
    toy.chmod(0o755)


def test_the_same_set_is_decoded_once_and_a_changed_one_again(toy: Path) -> None:
    hub = Hub(name="toy", path=str(toy))
    assert hub.load() is hub.load()
    write(toy, "train", noise(4, 6, 6), [0, 1, 2, 0])
    assert len(hub.load().train) == 4


def test_the_bars_of_datasets_stay_as_the_user_has_them(toy: Path, capfd: pytest.CaptureFixture[str]) -> None:
    from datasets.utils.tqdm import are_progress_bars_disabled, enable_progress_bars

    enable_progress_bars()  # a page of the documentation, run by this process before, may have disabled them
    Hub(name="toy", path=str(toy)).load()
    assert not are_progress_bars_disabled()
    assert capfd.readouterr() == ("", "")


def test_without_datasets_the_extra_is_named(toy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(MissingExtraError, match=r'pip install "everychip\[hub\]"'):
        Hub(name="toy", path=str(toy), seed=77).load()


@pytest.mark.parametrize(
    "field", [{"std": (0.0,)}, {"size": 0}, {"limit": 0}, {"mean": (float("nan"),)}, {"nam": "x"}]
)
def test_impossible_fields_are_refused(field: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match=next(iter(field))):
        Hub(**{"name": "toy", **field})  # type: ignore[arg-type]
