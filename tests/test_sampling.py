"""Sampling against renormalised probabilities worked out by hand."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from transformer.decoding.beam import Hypotheses, beam_search
from transformer.decoding.sampling import sample, truncate

PAD, BOS, EOS, A, B, C = range(6)
PROBS = [0.0, 0.0, 0.4, 0.3, 0.2, 0.1]  # of PAD, BOS, EOS, A, B, C


def constant(tokens, position, cache):
    """A model that always has the distribution `PROBS`."""
    return jnp.broadcast_to(jnp.log(jnp.array(PROBS)), (*tokens.shape, 6)), cache


@functools.cache
def compiled(step, prefixes=None, **options):
    if prefixes is not None:
        options["prefixes"] = jnp.array(prefixes)
    return jax.jit(
        lambda cache, keys, limits: sample(
            step, cache, keys=keys, length_limits=limits, bos_id=BOS, eos_id=EOS, **options
        )
    )


def draw(step, keys, *, limits=None, cache=None, max_length=8, num_samples=50, **options):
    """`sample` with this file's ids, as numpy arrays."""
    limits = jnp.full(keys.shape, max_length) if limits is None else jnp.asarray(limits)
    run = compiled(step, max_length=max_length, num_samples=num_samples, **options)
    return jax.tree.map(np.asarray, run(cache, keys, limits))


@pytest.mark.parametrize(
    ("top_k", "top_p", "expected"),
    [
        (0, 1.0, [0.4, 0.3, 0.2, 0.1]),
        (2, 1.0, [4 / 7, 3 / 7, 0, 0]),
        (9, 1.0, [0.4, 0.3, 0.2, 0.1]),  # more than there are
        (0, 0.35, [1, 0, 0, 0]),  # the best token alone holds 0.4
        (0, 0.65, [4 / 7, 3 / 7, 0, 0]),  # 0.4 is too little, 0.7 enough
        (0, 0.75, [4 / 9, 3 / 9, 2 / 9, 0]),
        # Of top-k 3 the shares are 4/9, 3/9, 2/9; 4/9 is too little for 0.75, 7/9 enough.
        (3, 0.75, [4 / 7, 3 / 7, 0, 0]),
    ],
)
def test_shares_after_top_k_and_top_p(top_k, top_p, expected):
    # Shuffled, so that ids and ranks differ: the tokens 3, 0, 2, 1 from best to worst.
    logits = jnp.log(jnp.array([[[0.3, 0.1, 0.2, 0.4]]]))
    kept, ids = truncate(logits, top_k, top_p)
    shares = np.zeros(4)
    shares[np.asarray(ids[0, 0])] = jax.nn.softmax(kept[0, 0])
    np.testing.assert_allclose(shares[[3, 0, 2, 1]], expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, [0.4, 0.3, 0.2, 0.1]),
        # Squares 0.16, 0.09, 0.04, 0.01. Of top-k 3 the shares are 16/29, 9/29, 4/29;
        # 16/29 = 0.552 is too little for 0.8, 25/29 = 0.862 enough.
        ({"temperature": 0.5, "top_k": 3, "top_p": 0.8}, [16 / 25, 9 / 25, 0, 0]),
        ({"forbidden_ids": (EOS,), "top_k": 2}, [0, 3 / 5, 2 / 5, 0]),
    ],
)
def test_frequencies(options, expected):
    count = 20_000
    found = draw(constant, jax.random.key(1)[None], num_samples=count, max_length=1, **options)
    frequencies = np.bincount(found.tokens.ravel(), minlength=6) / count
    assert frequencies[[PAD, BOS]].tolist() == [0, 0]
    # Four standard deviations of a frequency are at most 4 * sqrt(0.25 / 20000) = 0.0141.
    np.testing.assert_allclose(frequencies[2:], expected, atol=0.0142)
    assert (frequencies[2:] > 0).tolist() == [p > 0 for p in expected]


def test_equal_tokens_at_the_edge_of_top_k_are_cut_by_id():
    logits, ids = truncate(jnp.zeros((1, 1, 5)), top_k=2, top_p=1.0)
    assert ids[0, 0].tolist() == [0, 1]
    assert logits.shape == (1, 1, 2)


