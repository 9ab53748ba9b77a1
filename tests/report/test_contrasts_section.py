"""What a recipe asks beforehand is judged in its report, and what it cannot ask is refused."""

from __future__ import annotations

import copy

import pytest

from everychip.errors import ConfigError
from everychip.report.markdown import to_markdown
from everychip.report.reading import load
from everychip.report.sections.contrasts import judged, section
from everychip.statistics.contrasts import contrasts
from everychip.study.grid import Study
from everychip.study.study import run_study

STUDY = {
    "name": "asked",
    "contrasts": [
        {"pairs": [["noise_injection", "vanilla"], ["temperature", "noise_injection"]], "margin": 0.02},
        {"axis": "rate", "pairs": [["slow", "fast"]]},
    ],
    "base": {
        "data": {"kind": "digits"},
        "model": {"kind": "mlp", "hidden": [16]},
        "hardware": {"device": {"kind": "gaussian", "sigma": 0.2}},
        "training": {"epochs": 1, "batch_size": 64},
        "evaluation": {"chips": 4},
        "compute": {"threads": 1},
    },
    "axes": {
        "method": {
            "vanilla": {"method": {"kind": "vanilla"}},
            "noise_injection": {"method": {"kind": "noise_injection"}},
            "temperature": {"method": {"kind": "temperature", "temperature": 4.0}},
        },
        "rate": {"slow": {"training": {"lr": 1e-3}}, "fast": {"training": {"lr": 1e-2}}},
    },
    "sweep": {"seed": [0, 1, 2]},
    "skip": [{"method": "temperature", "rate": "fast", "seed": 2}],
}


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    place = tmp_path_factory.mktemp("asked") / "study"
    assert not run_study(Study.read(STUDY, where="study"), place).failed
    return load(place)


def test_every_pair_is_judged_in_every_setting_that_has_its_seeds(results):
    first, second = (dict(judged(results, family)) for family in results.contrasts)
    slow, fast = (next(name for name in first if word in name) for word in ("slow", "fast"))
    assert list(first[slow]) == ["noise_injection − vanilla", "temperature − noise_injection"]
    assert list(first[fast]) == ["noise_injection − vanilla"]
    assert len(second) == 2, "vanilla and noise_injection; temperature lacks a seed of fast"
    assert all(list(found) == ["slow − fast"] for found in second.values())


def test_a_pair_is_judged_over_its_chips_seed_by_seed_and_the_whole_family_is_corrected_for(results):
    groups = {
        group.method: group.by_seed
        for panel in results.panels
        if "fast" in panel.context.variant
        for group in panel.at_sigma
    }
    pair = {"x": (groups["noise_injection"], groups["vanilla"])}
    found = dict(judged(results, results.contrasts[0]))
    fast = next(found[name] for name in found if "fast" in name)["noise_injection − vanilla"]
    assert fast == contrasts(pair, family=2, margin=0.02)["x"]


def test_the_report_tells_findings_margin_and_what_is_missing(results):
    words = to_markdown(results)
    assert "What was asked beforehand" in words
    assert "margin 2 points either way" in words
    assert "1 more asked" in words
    assert "slow − fast" in words
    assert section(results, target=None) is not None


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (
            {"pairs": [["irs", "vanilla"]]},
            r"asked.contrasts.pairs: found unknown label 'irs'; known: .*vanilla",
        ),
        ({"axis": "size", "pairs": [["a", "b"]]}, "asked.contrasts.axis: found unknown axis 'size'"),
        ({"pairs": [["vanilla", "vanilla"]]}, "'vanilla' less itself"),
        ({"pairs": []}, "pairs"),
        ({"pairs": [["vanilla"]]}, "pairs"),
        ({"pairs": [["vanilla", "temperature"]], "margin": 0}, "margin"),
        ({"pairs": [["vanilla", "temperature"]], "magin": 0.1}, "did you mean margin"),
    ],
)
def test_a_contrast_that_the_study_cannot_answer_is_refused_in_one_line(change, told):
    table = {**copy.deepcopy(STUDY), "contrasts": [change]}
    with pytest.raises(ConfigError, match=told) as refused:
        Study.read(table, where="asked")
    assert "\n" not in str(refused.value)


def test_contrasts_change_no_run(tmp_path):
    bare = {key: value for key, value in STUDY.items() if key != "contrasts"}
    ids = ([e.id for e in Study.read(one, where="s").expand().experiments] for one in (STUDY, bare))
    assert next(ids) == next(ids)
