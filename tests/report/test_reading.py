"""A folder comes back as it was written, or says in one line why it cannot."""

from __future__ import annotations

import json
import shutil
import statistics
from collections.abc import Callable
from pathlib import Path

import duckdb
import pytest

from everychip.errors import StoreError
from everychip.report.reading import load
from everychip.report.results import paired

StudyWriter = Callable[..., Path]


def change(folder: Path, sql: str) -> None:
    """Rewrite the draws of a folder through SQL over the table `draws`."""
    file = folder / "draws.parquet"
    with duckdb.connect() as connection:
        connection.execute(f"create table draws as select * from '{file}'")
        connection.execute(f"copy ({sql}) to '{file}' (format parquet)")


@pytest.fixture
def small(tmp_path: Path, write_study: StudyWriter) -> Path:
    """Two methods, three seeds, five chips: small enough to be rewritten in every test."""
    return write_study(
        tmp_path / "small",
        methods=("vanilla", "irs"),
        variants=("",),
        trained=(0.2,),
        sigmas=(0.0, 0.2),
        chips=5,
        collapsed=(),
    )


def test_every_group_holds_the_accuracies_that_sql_finds(study: Path) -> None:
    results = load(study)
    with duckdb.connect() as connection:
        rows = connection.execute(
            f"select method, variant, sigma_train, sigma, count(*), avg(accuracy), avg(sigma_of_rms) "
            f"from '{study / 'draws.parquet'}' group by all"
        ).fetchall()
    expected = {row[:4]: row[4:] for row in rows}
    assert len(results.groups) == len(expected)
    for group in results.groups:
        chips, mean, noise = expected[group.method, group.context.variant, group.sigma_train, group.sigma]
        values = [value for seed in group.by_seed.values() for value in seed]
        assert len(values) == group.chips == chips
        assert statistics.fmean(values) == pytest.approx(mean)
        assert group.of_rms == pytest.approx(noise)


def test_methods_stand_in_the_order_of_the_study_and_contexts_in_that_of_its_axes(study: Path) -> None:
    results = load(study)
    assert results.methods == tuple(json.loads((study / "study.json").read_text())["axes"]["method"])
    assert [context.variant for context in results.by_context] == ["", "ramp + clip(1.5)"]


def test_vanilla_joins_the_panel_of_every_training_sigma(study: Path) -> None:
    panels = load(study).panels
    assert [panel.sigma for panel in panels] == [0.2, 0.4, 0.2, 0.4]
    assert all(panel.at_sigma[0].method == "vanilla" for panel in panels)


def test_a_panel_that_was_not_evaluated_at_its_training_sigma_shows_the_worst(small: Path) -> None:
    change(small, "select * replace (0.1 as sigma_train) from draws where method = 'irs'")
    (panel,) = load(small).panels
    assert (panel.sigma_train, panel.sigma) == (0.1, 0.2)


def test_chips_are_paired_by_their_number_not_by_their_row(small: Path) -> None:
    change(small, "select * from draws where not (method = 'irs' and chip = 2) order by random()")
    results = load(small)
    first, second = (
        next(g for g in results.groups if g.method == m and g.sigma == 0.2) for m in results.methods
    )
    pair = paired(second, first)
    assert list(pair.first) == list(pair.second) == [0, 1, 2]
    assert pair.second[1] == tuple(first.accuracy[1][chip] for chip in (0, 1, 3, 4))
    assert pair.first[1] == tuple(second.accuracy[1][chip] for chip in (0, 1, 3, 4))


def test_a_run_folder_is_results_of_one_run(run_folder: Path) -> None:
    results = load(run_folder)
    assert not results.is_study
    assert results.one_seed()
    assert len(results.runs) == 1
    assert len(results.runs[0].history) == 5


def test_a_device_without_a_nominal_sigma_has_none(small: Path) -> None:
    change(
        small,
        "select * replace (null::double as sigma, if(method = 'irs', null, 0.0) as sigma_train) "
        "from draws where sigma = 0.2",
    )
    (panel,) = load(small).panels
    assert panel.sigma is None
    assert [group.method for group in panel.at_sigma] == ["vanilla", "irs"]


def test_the_same_run_under_two_labels_of_the_grid_counts_once(small: Path) -> None:
    before = load(small)
    change(small, "select * from draws union all select * replace ('copy' as run) from draws")
    assert [group.chips for group in load(small).groups] == [group.chips for group in before.groups]