def test_log_probs_are_those_of_the_model_itself():
    found = draw(constant, jax.random.key(3)[None], temperature=0.3, top_k=2, top_p=0.9)
    for n in range(50):
        tokens = found.tokens[0, n, : found.lengths[0, n]]
        expected = sum(math.log(PROBS[token]) for token in tokens)
        np.testing.assert_allclose(found.log_probs[0, n], expected, rtol=1e-5)
        np.testing.assert_array_equal(found.scores[0, n], found.log_probs[0, n])
        each = found.token_log_probs[0, n]
        np.testing.assert_allclose(each[: len(tokens)], np.log(np.take(PROBS, tokens)), rtol=1e-5)
        assert not each[len(tokens) :].any()


def test_samples_end_with_eos_or_at_their_limit_and_are_padded():
    keys = jax.random.split(jax.random.key(0), 3)
    found = draw(constant, keys, limits=[0, 3, 8])
    ended = 0
    for row, limit in enumerate([0, 3, 8]):
        for tokens, length in zip(found.tokens[row], found.lengths[row], strict=True):
            assert EOS not in tokens[: max(0, length - 1)]
            assert (tokens[length:] == PAD).all()
            assert length == limit or tokens[length - 1] == EOS
            ended += 0 < length < limit
    assert ended > 50  # most of them end before their limit


def test_samples_begin_with_their_prefixes():
    found = draw(constant, jax.random.split(jax.random.key(0), 2), prefixes=((C, B), (PAD, PAD)))
    assert (found.tokens[0, :, :2] == [C, B]).all()
    assert (found.tokens[0, :, 2] != found.tokens[0, 0, 2]).any()
    assert set(found.tokens[1, :, 0]) == {EOS, A, B, C}
    np.testing.assert_allclose(found.token_log_probs[0, :, 0], math.log(PROBS[C]), rtol=1e-5)


def test_the_same_key_draws_the_same_and_another_key_another():
    keys = jax.random.split(jax.random.key(4), 3)
    once, again = draw(constant, keys), draw(constant, keys)
    jax.tree.map(np.testing.assert_array_equal, once, again)
    assert (once.tokens[0] != once.tokens[1]).any()
    assert (once.tokens[0, 0] != once.tokens[0, 1]).any()


def test_a_sentence_depends_neither_on_its_row_nor_on_the_shape_of_the_batch():
    keys = jax.random.split(jax.random.key(5), 3)
    together = draw(constant, keys, limits=[6, 6, 6])
    alone = draw(constant, keys[2:], num_samples=2, max_length=6)
    np.testing.assert_array_equal(alone.tokens[0], together.tokens[2, :2, :6])
    np.testing.assert_array_equal(alone.log_probs[0], together.log_probs[2, :2])


def test_top_k_of_one_is_greedy_search():
    table = jnp.asarray(np.random.default_rng(6).normal(size=(8, 6, 6)), jnp.float32)

    def step(tokens, positions, cache):  # the cache counts the steps a beam has seen
        return table[cache, tokens], cache + 1

    cache = jnp.zeros((5, 1), jnp.int32) + jnp.arange(5)[:, None] % 2
    keys = jax.random.split(jax.random.key(7), 5)
    sampled = draw(
        step, keys, num_samples=1, max_length=7, cache=cache, top_k=1, forbidden_ids=(PAD, BOS)
    )
    greedy: Hypotheses = jax.jit(
        lambda cache: beam_search(
            step,
            cache,
            batch_size=5,
            beam_size=1,
            max_length=7,
            length_limits=jnp.full(5, 7),
            bos_id=BOS,
            eos_id=EOS,
            alpha=0.6,
            forbidden_ids=(PAD, BOS),
        )[0]
    )(cache)
    np.testing.assert_array_equal(sampled.tokens, greedy.tokens)
    np.testing.assert_allclose(sampled.log_probs, greedy.log_probs, rtol=1e-5)
    assert len({tuple(row) for row in sampled.tokens[:, 0].tolist()}) > 1
