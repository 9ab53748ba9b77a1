"""The leaderboard: one measurement for table and user, entries with reasons, a page where text is text."""

from __future__ import annotations

import json
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
from everychip.study.start import weights_hash

TASK = "digits-mlp-gaussian-0.2@1"
RECIPE = "everychip run digits --set method.kind=irs"


def mlp(seed: int, hidden: int = 32) -> torch.nn.Module:
    return ec.models.MLP(hidden=(hidden,)).build((1, 8, 8), 10, seed=seed)


@pytest.fixture(scope="module")
def measured() -> Any:
    return ec.benchmark({seed: mlp(seed) for seed in range(3)}, TASK)


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


@pytest.mark.parametrize("name", shipped())
def test_every_shipped_task_says_its_own_name_and_a_network(name: str) -> None:
    task = LeaderboardTask.of(name)
    assert task.id == name
    assert task.seeds >= 3
    assert (task.network is None) != (task.most_parameters is None)


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


def test_nobody_s_text_is_markup_and_every_cell_leads_to_its_proof(measured: Any, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    entry(measured, method=HOSTILE, authors=HOSTILE, unreliable=HOSTILE).write(tmp_path / "in" / "<b>.json")
    entry(measured, method="plain", link="https://example.org").write(tmp_path / "in" / "z.json")
    page = write_site(check_folder(tmp_path / "in"), tmp_path / "site")
    read = Tags(page.read_text(encoding="utf-8"))
    assert read.tags.count("script") == 1
    assert "img" not in read.tags
    assert HOSTILE in read.data
    proofs = [link for link in read.links if link.startswith("entries/")]
    assert len(proofs) == 2 * 6
    assert set(read.links) - set(proofs) == {"https://example.org"}
    for link in set(proofs):
        assert read_entry(page.parent / link).refusals() == ()
    order = [text for text in read.data if text in ("plain", HOSTILE)]
    assert order[0] == "plain"  # the unreliable one is last


@pytest.mark.parametrize("link", ["javascript:alert(1)", "file:///etc/passwd", "data:text/html,x"])
def test_a_link_is_a_web_page(measured: Any, link: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no web page"):
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