def test_a_further_axis_of_the_study_becomes_part_of_the_variant(small: Path) -> None:
    about = json.loads((small / "study.json").read_text())
    for run in about["runs"]:
        run["labels"]["width"] = "16"
    (small / "study.json").write_text(json.dumps(about))
    assert {group.context.variant for group in load(small).groups} == {"16"}


def test_a_study_without_merged_draws_is_read_from_its_runs(
    small: Path, complete_run: Callable[..., Path]
) -> None:
    whole = load(small)
    about = json.loads((small / "study.json").read_text())
    ids = {run["labels"]["method"]: run["id"] for run in about["runs"]}
    about["runs"] = [run for run in about["runs"] if run["id"] in ids.values()]
    (small / "study.json").write_text(json.dumps(about))
    for method in whole.methods:
        part = small / "runs" / ids[method]
        part.mkdir(parents=True)
        shutil.copy(small / "draws.parquet", part)
        change(part, f"select * from draws where method = '{method}'")
        complete_run(part, {"format": "everychip-run/1", "id": ids[method], "status": "converged"})
    (small / "draws.parquet").unlink()
    parts = load(small)
    assert [group.accuracy for group in parts.groups] == [group.accuracy for group in whole.groups]


def test_a_diverged_run_without_chips_is_known_to_its_group(small: Path) -> None:
    about = json.loads((small / "study.json").read_text())
    lost = next(run for run in about["runs"] if run["labels"]["method"] == "irs")
    lost.update(status="diverged", words="the loss was not finite in epoch 2")
    (small / "study.json").write_text(json.dumps(about))
    change(small, f"select * from draws where run != '{lost['id']}'")
    results = load(small)
    group = next(group for group in results.groups if group.method == "irs")
    assert group.seeds == 2
    assert [run.id for run in results.failed(group)] == [lost["id"]]


@pytest.mark.parametrize(
    ("sql", "words"),
    [
        ("select * exclude (sigma_of_rms) from draws", "no column sigma_of_rms"),
        ("select * replace (accuracy * 100 as accuracy) from draws", "accuracy outside 0 … 1"),
        ("select * replace (null::double as accuracy) from draws", "accuracy outside 0 … 1"),
        ("select * from draws where false", "no chip yet"),
        (
            "select * from draws union all select * replace (accuracy / 2 as accuracy) from draws",
            "two sets of chips",
        ),
    ],
)
def test_draws_that_cannot_be_meant_are_refused(small: Path, sql: str, words: str) -> None:
    change(small, sql)
    with pytest.raises(StoreError, match=words) as caught:
        load(small)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("file", "content", "words"),
    [
        ("draws.parquet", b"not parquet", "draws.parquet"),
        ("study.json", b"{ half of", "study.json"),
        ("study.json", b'{"format": "everychip-study/2"}', "everychip-study/2"),
        ("study.json", b"[1, 2]", "study.json"),
        ("study.json", b'{"format": "everychip-study/1", "runs": [1], "axes": 3}', "study.json"),
    ],
)
def test_a_damaged_or_foreign_file_is_named(small: Path, file: str, content: bytes, words: str) -> None:
    (small / file).write_bytes(content)
    with pytest.raises(StoreError, match=words) as caught:
        load(small)
    assert "\n" not in str(caught.value)


def test_a_folder_of_something_else_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"neither study\.json nor run\.json"):
        load(tmp_path)
    with pytest.raises(StoreError, match="no folder"):
        load(tmp_path / "nowhere")


def test_a_damaged_recipe_of_a_run_is_named(run_folder: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(run_folder, tmp_path / "copy")
    (copy / "recipe.toml").write_text("seed = = 1", encoding="utf-8")
    with pytest.raises(StoreError, match=r"recipe\.toml"):
        load(copy)


def test_a_run_says_what_was_typed_and_what_repeats_it_and_never_takes_one_for_the_other(
    run_folder: Path, tmp_path: Path, complete_run: Callable[..., Path]
) -> None:
    folder = tmp_path / "my run"
    shutil.copytree(run_folder, folder)
    repeat = f"everychip run '{folder / 'recipe.toml'}' --output FOLDER"
    assert (load(folder).command, load(folder).repeat) == ("", repeat)  # made from Python: nothing was typed
    record = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    typed = "everychip run mine.toml --set seed=3"
    complete_run(folder, {**record, "command": typed})
    assert (load(folder).command, load(folder).repeat) == (typed, repeat)
