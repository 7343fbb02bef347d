"""The stream of batches: right arrays, every pair once, resumable, the same on any hosts."""

import dataclasses
import json
import subprocess
import sys

import numpy as np
import pytest

from tests.helpers import base_config
from transformer.data import pipeline
from transformer.data.batching import BatchPlan, Shape
from transformer.data.corpus import Corpus
from transformer.data.pipeline import build_eval_data, build_train_data, encode, fill
from transformer.data.tokenizer import BOS, EOS, PAD, Pairs, Sentences, train_tokenizer
from transformer.errors import UserError

WORDS = [a + b for a in "b d f g k l m".split() for b in "a e i o u".split()]


def small_corpus(n=150, seed=0):
    """Sentences that are all different, 2 to 12 words long, and translations reversed."""
    rng = np.random.default_rng(seed)
    source = [" ".join([f"{i}", *rng.choice(WORDS, rng.integers(1, 12))]) for i in range(n)]
    return Corpus(source, [" ".join(reversed(text.split())) for text in source])


CORPUS = small_corpus()
TOKENIZER = train_tokenizer([*CORPUS.source, *CORPUS.target], 320)


def data_config(**changes):
    values = {"max_length": 50, "max_length_ratio": 9.0, "batch_tokens": 400, "packing": False}
    return dataclasses.replace(base_config().data, **(values | changes))


def train_data(row_multiple=4, seed=7, **changes):
    return build_train_data(data_config(**changes), TOKENIZER, CORPUS, seed, row_multiple)


def take(iterator, n):
    return [next(iterator) for _ in range(n)]


def assert_same(first, second):
    for one, other in zip(first, second, strict=True):
        for x, y in zip(one, other, strict=True):
            np.testing.assert_array_equal(x, y)


def pairs_in(batch):
    """The pairs of a batch as text, read back from its arrays."""
    pairs = []
    for row in range(len(batch.source)):
        for segment in range(1, batch.source_segments[row].max() + 1):
            source = batch.source[row][batch.source_segments[row] == segment].tolist()
            target = batch.target_out[row][batch.target_segments[row] == segment].tolist()
            pairs.append(tuple(TOKENIZER.decode([source, target])))
    return pairs


def test_the_config_says_how_many_shapes():
    assert [len(train_data(max_shapes=most).shapes) for most in (1, 3)] == [1, 3]


PACKING = pytest.mark.parametrize("packing", [False, True])


def test_arrays_by_hand():
    source = Sentences(np.array([5, EOS, 6, 7, EOS], np.uint16), np.array([0, 2, 5]))
    target = Sentences(np.array([8, 9, EOS, EOS], np.uint16), np.array([0, 3, 4]))
    plan = BatchPlan(Shape(4, 3, 3), np.array([1, 0]), np.array([0, 1]))
    batch = fill(plan, Pairs(source, target), packed=False)
    assert batch.source.tolist() == [[6, 7, EOS, PAD], [5, EOS, PAD, PAD], [PAD] * 4]
    assert batch.source_segments.tolist() == [[1, 1, 1, 0], [1, 1, 0, 0], [0] * 4]
    assert batch.target_in.tolist() == [[BOS, PAD, PAD], [BOS, 8, 9], [PAD] * 3]
    assert batch.target_out.tolist() == [[EOS, PAD, PAD], [8, 9, EOS], [PAD] * 3]
    assert batch.target_segments.tolist() == [[1, 0, 0], [1, 1, 1], [0] * 3]
    assert batch.source_positions is None
    assert batch.target_positions is None
    assert all(array.dtype == np.int32 for array in batch if array is not None)


