"""Packed rows: everything in exactly once, nothing too long, next to no padding."""

import numpy as np
import pytest

from tests.test_batching import assert_exact, like_captions
from transformer.data.batching import Shape
from transformer.data.packing import Packing
from transformer.errors import UserError


@pytest.mark.parametrize(
    ("n", "max_length", "batch_tokens"), [(1, 60, 100), (50, 70, 300), (4000, 100, 4000)]
)
def test_every_pair_is_in_one_row_that_has_room(n, max_length, batch_tokens):
    source, target = like_captions(n)
    packing = Packing(source, target, batch_tokens, max_length)
    [shape] = packing.shapes
    assert max(shape[:2]) <= max_length
    assert shape.rows * max(shape[:2]) <= batch_tokens
    for rng in (None, np.random.default_rng(1)):
        assert_exact(packing, packing.epoch(rng), source, target)


@pytest.mark.parametrize("longest", [100, 128, 256])
def test_padding_of_a_caption_corpus_is_at_most_three_percent(longest):
    source, target = like_captions(29_000)
    source, target = np.append(source, longest // 2), np.append(target, longest)
    packing = Packing(source, target, 4096, longest, row_multiple=8)
    assert packing.padding.share <= 0.03


@pytest.mark.parametrize("max_length", [64, 100, 256])
def test_rows_of_a_caption_corpus_are_short(max_length):
    source, target = like_captions(29_000)
    packing = Packing(source, target, 4096, max_length, row_multiple=8)
    assert packing.shapes == (Shape(64, 64, 64),)  # the longest sentence has 53 tokens
    assert packing.padding.share <= 0.05


def test_longer_rows_where_they_pad_less():
    # Three sentences of 21 tokens fill a row of 64, while rows of 32 hold one each.
    lengths = np.full(300, 21)
    assert Packing(lengths, lengths, 2048, 256).shapes[0][:2] == (64, 64)
    assert Packing(lengths, lengths, 2048, 40).shapes[0][:2] == (32, 32)
    # Of four lengths 16 is as good as any other, so that each sentence attends least.
    lengths = np.full(300, 16)
    assert Packing(lengths, lengths, 2048, 256).shapes[0][:2] == (16, 16)


def test_rows_nearly_fill_the_budget():
    # Eight rows of 64 would leave 188 of 700 tokens a batch unused.
    source, target = like_captions(4000)
    assert Packing(source, target, 700, 256, row_multiple=8).shapes == (Shape(77, 80, 8),)


def test_sides_of_different_length_get_rows_in_proportion():
    source = np.full(96, 4)
    packing = Packing(source, source * 2, batch_tokens=64, max_length=16)
    assert packing.shapes == (Shape(8, 16, 4),)
    assert packing.padding == (96 * 12, 96 * 12)


def test_the_shorter_side_still_holds_its_longest_sentence():
    source = np.array([9] + [2] * 30)
    target = np.array([9] + [6] * 30)
    packing = Packing(source, target, batch_tokens=100, max_length=18)
    assert packing.shapes[0][:2] == (9, 18)
    assert_exact(packing, packing.epoch(None), source, target)


def test_rows_by_hand():
    # 6 + 4 fill a row of 10 and 5 + 5 another, so that no cell is left over.
    lengths = np.array([5, 4, 6, 5])
    packing = Packing(lengths, lengths, batch_tokens=20, max_length=10)
    assert packing.shapes == (Shape(10, 10, 2),)
    _, pairs, rows = packing.epoch(None).batch(0)
    assert {tuple(sorted(pairs[rows == row].tolist())) for row in (0, 1)} == {(0, 3), (1, 2)}


def test_epochs_differ_and_are_repeatable():
    source, target = like_captions(2000)
    packing = Packing(source, target, 1000, 100)
    once, again, other = (packing.epoch(np.random.default_rng([0, e])) for e in (0, 0, 1))
    assert np.array_equal(once.pairs, again.pairs)
    assert np.array_equal(once.rows, again.rows)
    company = [
        {tuple(np.sort(plan.batch(i).pairs)) for i in range(packing.num_batches)}
        for plan in (once, other)
    ]
    assert company[0].isdisjoint(company[1])
    rows = [
        set(map(tuple, np.split(p.pairs, np.flatnonzero(np.diff(p.rows)) + 1)))
        for p in (once, other)
    ]
    assert len(rows[0] & rows[1]) < 0.2 * len(rows[0])  # other sentences share a row, too


def test_a_budget_beyond_all_pairs_makes_one_batch():
    """At once: the lengths that so many rows could have are not gone through one by one."""
    source, target = like_captions(1000)
    packing = Packing(source, target, 10**12, 64, row_multiple=8)
    assert packing.num_batches == 1
    assert packing.shapes[0].rows == -(-(packing.epoch(None).rows.max() + 1) // 8) * 8


def test_budget_below_one_row():
    lengths = np.array([5, 5])
    with pytest.raises(UserError, match=r"batch_tokens is 9, but 2 rows.*5 tokens need 10"):
        Packing(lengths, lengths, batch_tokens=9, max_length=10, row_multiple=2)


def test_half_a_million_pairs_take_seconds():
    source, target = like_captions(499_999)
    source, target = np.append(source, 128), np.append(target, 256)
    packing = Packing(source, target, 25_000, 256, row_multiple=8)
    plan = packing.epoch(np.random.default_rng(0))
    assert np.array_equal(np.sort(plan.pairs), np.arange(500_000))
    assert packing.padding.share <= 0.01
