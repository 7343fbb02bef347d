"""Feed-forward, positions, layer normalisation and dropout, by hand-computed numbers."""

import math
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from tests.helpers import small_model
from transformer.model.layers import (
    Embedding,
    FeedForward,
    LayerNorm,
    Positions,
    Residual,
    kept,
    relu,
    sinusoidal_halves,
    sinusoidal_positions,
)
from transformer.model.weights import add_bias, product


def test_equation_2_by_hand():
    layer = FeedForward(small_model(d_model=2, d_ff=2), nnx.Rngs(0))
    layer.w1[...] = jnp.eye(2)
    layer.b1[...] = jnp.array([0.5, 1.0])
    layer.w2[...] = jnp.array([[2.0, 1.0], [5.0, 5.0]])
    layer.b2[...] = jnp.array([0.0, -1.0])
    # max(0, (1.5, -1)) = (1.5, 0)
    np.testing.assert_allclose(layer(jnp.array([[[1.0, -2.0]]]))[0, 0], [3.0, 0.5])


def test_swish_by_hand():
    layer = FeedForward(small_model(d_model=2, d_ff=2, activation="swish"), nnx.Rngs(0))
    layer.w1[...] = layer.w2[...] = jnp.eye(2)
    z = np.array([1.0, -2.0])
    np.testing.assert_allclose(layer(jnp.array([[z]]))[0, 0], z / (1 + np.exp(-z)), rtol=1e-6)


def test_the_gradient_of_relu_reads_its_result():
    x, gradient = jnp.array([-1.0, 0.0, 2.0]), jnp.array([5.0, 6.0, 7.0])
    y, backward = jax.vjp(relu, x)
    np.testing.assert_array_equal(y, [0, 0, 2])
    np.testing.assert_array_equal(backward(gradient)[0], [0, 0, 7])
    assert [leaf.tolist() for leaf in jax.tree.leaves(backward)] == [y.tolist()]


def test_what_is_kept_has_its_own_gradient():
    value, gradient = jax.value_and_grad(lambda x: kept(x) ** 2)(jnp.asarray(3.0))
    assert (value, gradient) == (9.0, 6.0)


def test_the_gradient_of_a_bias_is_summed_in_float32():
    x = jnp.ones((3, 1_000, 2), jnp.bfloat16)

    def total(value):
        y = add_bias(x, nnx.Param(value, logical_axes=("features",)))
        assert y.dtype == jnp.bfloat16
        return jnp.sum(y, dtype=jnp.float32)

    gradient = jax.grad(total)(jnp.zeros(2))
    # bfloat16 knows no number between 2,992 and 3,008, and counts no further than to 256.
    np.testing.assert_array_equal(gradient, [3_000, 3_000])


@pytest.mark.parametrize(
    ("rows", "matrix", "axes"),
    [((50, 32), (32, 48), 1), ((50, 32), (32, 4, 12), 1), ((50, 4, 8), (4, 8, 48), 2)],
)
def test_gradients_of_a_product(rows, matrix, axes):
    """They are tensordot's, and nothing with a row a token is copied turned over for them."""
    keys = jax.random.split(jax.random.key(0))
    x, w = jax.random.normal(keys[0], (7, *rows)), jax.random.normal(keys[1], matrix)

    def gradients(multiply):
        # A sum of squares of what is worked out of x, as layer norms work out what products take.
        return jax.grad(lambda x, w: jnp.sum(multiply(x + 1, w, axes) ** 2), argnums=(0, 1))

    for own, expected in zip(gradients(product)(x, w), gradients(jnp.tensordot)(x, w), strict=True):
        np.testing.assert_allclose(own, expected, rtol=2e-5, atol=1e-4)
    program = jax.jit(gradients(product)).lower(x, w).compile().as_text()
    copies = re.findall(r"= (\S+) copy\(", program)
    assert [shape for shape in copies if math.prod(_sizes(shape)) > w.size] == []


