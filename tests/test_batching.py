"""Bucket shapes and epoch plans: nothing lost, within the budget, little padding, repeatable."""

import itertools

import numpy as np
import pytest

from transformer.data import batching
from transformer.data.batching import Buckets, Shape
from transformer.errors import UserError


def like_captions(n, seed=0):
    """Lengths of n pairs, distributed about like those of image captions and translations."""
    rng = np.random.default_rng(seed)
    source = np.clip(rng.gamma(9, 1.7, n), 3, 50)
    target = np.clip(source * rng.lognormal(0.03, 0.15, n), 3, 60)
    return source.astype(int), target.astype(int)


def assert_exact(batcher, plan, source, target):
    """Every pair once, in a row of a batch that holds it; the announced numbers are true."""
    assert sorted(plan.pairs.tolist()) == list(range(len(source)))
    assert len(plan.starts) == batcher.num_batches
    taken, cells = [], 0
    for i in range(batcher.num_batches):
        shape, pairs, rows = plan.batch(i)
        assert len(pairs) > 0
        assert (np.diff(rows) >= 0).all()
        assert 0 <= rows[0] <= rows[-1] < shape.rows
        assert np.bincount(rows, source[pairs]).max() <= shape.source_length
        assert np.bincount(rows, target[pairs]).max() <= shape.target_length
        taken.extend(pairs.tolist())
        cells += shape.rows * (shape.source_length + shape.target_length)
    assert sorted(taken) == list(range(len(source)))
    assert batcher.padding == (source.sum() + target.sum(), cells)


@pytest.mark.parametrize(
    ("n", "batch_tokens", "row_multiple"), [(1, 500, 1), (7, 64, 1), (3000, 1000, 8), (999, 900, 6)]
)
def test_every_pair_is_in_one_batch_that_holds_it(n, batch_tokens, row_multiple):
    source, target = like_captions(n)
    buckets = Buckets(source, target, batch_tokens, row_multiple)
    assert len(buckets.shapes) <= 12
    for shape in buckets.shapes:
        assert shape.rows % row_multiple == 0
        assert shape.rows * max(shape.source_length, shape.target_length) <= batch_tokens
    for rng in (None, np.random.default_rng(1)):
        plan = buckets.epoch(rng)
        assert_exact(buckets, plan, source, target)
        empty = [b.shape.rows - len(b.pairs) for b in map(plan.batch, range(buckets.num_batches))]
        assert sum(rows > 0 for rows in empty) <= 1


def test_padding_of_a_caption_corpus_is_at_most_a_tenth():
    buckets = Buckets(*like_captions(29_000), batch_tokens=4096, row_multiple=8)
    assert buckets.padding.share <= 0.10
    tokens = [shape.rows * max(shape[:2]) for shape in buckets.shapes[:-1]]
    assert min(tokens) >= 4096 * 7 / 8 - 8 * 60  # shapes but the last use the budget


def test_more_shapes_pad_less():
    lengths = like_captions(29_000)
    shares = [Buckets(*lengths, 4_096, 8, most).padding.share for most in (1, 4, 12, 32)]
    assert shares == sorted(shares, reverse=True) and shares[-1] < shares[-2] / 1.2


def test_few_pairs_get_few_small_shapes():
    lengths = np.full(5, 4)
    buckets = Buckets(lengths, lengths + 1, batch_tokens=10_000, row_multiple=4)
    assert buckets.shapes == (Shape(4, 5, 8),)
    assert buckets.padding == (45, 72)
    assert buckets.padding.share == pytest.approx(27 / 72)


def test_two_lengths_by_hand():
    # 12 pairs of (2, 3) fill two batches of 6 rows; 2 of (9, 9) have a shape of their own.
    source = np.array([2] * 12 + [9] * 2)
    target = np.array([3] * 12 + [9] * 2)
    buckets = Buckets(source, target, batch_tokens=18, row_multiple=1)
    assert buckets.shapes == (Shape(2, 3, 6), Shape(9, 9, 2))
    assert buckets.num_batches == 3
    assert buckets.padding.share == 0


def test_leftovers_are_promoted():
    # Of 7 short pairs one finds no full batch of its own and rides with the long one.
    source = np.array([3] * 7 + [9])
    buckets = Buckets(source, source, batch_tokens=18, row_multiple=1)
    plan = buckets.epoch(np.random.default_rng(0))
    assert buckets.shapes == (Shape(3, 3, 6), Shape(9, 9, 2))
    sizes = sorted(len(plan.batch(i).pairs) for i in range(buckets.num_batches))
    assert sizes == [2, 6]