def test_packed_arrays_by_hand():
    source = Sentences(np.array([5, EOS, 6, 7, EOS], np.uint16), np.array([0, 2, 5]))
    target = Sentences(np.array([8, 9, EOS, EOS], np.uint16), np.array([0, 3, 4]))
    plan = BatchPlan(Shape(6, 4, 2), np.array([1, 0]), np.array([1, 1]))
    batch = fill(plan, Pairs(source, target), packed=True)
    assert batch.source.tolist() == [[PAD] * 6, [6, 7, EOS, 5, EOS, PAD]]
    assert batch.source_segments.tolist() == [[0] * 6, [1, 1, 1, 2, 2, 0]]
    assert batch.source_positions.tolist() == [[0] * 6, [0, 1, 2, 0, 1, 0]]
    assert batch.target_in.tolist() == [[PAD] * 4, [BOS, BOS, 8, 9]]
    assert batch.target_out.tolist() == [[PAD] * 4, [EOS, 8, 9, EOS]]
    assert batch.target_segments.tolist() == [[0] * 4, [1, 2, 2, 2]]
    assert batch.target_positions.tolist() == [[0] * 4, [0, 0, 1, 2]]


def test_encoding_ends_sentences_and_is_compact():
    sentences = encode(TOKENIZER, ["ba de", "", "fi"])
    words = TOKENIZER.encode(["ba de", "fi"])
    assert sentences.ids.tolist() == [*words[0], EOS, EOS, *words[1], EOS]
    assert sentences.ids.dtype == np.uint16
    assert sentences.lengths.tolist() == [len(words[0]) + 1, 1, len(words[1]) + 1]


@PACKING
def test_an_epoch_holds_every_pair_exactly_once(packing):
    data = train_data(packing=packing)
    batches = data.iterator()
    orders = []
    for _ in range(2):
        epoch = take(batches, data.steps_per_epoch)
        found = [pair for batch in epoch for pair in pairs_in(batch)]
        assert sorted(found) == sorted(zip(*CORPUS, strict=True))
        real = sum(int((b.source > 0).sum() + (b.target_out > 0).sum()) for b in epoch)
        assert (real, sum(b.source.size + b.target_out.size for b in epoch)) == data.padding
        orders.append(found)
    assert orders[0] != orders[1]


@PACKING
def test_batches_have_the_announced_shapes(packing):
    data = train_data(packing=packing, row_multiple=4)
    for batch in take(data.iterator(), data.steps_per_epoch):
        rows, source_length = batch.source.shape
        assert (source_length, batch.target_in.shape[1], rows) in data.shapes
        assert rows % 4 == 0
        assert (batch.source_positions is not None) == packing


@PACKING
def test_rows_of_the_hosts_make_up_the_global_batch(packing):
    data = train_data(packing=packing)
    n = data.steps_per_epoch + 3
    whole = take(data.iterator(), n)
    for count in (2, 4):
        shards = zip(*(take(data.iterator(((k,), count)), n) for k in range(count)), strict=True)
        joined = [
            [None if x[0] is None else np.concatenate(x) for x in zip(*s, strict=True)]
            for s in shards
        ]
        assert_same(joined, whole)


@PACKING
def test_blocks_of_rows_need_not_be_neighbours(packing):
    """As where a mesh puts the devices of two hosts side by side."""
    data = train_data(packing=packing)
    whole, some = data.iterator(), data.iterator(((1, 3), 4))
    for batch, part in zip(take(whole, 9), take(some, 9), strict=True):
        for rows, own in zip(batch, part, strict=True):
            if rows is not None:
                blocks = np.split(rows, 4)
                np.testing.assert_array_equal(own, np.concatenate([blocks[1], blocks[3]]))


@PACKING
@pytest.mark.parametrize("count", [1, 2])
def test_restored_iterators_go_on_with_exactly_the_next_batches(packing, count):
    data = train_data(packing=packing)
    for steps in (
        0,
        1,
        data.steps_per_epoch - 1,
        data.steps_per_epoch,
        5 * data.steps_per_epoch + 2,
    ):
        for host in range(count):
            first = data.iterator(((host,), count))
            take(first, steps)
            state = json.dumps(first.get_state())
            assert len(state) < 100
            second = train_data(packing=packing).iterator(((host,), count))
            second.set_state(json.loads(state))
            assert_same(take(second, 5), take(first, 5))


def test_the_position_is_the_number_of_steps_on_any_number_of_hosts():
    data = train_data()
    one, two = data.iterator(), data.iterator(((1,), 2))
    take(one, 9)
    take(two, 9)
    assert one.get_state() == two.get_state() == {"next_index": 9}


