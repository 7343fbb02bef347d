"""Dropout's rate, scale and independence, measured on its own generator."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from transformer.model.dropout import dropout, make_seeds, random_bits, split_seed


@pytest.mark.parametrize("rate", [0.1, 0.3])
def test_rate_and_scale(rate):
    x = jnp.ones((1000, 64))
    y = dropout(x, rate, make_seeds(jax.random.key(0), 1)[0])
    assert set(np.unique(y)) == {0, np.float32(1 / (1 - rate))}
    # Four standard deviations of the mean of 64,000 coins.
    tolerance = 4 * (rate * (1 - rate) / x.size) ** 0.5
    np.testing.assert_allclose(np.mean(y == 0), rate, atol=tolerance)


def test_off_without_a_seed_or_a_rate():
    x = jnp.ones((2, 3))
    assert dropout(x, 0.5, None) is x
    assert dropout(x, 0.0, make_seeds(jax.random.key(0), 1)[0]) is x


def test_every_bit_is_fair_and_independent_of_the_others():
    (seed,) = make_seeds(jax.random.key(1), 1)
    words = np.asarray(random_bits(seed, (256, 256))).ravel()
    bits = (words[:, None] >> np.arange(32, dtype=np.uint32)) & 1
    deviation = 1 / words.size**0.5  # of a mean of signs
    signs = 2.0 * bits - 1
    assert np.abs(signs.mean(0)).max() < 5 * deviation
    correlation = signs.T @ signs / words.size - np.eye(32)
    assert np.abs(correlation).max() < 5 * deviation


@pytest.mark.parametrize("lag", [1, 2, 64, 256, 257, 4096])
def test_neighbours_are_independent(lag):
    (seed,) = make_seeds(jax.random.key(2), 1)
    keep = np.asarray(random_bits(seed, (512, 256))).ravel() < 2**32 * 0.3
    centred = keep - 0.3
    correlation = np.mean(centred[lag:] * centred[:-lag]) / 0.21
    assert abs(correlation) < 5 / keep.size**0.5


def test_seeds_are_independent():
    """Of two keys, of two places under one key, and of two places under one seed."""
    first, second = make_seeds(jax.random.key(3), 2)
    (other,) = make_seeds(jax.random.key(4), 1)
    streams = [
        np.asarray(random_bits(seed, (256, 256))).ravel() / 2**32 - 0.5
        for seed in (first, second, other, *split_seed(first, 4)[1:])
    ]
    correlation = np.corrcoef(streams) - np.eye(len(streams))
    assert np.abs(correlation).max() < 5 / streams[0].size ** 0.5


def test_bits_follow_the_index_in_the_whole_array():
    """So that an array cut over devices is dropped like a whole one."""
    (seed,) = make_seeds(jax.random.key(5), 1)
    flat = random_bits(seed, (24,))
    np.testing.assert_array_equal(random_bits(seed, (2, 3, 4)).ravel(), flat)


def test_split_seed():
    assert split_seed(None, 3) == [None] * 3
    assert make_seeds(None, 2) == [None] * 2
    (seed,) = make_seeds(jax.random.key(6), 1)
    np.testing.assert_array_equal(split_seed(seed, 2)[0], seed)
