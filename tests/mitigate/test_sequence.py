"""A sequence of mitigations is one after the other, in recipes as in Python."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from everychip import Hardware, devices, program, rng_for
from everychip.errors import ConfigError, DataError, ModelError
from everychip.mitigate import (
    BNRecalibration,
    DriftCompensation,
    Mitigation,
    SelectiveWriteVerify,
    Sequence,
)

HARDWARE = Hardware(device=devices.Gaussian(sigma=0.3))
STEPS = (
    SelectiveWriteVerify(fraction=0.2, images=40),
    DriftCompensation(images=30),
    BNRecalibration(images=40, batch_size=20),
)


def test_each_mitigation_gets_the_chip_that_the_one_before_it_left():
    model = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3))
    data = torch.randn(50, 6, generator=rng_for(0)), torch.arange(50) % 3
    chip = program(model, HARDWARE, seed=0, chip=3)
    address = {"seed": 0, "path": ("evaluate", 3)}
    whole = Sequence(mitigations=STEPS).bind(model, HARDWARE, data, seed=2)(chip, **address)
    for step in STEPS:
        chip = step.bind(model, HARDWARE, data, seed=2)(chip, **address)
    assert set(whole) == set(chip)
    assert all(torch.equal(whole[name], chip[name]) for name in chip)


def test_it_reports_what_each_of_them_reports():
    model, x = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8)), torch.randn(50, 6, generator=rng_for(0))
    steps = (STEPS[0], DriftCompensation(images=30), STEPS[0].replace(fraction=1, score="random"))
    facts = Sequence(mitigations=steps).bind(model, HARDWARE, (x, torch.arange(50) % 3)).metadata()
    assert [(one["score"], one["share_verified"]) for one in facts] == [("swim", 10 / 48), ("random", 1.0)]


def test_it_suits_a_model_only_if_each_of_them_does():
    model, data = nn.Linear(6, 3), (torch.randn(50, 6, generator=rng_for(0)), torch.arange(50) % 3)
    Sequence(mitigations=STEPS[:2]).validate_for(model, HARDWARE, data)
    with pytest.raises(ModelError, match="no batch norm"):
        Sequence(mitigations=STEPS).validate_for(model, HARDWARE, data)
    with pytest.raises(DataError, match="at least the 60"):
        Sequence(mitigations=(*STEPS[:1], DriftCompensation(images=60))).validate_for(model, HARDWARE, data)


def test_a_recipe_writes_it_as_a_list():
    table = {
        "kind": "sequence",
        "mitigations": ["drift_compensation", {"kind": "bn_recalibration", "images": 9}],
    }
    value = Mitigation.parse(table)
    assert value == Sequence(mitigations=(DriftCompensation(), BNRecalibration(images=9)))
    assert value.per_chip and Mitigation.parse(value.table()) == value
    with pytest.raises(ConfigError, match=r"mitigations\.0\.kind: found unknown mitigation 'recalibration'"):
        Mitigation.parse({"kind": "sequence", "mitigations": ["recalibration"]})
    with pytest.raises(ConfigError, match="mitigations"):
        Sequence(mitigations=())
