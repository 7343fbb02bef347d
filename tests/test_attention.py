"""Equation 1 and multi-head attention by hand, masks, and the cache."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from tests.helpers import small_model
from transformer.model.attention import (
    CachedKeysValues,
    KeysValues,
    MultiHeadAttention,
    cached_attention,
    dot_product_attention,
)
from transformer.model.visibility import Visibility


def test_equation_1_by_hand():
    # d_k = 4, so scores are halved: (2 ln 3) / 2 = ln 3 and 0; softmax 3/4, 1/4.
    query = jnp.array([2.0, 0, 0, 0]).reshape(1, 1, 1, 4)
    key = jnp.array([[np.log(3.0), 5, 5, 5], [0, 7, 7, 7]]).reshape(1, 2, 1, 4)
    value = jnp.array([[4.0, 0], [0, 8]]).reshape(1, 2, 1, 2)
    np.testing.assert_allclose(
        dot_product_attention(query, key, value)[0, 0, 0], [3.0, 2.0], rtol=1e-6
    )
    mask = jnp.array([False, True]).reshape(1, 1, 1, 2)
    np.testing.assert_allclose(dot_product_attention(query, key, value, mask)[0, 0, 0], [0.0, 8.0])


def test_multi_head_attention_by_hand():
    attention = MultiHeadAttention(small_model(d_model=2, num_heads=2, d_k=1, d_v=1), nnx.Rngs(0))
    # Head 1: queries 1, 0; keys 0, ln 3; values 4, 8. Head 2: queries 0, 0; values 2, 0.
    attention.query[...] = jnp.array([[[1.0], [0.0]], [[0.0], [0.0]]])
    attention.key[...] = jnp.array([[[0.0], [0.0]], [[np.log(3.0)], [0.0]]])
    attention.value[...] = jnp.array([[[4.0], [2.0]], [[8.0], [0.0]]])
    attention.output[...] = jnp.array([[[1.0, 0.0]], [[10.0, 1.0]]])
    x = jnp.eye(2)[None]
    # Head 1: (4 + 3 x 8) / 4 = 7 and (4 + 8) / 2 = 6. Head 2: (2 + 0) / 2 = 1, twice.
    output = attention(x, attention.keys_values(x), Visibility())
    np.testing.assert_allclose(output[0], [[7 + 10, 1], [6 + 10, 1]], rtol=1e-6)


def test_biases_are_added_to_the_four_projections():
    config = small_model(d_model=2, num_heads=1, d_k=1, d_v=1, attention_bias=True)
    attention = MultiHeadAttention(config, nnx.Rngs(0))
    # Keys 0 and 4, values 10 and 11; the query 0 + ln 3 / 4 gives weights 1/4 and 3/4.
    attention.query[...] = jnp.zeros((2, 1, 1))
    attention.query_bias[...] = jnp.full((1, 1), np.log(3.0) / 4)
    attention.key[...] = jnp.array([[[1.0]], [[5.0]]])
    attention.key_bias[...] = jnp.full((1, 1), -1.0)
    attention.value[...] = jnp.array([[[0.0]], [[1.0]]])
    attention.value_bias[...] = jnp.full((1, 1), 10.0)
    attention.output[...] = jnp.array([[[1.0, 2.0]]])
    attention.output_bias[...] = jnp.array([0.5, 0.0])
    x = jnp.eye(2)[None]
    output = attention(x, attention.keys_values(x), Visibility())
    np.testing.assert_allclose(output[0], [[11.25, 21.5]] * 2, rtol=1e-6)


def test_projections_have_no_bias():
    attention = MultiHeadAttention(small_model(), nnx.Rngs(0))
    zeros = jnp.zeros((1, 3, 16))
    np.testing.assert_array_equal(
        attention(zeros, attention.keys_values(zeros), Visibility()), zeros
    )


def test_a_query_that_may_attend_nothing_stays_finite():
    query = key = value = jnp.ones((1, 1, 1, 2))
    mask = jnp.zeros((1, 1, 1, 1), bool)
    gradient = jax.grad(lambda q: dot_product_attention(q, key, value, mask).sum())(query)
    assert np.isfinite(gradient).all()


def test_softmax_is_in_float32():
    """With bfloat16 scores the two largest of these would tie."""
    query = jnp.full((1, 1, 1, 1), 1, jnp.bfloat16)
    key = jnp.array([256.0, 255.0]).astype(jnp.bfloat16).reshape(1, 2, 1, 1)
    value = jnp.array([1.0, 0.0]).astype(jnp.bfloat16).reshape(1, 2, 1, 1)
    output = dot_product_attention(query, key, value)
    assert output.dtype == jnp.bfloat16
    np.testing.assert_allclose(float(output[0, 0, 0, 0]), 1 / (1 + np.exp(-1)), atol=4e-3)


def test_cache_write():
    """One sentence, two hypotheses, one head, three steps of which this is the second."""
    cache = CachedKeysValues(jnp.zeros((1, 1, 2, 6)), jnp.zeros((1, 1, 6, 2)))
    keys = jnp.arange(4.0).reshape(1, 2, 1, 2)
    written = cache.write(jnp.asarray(2), KeysValues(keys, 10 + keys))
    np.testing.assert_array_equal(written.keys[0, 0], [[0, 0, 0, 2, 0, 0], [0, 0, 1, 3, 0, 0]])
    np.testing.assert_array_equal(
        written.values[0, 0], [[0, 0], [0, 0], [10, 11], [12, 13], [0, 0], [0, 0]]
    )


def test_cached_attention_equals_attention():
    query, *memory = (
        jax.random.normal(jax.random.key(n), (2, length, 3, 4))
        for n, length in ((0, 5), (1, 6), (2, 6))
    )
    mask = jnp.arange(6) < jnp.array([[6], [2]])[:, None, None]
    cache = CachedKeysValues.of(KeysValues(*memory))
    found = cached_attention(query, cache, mask)
    np.testing.assert_allclose(found, dot_product_attention(query, *memory, mask), atol=1e-6)