def test_restoring_needs_no_walk_through_earlier_batches():
    data = train_data()
    planned = []
    plan = data.epoch_plan
    data.epoch_plan = lambda epoch: planned.append(epoch) or plan(epoch)
    far = data.iterator()
    far.set_state({"next_index": 10**9 * data.steps_per_epoch})
    assert_same(take(far, 1), [data.batch(plan(10**9), 0)])
    assert min(planned) == 10**9


def test_plans_are_made_once_an_epoch_and_two_are_kept():
    data = train_data()
    planned = []
    plan = data.epoch_plan
    data.epoch_plan = lambda epoch: planned.append(epoch) or plan(epoch)
    stream = pipeline._Stream(data, ((0,), 1))
    for index in range(4 * data.steps_per_epoch):
        stream[index]
    assert planned == [0, 1, 2, 3]
    assert list(stream._plans) == [2, 3]


def test_seed_decides_the_order():
    first, same, other = (take(train_data(seed=s).iterator(), 3) for s in (1, 1, 2))
    assert_same(first, same)
    assert any(
        a.source.shape != b.source.shape or (a.source != b.source).any()
        for a, b in zip(first, other, strict=True)
    )


def test_another_process_draws_the_same_order(tmp_path):
    script = """
import sys
import numpy as np
from transformer.data.batching import Buckets
from transformer.data.packing import Packing
lengths = np.arange(200) % 17 + 2
for batcher in (Buckets(lengths, lengths, 100), Packing(lengths, lengths, 100, 50)):
    plan = batcher.epoch(np.random.default_rng([3, 5]))
    print(plan.pairs.tolist(), plan.starts.tolist())
assert "jax" not in sys.modules
"""
    runs = [
        subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
        for _ in range(2)
    ]
    assert runs[0].stdout == runs[1].stdout != ""


def test_dropped_pairs_are_counted():
    corpus = Corpus(["ba", "", "ba de", "ba " * 60, "ba " * 30], ["de", "de", "", "de", "de"])
    data = build_train_data(data_config(), TOKENIZER, corpus, 0, 1)
    assert data.num_pairs == 1
    assert data.dropped == {"empty": 2, "too long": 1, "length ratio": 1}
    assert pairs_in(next(data.iterator())) == [("ba", "de")]


def test_nothing_left_is_an_error_that_says_why():
    corpus = Corpus(["", "ba " * 60], ["de", "de"])
    reasons = r"text is left \(1 empty, 1 too long\).*config\.data\.max_length \(50\)"
    with pytest.raises(UserError, match=f"training {reasons}"):
        build_train_data(data_config(), TOKENIZER, corpus, 0, 1)
    with pytest.raises(UserError, match=f"validation {reasons}"):
        build_eval_data(data_config(), TOKENIZER, corpus, 1)


def test_rows_that_cannot_be_cut():
    with pytest.raises(ValueError, match="rows cannot be cut into 3 blocks"):
        train_data(row_multiple=4, batch_tokens=200).iterator(((0,), 3))


def test_evaluation_takes_every_pair_once_in_a_fixed_order():
    corpus = Corpus([*CORPUS.source, "ba " * 60, ""], [*CORPUS.target, "de", "de"])
    data = build_eval_data(data_config(packing=True), TOKENIZER, corpus, row_multiple=4)
    assert data.dropped == {"empty": 1, "too long": 1, "length ratio": 0}
    assert data.num_pairs == len(CORPUS.source)
    assert len(data.shapes) <= 4
    first = list(data.batches())
    assert len(first) == len(data)
    assert {(b.source.shape[1], b.target_in.shape[1], b.source.shape[0]) for b in first} <= set(
        data.shapes
    )
    found = [pair for batch in first for pair in pairs_in(batch)]
    assert sorted(found) == sorted(zip(*CORPUS, strict=True))
    assert_same(data.batches(), first)
    assert all(batch.source_positions is None for batch in first)
    halves = zip(data.batches(((0,), 2)), data.batches(((1,), 2)), strict=True)
    assert_same(
        [
            [a if a is None else np.concatenate([a, b]) for a, b in zip(*h, strict=True)]
            for h in halves
        ],
        first,
    )
