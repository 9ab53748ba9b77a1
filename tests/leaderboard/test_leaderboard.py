"""The leaderboard: one measurement for table and user, entries with reasons, a page where text is text."""

from __future__ import annotations

import json
import os
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import torch

import everychip as ec
from everychip.cli import call
from everychip.errors import ConfigError, ModelError, StoreError
from everychip.leaderboard import Entry, LeaderboardTask, read_entry, shipped
from everychip.leaderboard.page import check_folder, write_site
from everychip.storage.files import write_record
from everychip.study.start import weights_hash

TASK = "digits-mlp-gaussian-0.2@1"
RECIPE = "everychip run digits --set method.kind=irs"


def mlp(seed: int, hidden: int = 32) -> torch.nn.Module:
    return ec.models.MLP(hidden=(hidden,)).build((1, 8, 8), 10, seed=seed)


@pytest.fixture(scope="module")
def measured() -> Any:
    return ec.benchmark({seed: mlp(seed) for seed in range(3)}, TASK)


@pytest.fixture(scope="module")
def others() -> Any:
    return ec.benchmark({seed: mlp(seed) for seed in range(3, 6)}, TASK)


def entry(measured: Any, **change: Any) -> Entry:
    about = {"method": "no training", "recipe": RECIPE, "selection": "none", **change}
    found: Entry = measured.entry(**about)
    return found


def test_a_benchmark_is_what_evaluate_gives_on_the_task_s_chips(measured: Any) -> None:
    hw = ec.Hardware(device=ec.devices.Gaussian(sigma=0.2))
    for seed in range(3):
        draws = ec.evaluate(mlp(seed), hw, ec.data.Digits(), chips=50, seed=0)
        assert torch.equal(draws.accuracy, measured.draws[seed].accuracy)
        assert measured.weights[seed] == weights_hash(mlp(seed).state_dict())
    test = ec.data.Digits().load().test
    right = (mlp(1)(test.x).argmax(1) == test.y).double().mean()
    assert measured.digital[1] == pytest.approx(float(right))


def test_another_network_than_the_task_s_is_refused() -> None:
    with pytest.raises(ModelError, match=r"shape \[16, 64\]; expected the task's network, \[32, 64\]"):
        ec.benchmark(mlp(0, hidden=16), TASK)


def test_a_budget_admits_any_network_within_it() -> None:
    table = {**LeaderboardTask.of(TASK).table(), "most_parameters": 1_500}
    del table["network"]
    task = LeaderboardTask.read(table, where="mine")
    assert len(ec.benchmark(mlp(0, hidden=16), task).draws[0]) == 50
    with pytest.raises(ModelError, match="2410 parameters; expected at most 1500"):
        ec.benchmark(mlp(0), task)


@pytest.mark.parametrize(
    ("networks", "said"),
    [
        ({}, "benchmark.model: found no network"),
        ({"a": mlp(0)}, "a training seed: found 'a'; expected a whole number"),
        ({True: mlp(0)}, "a training seed: found True"),
        ({-1: mlp(0)}, "a training seed: found -1"),
        ({0: "vgg8"}, r"benchmark.model\[0\]: found 'vgg8'; expected a network"),
    ],
)
def test_what_is_no_network_of_a_seed_is_refused_before_anything_is_measured(
    networks: Any, said: str
) -> None:
    with pytest.raises(ConfigError, match=said):
        ec.benchmark(networks, TASK)


def test_a_chip_meets_as_many_images_as_the_task_says(measured: Any) -> None:
    images = LeaderboardTask.of(TASK).images
    assert images == len(ec.data.Digits().load().test.x) == measured.draws[0].images


@pytest.mark.parametrize("name", shipped())
def test_every_shipped_task_says_its_own_name_and_a_network(name: str) -> None:
    task = LeaderboardTask.of(name)
    assert task.id == name
    assert task.seeds >= 3
    assert (task.network is None) != (task.most_parameters is None)
    assert task.images is not None


def test_an_unknown_task_names_the_known_ones() -> None:
    with pytest.raises(ConfigError, match="did you mean digits-mlp-gaussian-0.2@1"):
        ec.benchmark(mlp(0), "digits-mlp-gaussian-0.2@2")


def test_an_entry_comes_back_as_it_was_and_a_changed_one_is_refused(measured: Any, tmp_path: Path) -> None:
    path = entry(measured, claimed=0.5, link="https://example.org/x").write(tmp_path / "a.json")
    found = read_entry(path)
    assert found == entry(measured, claimed=0.5, link="https://example.org/x")
    assert found.refusals() == ()
    assert float(found.verdict.mean.estimate) == pytest.approx(measured.verdict.mean.estimate)
    table = json.loads(path.read_text())
    table["trainings"][0]["accuracy"][0] = 1.0
    path.write_text(json.dumps(table))
    with pytest.raises(StoreError, match="SHA-256"):
        read_entry(path)


