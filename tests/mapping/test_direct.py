"""One analog cell per weight."""

from __future__ import annotations

import pytest
import torch
from reference.statistics import assert_moments

from everychip import devices, rng_for
from everychip.mapping import CellMapping, Direct
from everychip.mapping.base import conductance, full_scale


def test_a_gaussian_cell_gives_sigma_times_the_largest_weight():
    weight = torch.full((40_000,), -0.2)
    weight[0] = 3.0
    sample = Direct().deviation(weight, devices.Gaussian(sigma=0.05), rng_for(0))
    assert_moments(sample, mean=0.0, std=0.15)


@pytest.mark.parametrize("value", [-1.0, -0.4, 0.0, 0.6])
def test_mismatch_is_relative_to_each_weight(value):
    weight = torch.full((20_000,), value)
    weight[0] = 2.0
    sample = Direct().deviation(weight, devices.Mismatch(sigma=0.3), rng_for(0))[1:]
    assert_moments(sample, mean=0.0, std=abs(value) * 0.3)


def test_log_normal_keeps_the_sign_of_every_weight():
    weight = torch.randn(1000)
    programmed = weight + Direct().deviation(weight, devices.LogNormal(sigma=1.0), rng_for(0))
    assert bool((programmed.sign() == weight.sign()).all())


def test_conductances_lie_between_zero_and_one_and_reach_one():
    g = conductance(torch.randn(50, 3))
    assert float(g.min()) >= 0
    assert float(g.max()) == 1.0


def test_full_scale_is_one_number_for_the_whole_layer():
    weight = torch.tensor([[0.5, -0.25], [0.1, -4.0]])
    assert full_scale(weight).shape == ()
    assert float(full_scale(weight)) == 4.0


def test_an_unknown_mapping_names_the_known_ones():
    with pytest.raises(ValueError, match="did you mean direct"):
        CellMapping.parse("dirct")
