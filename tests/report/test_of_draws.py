"""A page of draws alone: no folder, no training, and nothing said that nobody knows."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

import everychip as ec
from everychip.report.of_draws import results_of
from everychip.report.setting import setting
from everychip.report.terminal import tables

X = torch.randn(60, 6, generator=ec.rng_for(0))
Y = X[:, :3].argmax(1)


def drawn(hardware: ec.Hardware, **options: object) -> ec.Draws:
    with ec.rng.seeded_global_generator(0, "test"):
        model = nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 3))
    return ec.evaluate(model, hardware, (X, Y), chips=30, **options)  # type: ignore[arg-type]


HW = ec.Hardware(device=ec.devices.Gaussian(sigma=0.3))
PCM = ec.Hardware(device=ec.devices.Pcm(time="1h"), mapping="direct")


def test_the_page_says_of_what_network_device_and_mapping_it_speaks(tmp_path: Path) -> None:
    draws = drawn(HW)
    page = ec.write_report(draws, output=tmp_path, target=0.5)
    assert page == tmp_path / "report.html"
    text = page.read_text(encoding="utf-8")
    for words in ("Sequential", "gaussian, σ 0.3", "bit_sliced", "30 chips of the network as it is"):
        assert words in text
    for number in (draws.verdict().mean.estimate, draws.digital or 0, float(draws.accuracy.min())):
        assert f"{100 * number:.1f}" in text
    assert "everychip.write_report(draws, target=VALUE)" in text
    for words in ("trained at", "one training seed", "At the training", "How training ended", "methods</dt>"):
        assert words not in text


def test_the_yield_of_the_page_is_the_share_of_its_chips(tmp_path: Path) -> None:
    draws = drawn(HW)
    share = 100 * float((draws.accuracy >= 0.3 - 1e-7).double().mean())
    page = draws.report(tmp_path / "page.html", target=0.3)
    text = page.read_text(encoding="utf-8").replace("&nbsp;", " ")
    assert f"{share:.1f} % of its chips reach 30 %" in text


def test_a_device_that_ages_says_when_it_was_read() -> None:
    assert dict(setting(results_of(drawn(PCM))))["read"] == "1 h after programming"
    assert "read" not in dict(setting(results_of(drawn(HW))))


@pytest.mark.parametrize(
    "draws",
    [
        ec.Draws.of([{"accuracy": 0.9}, {"accuracy": 0.8}], seed=0, images=10),
        ec.Draws.of(
            [{"RMSE": 1.5}, {"RMSE": 1.8}],
            seed=0,
            images=10,
            score=ec.tasks.Score("RMSE", higher_is_better=False, unit="K"),
        ),
        ec.Draws.of([{"accuracy": 0.9}, {"accuracy": 0.8}], seed=0, images=10, whole_test=False),
    ],
    ids=["bare", "kelvin", "parts"],
)
def test_draws_of_anything_have_a_page(draws: ec.Draws, tmp_path: Path) -> None:
    assert ec.write_report(draws, output=tmp_path / "page.html", title="<b>mine").is_file()
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "&lt;b&gt;mine" in text
    assert "<b>mine" not in text
    assert tables(results_of(draws))


@pytest.mark.parametrize(
    ("score", "bad"),
    [
        (
            ec.tasks.Score("RMSE", higher_is_better=False, unit="K"),
            ("95th percentile of RMSE", "largest RMSE"),
        ),
        (ec.tasks.Score("F1", within=(0.0, 1.0), unit="%"), ("5th percentile from below", "least F1")),
    ],
    ids=["an error", "a share"],
)
def test_the_glossary_speaks_of_the_score_and_of_its_bad_end(
    score: ec.tasks.Score, bad: tuple[str, str]
) -> None:
    from everychip.report.sections.glossary import section

    rows = [{score.name: 0.5}, {score.name: 0.8}]
    (block,) = section(results_of(ec.Draws.of(rows, seed=0, images=10, score=score)), target=None).blocks
    words = " ".join(block.paragraphs)
    for part in (*bad, f"mean {score.name} over chips", f"reach a target {score.name}", "same test inputs"):
        assert part in words
    assert "accuracy" not in words and "≥ 90 %" not in words and "{" not in words
    of_accuracy = section(results_of(drawn(HW)), target=None).blocks[0]
    assert "accuracy is above twice chance" in " ".join(of_accuracy.paragraphs)


def test_what_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(ec.EverychipError) as error:
        ec.write_report(drawn(HW), output=tmp_path / "no" / "such" / "page.html")
    assert "\n" not in str(error.value)
