"""Fields that were renamed: recipes of before are read, and their runs keep their ids."""

from __future__ import annotations

import pytest

from everychip.config.component import Component
from everychip.config.registering import former_names
from everychip.errors import ConfigError
from everychip.methods import Method
from everychip.study.store import run_id, training_id

RENAMED = [
    (kind, new, old)
    for kind in ("resilient", "consistency", "deep_supervision")
    for new, old in former_names(Method.of_kind(kind)).items()
]


def test_all_renamed_fields_are_tried():
    everywhere = {
        (kind, new, old)
        for family in Component.families.values()
        for kind, one in family.kinds().items()
        if one.__module__.startswith("everychip.")  # other tests register kinds of their own
        for new, old in former_names(one).items()
    }
    assert everywhere == set(RENAMED)


@pytest.mark.parametrize(("kind", "new", "old"), RENAMED)
def test_a_recipe_with_the_former_name_is_the_same_run(kind, new, old):
    before, now = ({"kind": kind, name: 0.25} for name in (old, new))
    assert Method.parse(before) == Method.parse(now)
    written = Method.parse(before).table()
    assert written[new] == 0.25
    assert old not in written
    for identity in (run_id, training_id):
        assert identity({"method": before}) == identity({"method": now})
        assert identity({"method": now}) != identity({"method": {"kind": kind, new: 0.5}})


@pytest.mark.parametrize(("kind", "new", "old"), RENAMED)
def test_both_names_at_once_are_refused(kind, new, old):
    with pytest.raises(ConfigError, match=rf"method\.{old}: found an unknown key"):
        Method.parse({"kind": kind, old: 0.25, new: 0.25})