def test_what_breaks_a_rule_is_refused_with_the_reason(measured: Any) -> None:
    one = ec.benchmark(mlp(0), TASK)
    assert "found 1 seeds" in one.entry(method="a", recipe=RECIPE, selection="none").refusals()[0]
    assert "chosen on test data" in entry(measured, selection="test").refusals()[0]
    assert entry(measured, recipe=" ").refusals()[0].startswith("recipe: found none")
    same = ec.benchmark({0: mlp(0), 1: mlp(0), 2: mlp(2)}, TASK)
    assert "same weights twice" in entry(same).refusals()[0]
    assert entry(measured, recipe="\u200b" * 40).refusals()[0].startswith("recipe: found none")
    fewer = entry(measured).facts()
    for training in fewer["trainings"]:
        training["accuracy"] = training["accuracy"][:20]
    assert "expected 50 for each" in Entry.model_validate(fewer).refusals()[0]
    assert "expected a shipped one" in Entry.model_validate({**fewer, "task": "a@1"}).refusals()[0]


class Tags(HTMLParser):
    """The tags, links and scripts of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []
        self.data: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [value or "" for name, value in attrs if name in ("href", "src")]

    def handle_data(self, data: str) -> None:
        self.data.append(data)


HOSTILE = '<script>alert(1)</script>"><img src=x>{{ 7 * 7 }}'


def test_nobody_s_text_is_markup_and_every_cell_leads_to_its_proof(
    measured: Any, others: Any, tmp_path: Path
) -> None:
    (tmp_path / "in").mkdir()
    entry(measured, method=HOSTILE, authors=HOSTILE, unreliable=HOSTILE).write(tmp_path / "in" / "<b>.json")
    entry(others, method="plain", link="https://example.org").write(tmp_path / "in" / "z.json")
    page = write_site(check_folder(tmp_path / "in"), tmp_path / "site")
    read = Tags(page.read_text(encoding="utf-8"))
    assert read.tags.count("script") == 1
    assert "img" not in read.tags
    assert HOSTILE in read.data
    proofs = [link for link in read.links if link.startswith("entries/")]
    assert len(proofs) == 2 * 7  # the method, too
    assert set(read.links) - set(proofs) == {"https://example.org"}
    for link in set(proofs):
        assert read_entry(page.parent / link).refusals() == ()
    order = [text for text in read.data if text in ("plain", HOSTILE)]
    assert order[0] == "plain"  # the unreliable one is last


@pytest.mark.parametrize(
    "link",
    [
        "javascript:alert(1)",
        "JaVaScript:alert(1)",
        "file:///etc/passwd",
        "data:text/html,x",
        "http:javascript",
        "https:///no-host",
        "http://[",
        " https://example.org",
        "https://example.org/a b",
        "https://trusted.example@other.example/",
    ],
)
def test_a_link_is_a_web_page(measured: Any, link: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="address of a web page"):
        entry(measured, link=link)


def test_the_command_writes_the_page_and_names_what_is_refused(
    measured: Any, tmp_path: Path, capsys: Any
) -> None:
    good, bad = tmp_path / "good.json", tmp_path / "bad.json"
    entry(measured).write(good)
    assert call(["leaderboard", str(tmp_path), "-o", str(tmp_path / "site")]) == 0
    entry(measured, selection="test").write(bad)
    (tmp_path / "worse.json").write_text("{}")
    assert call(["leaderboard", str(tmp_path), "--check"]) == 1
    said = capsys.readouterr()
    assert "1 of 3 entries may enter." in said.out
    assert f"refused: {bad}: selection:" in said.err
    assert "worse.json" in said.err
    assert call(["leaderboard", str(tmp_path / "nothing")]) == 2


def forged(path: Path, table: dict[str, Any]) -> Path:
    """A file that somebody edited and sealed again, as anybody can."""
    write_record(path, table)
    return path


ACCURACY = ("trainings", 0, "accuracy", 7)


@pytest.mark.parametrize(
    ("place", "value", "said"),
    [
        (ACCURACY, True, "trainings.0.accuracy.7: found True; expected a number"),
        (ACCURACY, "0.9", "trainings.0.accuracy.7: found '0.9'"),
        (ACCURACY, 1.5, "trainings.0.accuracy.7: found 1.5"),
        (ACCURACY, -0.5, "trainings.0.accuracy.7: found -0.5"),
        (ACCURACY, 10**400, "trainings.0.accuracy.7: found 1000"),
        (ACCURACY, None, "trainings.0.accuracy.7: found None"),
        (ACCURACY, 0.9333, "trainings.0: found an accuracy of 0.9333; expected a number of 540 test images"),
        (("trainings", 2, "digital"), 0.9333, "trainings.2: found an accuracy of 0.9333"),
        (("trainings", 0, "digital"), True, "trainings.0.digital: found True"),
        (("trainings", 0, "seed"), "7", "trainings.0.seed: found '7'; expected a whole number"),
        (("trainings", 0, "seed"), 10**4000, "trainings.0.seed: found 1000"),
        (("trainings", 0, "seed"), 1, "trainings: found a seed twice"),
        (("trainings", 0, "weights"), "xyz", "trainings.0.weights: found 'xyz'"),
        (("trainings", 0, "weights"), "0" * 64 + "\n", "trainings.0.weights: found"),
        (("trainings",), [], "trainings: found 0 seeds; expected at least 3"),
        (("claimed",), 93.2, "claimed: found 93.2"),
        (("method",), "  ", "method: found '  '"),
        (("method",), "\u200b\u202e", "method: found '\\u200b\\u202e'"),
        (("method",), "a\x1b[31m\nb", "method: found 'a\\x1b[31m\\nb'"),
        (("unreliable",), " ", "unreliable: found ' '"),
        (("unreliable",), True, "unreliable: found True; expected text"),
        (("unreliabel",), "sees the test chips", "unreliabel: found an unknown key"),
        (("selection",), "test", "selection: found 'test'"),
        (("recipe",), "", "recipe: found none"),
        (("task",), "../../../etc/passwd", "task: found '../../../etc/passwd'"),
        (("task",), 5, "task: found 5; expected text"),
    ],
)
def test_an_edited_and_sealed_entry_is_refused_in_one_line_that_names_the_place(
    measured: Any, tmp_path: Path, place: tuple[Any, ...], value: Any, said: str
) -> None:
    table: Any = entry(measured).facts()
    part = table
    for key in place[:-1]:
        part = part[key]
    part[place[-1]] = value
    checked = check_folder(forged(tmp_path / "a.json", table).parent)
    assert [reason for _, reason in checked.refused if said in reason], checked.refused
    assert not checked.rows
    assert all(reason.isprintable() for _, reason in checked.refused)


@pytest.mark.parametrize("number", ["NaN", "Infinity", "1e999"])
def test_a_number_that_is_none_does_not_enter(measured: Any, tmp_path: Path, number: str) -> None:
    text = entry(measured, claimed=0.5).write(tmp_path / "a.json").read_text(encoding="utf-8")
    (tmp_path / "a.json").write_text(text.replace('"claimed": 0.5', f'"claimed": {number}'), encoding="utf-8")
    assert check_folder(tmp_path).refused


def test_every_mistake_of_a_file_has_its_line(measured: Any, tmp_path: Path) -> None:
    table = {**entry(measured).facts(), "claimed": 7.0, "link": "javascript:x", "method": ""}
    refused = check_folder(forged(tmp_path / "a.json", table).parent).refused
    assert sorted(reason.split(":")[0] for _, reason in refused) == ["claimed", "link", "method"]


def test_a_copied_entry_and_one_with_another_s_weights_are_refused_on_both_sides(
    measured: Any, others: Any, tmp_path: Path
) -> None:
    entry(measured, method="first").write(tmp_path / "a.json")
    entry(measured, method="another name").write(tmp_path / "b.json")
    entry(others).write(tmp_path / "c.json")
    checked = check_folder(tmp_path)
    assert [path.name for path, _ in checked.refused] == ["a.json", "b.json"]
    assert "weights that stand in b.json, too" in checked.refused[0][1]
    assert [row.entry for row in checked.rows] == [entry(others)]


def test_a_file_that_is_no_file_ends_in_a_line_and_a_link_shows_nothing_of_what_it_leads_to(
    measured: Any, tmp_path: Path
) -> None:
    secret = tmp_path / "secret"
    secret.write_text("password")
    folder = tmp_path / "in"
    (folder / "folder.json").mkdir(parents=True)
    os.mkfifo(folder / "pipe.json")
    (folder / "link.json").symlink_to(secret)
    (folder / "nowhere.json").symlink_to(tmp_path / "nowhere")
    (folder / "deep.json").write_text("[" * 100_000)
    (folder / "binary.json").write_bytes(b"\x00\xff")
    entry(measured).write(folder / "LOUD.JSON")
    checked = check_folder(folder)
    assert {path.name for path, _ in checked.refused} == {
        *("folder.json", "pipe.json", "link.json", "nowhere.json", "deep.json", "binary.json")
    }
    assert [path.name for path in checked.files] == ["LOUD.JSON"]
    assert "password" not in str(checked.refused)


def test_a_file_s_name_is_neither_a_style_nor_a_line_nor_an_escape(tmp_path: Path, capsys: Any) -> None:
    for name in ("[red]a.json", "b\nc.json", "d\x1b[31m.json"):
        (tmp_path / name).write_text("{}")
    assert call(["leaderboard", str(tmp_path), "--check"]) == 1
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 3
    assert "[red]a.json" in lines[0]
    assert "b\\nc.json" in lines[1]
    assert "\x1b" not in lines[2]


def test_a_page_without_entries_says_so(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("{}")
    page = write_site(check_folder(tmp_path), tmp_path / "site")
    assert "No entry yet." in page.read_text(encoding="utf-8")