def _sizes(shape: str) -> list[int]:
    """Of an array as XLA writes it: f32[2,3]{1,0}."""
    return [int(size) for size in re.search(r"\[([\d,]*)\]", shape)[1].split(",") if size]


def test_layer_norm_adds_the_configured_epsilon_to_the_variance():
    layer = LayerNorm(small_model(d_model=2, layer_norm_epsilon=3.0), nnx.Rngs(0))
    # Mean 2 and variance 1: (1 - 2) / sqrt(1 + 3).
    np.testing.assert_allclose(layer(jnp.array([[1.0, 3.0]]))[0], [-0.5, 0.5], rtol=1e-6)


def test_sinusoids_by_hand():
    table = sinusoidal_positions(3, 4)
    np.testing.assert_allclose(table[0], [0, 1, 0, 1])
    # 10000^(2 / 4) = 100
    expected = [np.sin(2), np.cos(2), np.sin(0.02), np.cos(0.02)]
    np.testing.assert_allclose(table[2], expected, rtol=1e-6)


def test_sinusoids_in_halves_by_hand():
    # Three wavelengths over two intervals: 1, 10000^(-1 / 2) = 0.01, 0.0001.
    angles = np.array([2, 0.02, 0.0002])
    table = sinusoidal_halves(3, 6)
    np.testing.assert_allclose(table[2], [*np.sin(angles), *np.cos(angles)], rtol=1e-6)
    layer = Positions(small_model(positions="sinusoidal_halves", d_model=6), nnx.Rngs(0))
    np.testing.assert_array_equal(layer(3), table)


def test_a_shift_is_a_rotation_of_the_sinusoids():
    """Section 3.5: PE(pos + k) is a linear function of PE(pos), here for k = 5."""
    table = sinusoidal_positions(40, 8).astype(np.float64)
    for pair in range(4):
        angle = 5 * 10_000 ** (-2 * pair / 8)
        rotation = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
        columns = table[:, 2 * pair : 2 * pair + 2]
        np.testing.assert_allclose(columns[5:], columns[:-5] @ rotation, atol=1e-6)


def test_learned_positions():
    layer = Positions(small_model(positions="learned", max_positions=5), nnx.Rngs(0))
    np.testing.assert_array_equal(layer(3), layer.learned[:3])
    with pytest.raises(ValueError, match="6 positions, but only 5"):
        layer(6)


def test_layer_norm_by_hand():
    layer = LayerNorm(small_model(d_model=2), nnx.Rngs(0))
    layer.scale[...] = jnp.array([3.0, 4.0])
    layer.bias[...] = jnp.array([0.0, 1.0])
    # Mean 2 and variance 1.
    np.testing.assert_allclose(layer(jnp.array([[1.0, 3.0]]))[0], [-3.0, 5.0], rtol=1e-5)


def test_post_and_pre_norm():
    x, output = jnp.array([[[1.0, 2.0]]]), jnp.array([[[0.0, 2.0]]])
    post = Residual(small_model(d_model=2, norm="post"), nnx.Rngs(0))
    np.testing.assert_array_equal(post.enter(x), x)
    np.testing.assert_allclose(post.leave(x, output)[0, 0], [-1, 1], rtol=1e-5)
    pre = Residual(small_model(d_model=2, norm="pre"), nnx.Rngs(0))
    np.testing.assert_allclose(pre.enter(x)[0, 0], [-1, 1], rtol=1e-5)
    np.testing.assert_array_equal(pre.leave(x, output), x + output)


def test_embedding_is_scaled_and_tied():
    layer = Embedding(small_model(d_model=4), 3, nnx.Rngs(0))
    matrix = jnp.arange(12.0).reshape(3, 4)
    layer.matrix[...] = matrix
    np.testing.assert_array_equal(layer(jnp.array([[2]]))[0, 0], matrix[2] * 2)  # sqrt(4)
    np.testing.assert_array_equal(layer.logits(jnp.ones((1, 1, 4)))[0, 0], matrix.sum(1))
