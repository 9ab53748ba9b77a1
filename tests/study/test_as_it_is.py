"""A network that is not trained here is programmed with a scale for each column, unless another is set."""

from __future__ import annotations

import pytest

from everychip.study.as_it_is import described

GIVEN = ["data=digits", "hardware.device.kind=gaussian", "hardware.device.sigma=0.1"]


@pytest.mark.parametrize(
    ("more", "kind", "scale"),
    [
        ([], "bit_sliced", "column"),
        (["hardware.mapping.weight_bits=6"], "bit_sliced", "column"),
        (["hardware.mapping.scale=layer"], "bit_sliced", "layer"),
        (["hardware.mapping=direct"], "direct", "layer"),
        (['hardware.mapping={kind = "bit_sliced", scale = "layer"}'], "bit_sliced", "layer"),
    ],
)
def test_the_scale_is_of_the_column_unless_another_one_is_set(more, kind, scale):
    mapping = described("torch.nn:Identity", [*GIVEN, *more]).hardware.mapping
    assert (mapping.kind, mapping.scale) == (kind, scale)
