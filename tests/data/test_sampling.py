"""Claims about the stratified order, against a brute-force apportionment."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from everychip.data.sampling import stratified_order
from everychip.rng import rng_for


def webster(counts: list[int], seats: int) -> list[int]:
    """Hand out seats one by one to the class with the largest count / (2 given + 1)."""
    given_out = [0] * len(counts)
    for _ in range(seats):
        best = max(range(len(counts)), key=lambda c: counts[c] / (2 * given_out[c] + 1))
        given_out[best] += 1
    return given_out


def test_a_prefix_has_the_class_counts_of_websters_apportionment() -> None:
    counts = [97, 53, 31, 11]  # primes: no two classes ever tie
    y = torch.repeat_interleave(torch.arange(4), torch.tensor(counts))
    order = stratified_order(y, rng_for(0, "test"))
    for size in (1, 7, 20, 64, 150, 192):
        assert y[order[:size]].bincount(minlength=4).tolist() == webster(counts, size)


@settings(deadline=None, max_examples=30)
@given(st.lists(st.integers(0, 4), min_size=1, max_size=60), st.integers(0, 5))
def test_the_order_is_a_permutation(labels: list[int], seed: int) -> None:
    order = stratified_order(torch.tensor(labels), rng_for(seed, "test"))
    assert sorted(order.tolist()) == list(range(len(labels)))


def test_a_prefix_of_a_balanced_set_differs_by_at_most_one_between_classes() -> None:
    y = torch.arange(10).repeat(30)
    order = stratified_order(y, rng_for(1, "test"))
    for size in (10, 25, 133):
        counts = y[order[:size]].bincount(minlength=10)
        assert counts.max() - counts.min() <= 1


def test_within_a_class_every_row_is_equally_likely_to_come_first() -> None:
    y = torch.tensor([0, 0, 0, 0, 1])
    first = torch.tensor(
        [next(int(row) for row in stratified_order(y, rng_for(s, "t")) if row < 4) for s in range(800)]
    )
    expected, deviation = 200.0, (800 * 0.25 * 0.75) ** 0.5
    assert (first.bincount(minlength=4) - expected).abs().max() < 4 * deviation


def test_the_same_generator_gives_the_same_order_and_another_seed_another() -> None:
    y = torch.arange(5).repeat(20)
    assert torch.equal(stratified_order(y, rng_for(0, "a")), stratified_order(y, rng_for(0, "a")))
    assert not torch.equal(stratified_order(y, rng_for(0, "a")), stratified_order(y, rng_for(1, "a")))