@pytest.mark.parametrize(
    ("shortest", "longest"), [(5, 5), (5, 6), (5, 9), (4, 9), (10, 13), (16, 16)]
)
def test_regular_lengths(shortest, longest):
    """All pairs of a task may be equally long, so that nothing is left for the last shape."""
    rng = np.random.default_rng(longest)
    for n, batch_tokens, row_multiple, max_shapes in itertools.product(
        (1, 64, 1000), (128, 512, 1000), (1, 8), (1, 2, 4, 12)
    ):
        source = rng.integers(shortest, longest + 1, n)
        for target in (source, rng.integers(shortest, longest + 1, n)):
            buckets = Buckets(source, target, batch_tokens, row_multiple, max_shapes)
            assert len(buckets.shapes) <= max_shapes
            for shape in buckets.shapes:
                assert shape.rows % row_multiple == 0
                assert shape.rows * max(shape[:2]) <= batch_tokens
            assert_exact(buckets, buckets.epoch(rng), source, target)


def test_boundaries_are_the_best_chain():
    """Against all chains of a small histogram, tried one by one."""
    rng = np.random.default_rng(2)
    kinds = np.array(list(itertools.product(range(1, 5), range(1, 5))))
    counts = rng.integers(1, 50, len(kinds))

    def cells(chain):
        chain = np.array(chain)
        return (counts * chain[batching._first_fit(chain, kinds)].sum(axis=1)).sum()

    points = list(itertools.product(range(1, 5), range(1, 5)))
    for size, found in enumerate(batching._chains(kinds, counts, most=3), start=1):
        every = itertools.combinations(points, size)
        chains = [c for c in every if c[-1] == (4, 4) and (np.diff(c, axis=0) >= 0).all()]
        assert cells(found) == min(map(cells, chains))


def test_no_boundary_can_be_moved_with_profit():
    source, target = like_captions(3000)
    buckets = Buckets(source, target, 1000, 8)
    kinds, counts, _ = batching.length_kinds(source, target)
    chains = list(batching._neighbours(buckets.shapes))
    assert len(chains) > 40
    cells = [batching._planned(chain, kinds, counts, (1000, 8)).cells for chain in chains]
    assert min(cells) >= buckets.padding.cells


def test_many_lengths_are_thinned_but_the_longest_stays():
    lengths = np.arange(1, 301)
    few = batching._candidates(lengths, np.ones(300, int))
    assert len(few) <= 64
    assert few[-1] == 300
    assert (np.diff(few) > 0).all()


def test_budget_below_one_block_of_rows():
    source, target = np.array([10, 3]), np.array([12, 3])
    with pytest.raises(UserError, match=r"batch_tokens is 90, but 8 rows.*12 tokens need 96"):
        Buckets(source, target, batch_tokens=90, row_multiple=8)
    assert Buckets(source, target, batch_tokens=96, row_multiple=8).num_batches == 1


def test_a_budget_beyond_all_pairs_makes_one_batch():
    """At once: it is not gone through row by row."""
    source, target = like_captions(1000)
    longest = Shape(int(source.max()), int(target.max()), 1000)
    for batch_tokens in (longest.target_length * 1000, 10**12):
        assert Buckets(source, target, batch_tokens, row_multiple=8).shapes[-1] == longest
    assert Buckets(source, target, 10**12, row_multiple=8).num_batches == 1


def test_epochs_differ_and_are_repeatable():
    source, target = like_captions(400)
    plans = [
        Buckets(source, target, 500).epoch(np.random.default_rng([0, epoch])) for epoch in (0, 0, 1)
    ]
    same, other = (
        all(np.array_equal(x, y) for x, y in zip(plans[0][1:5], plan[1:5], strict=True))
        for plan in plans[1:]
    )
    assert same
    assert not other


def test_shuffling_mixes_pairs_and_the_order_of_shapes():
    source, target = like_captions(4000)
    buckets = Buckets(source, target, 500)
    plan = buckets.epoch(np.random.default_rng(0))
    fixed = buckets.epoch(None)
    assert (np.diff(fixed.shape_of.astype(int)) >= 0).all()
    assert (np.diff(plan.shape_of.astype(int)) < 0).any()
    first = {tuple(sorted(plan.batch(i).pairs)) for i in range(buckets.num_batches)}
    second = buckets.epoch(np.random.default_rng(1))
    assert first.isdisjoint(tuple(sorted(second.batch(i).pairs)) for i in range(9))


def test_a_million_pairs_take_seconds():
    source, target = like_captions(1_000_000)
    buckets = Buckets(source, target, 25_000, row_multiple=8)
    plan = buckets.epoch(np.random.default_rng(0))
    assert np.array_equal(np.sort(plan.pairs), np.arange(1_000_000))
