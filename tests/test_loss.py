"""Label-smoothed cross-entropy: by hand, against the plain definition, and cut into shards."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from transformer.training import loss as loss_module
from transformer.training.loss import cross_entropy


def plain(hidden, matrix, targets, mask, smoothing):
    """The definition: one-hot targets mixed with the uniform distribution, all logits at once."""
    log_p = jax.nn.log_softmax(hidden @ matrix.T)
    vocab_size = matrix.shape[0]
    q = (1 - smoothing) * jax.nn.one_hot(targets, vocab_size) + smoothing / vocab_size
    return -jnp.sum(mask * jnp.sum(q * log_p, axis=-1))


def example(rows=8, length=6, d_model=5, vocab_size=11):
    keys = jax.random.split(jax.random.key(0), 4)
    hidden = jax.random.normal(keys[0], (rows, length, d_model))
    matrix = jax.random.normal(keys[1], (vocab_size, d_model))
    targets = jax.random.randint(keys[2], (rows, length), 0, vocab_size)
    mask = jax.random.bernoulli(keys[3], 0.7, (rows, length))
    return hidden, matrix, targets, mask


def test_one_token_by_hand():
    # Logits 0, ln 2, ln 5: probabilities 1/8, 2/8, 5/8; the target is the third.
    hidden = jnp.ones((1, 1, 1))
    matrix = jnp.log(jnp.array([[1.0], [2.0], [5.0]]))
    sums = cross_entropy(hidden, matrix, jnp.array([[2]]), jnp.array([[True]]), 0.3)
    # q = 0.1, 0.1, 0.8
    expected = 0.1 * np.log(8) + 0.1 * np.log(4) + 0.8 * np.log(8 / 5)
    np.testing.assert_allclose(sums.loss, expected, rtol=1e-6)
    np.testing.assert_allclose(sums.nll, np.log(8 / 5), rtol=1e-6)
    assert (sums.correct, sums.tokens) == (1, 1)


def test_chunks_are_larger_on_accelerators(monkeypatch):
    assert loss_module._chunk_count(8_192) == 32
    monkeypatch.setattr(loss_module, "platform", lambda: "tpu")
    assert loss_module._chunk_count(8_192) == 2


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("chunk_tokens", [1, 7, 12, 10_000])
@pytest.mark.parametrize("shards", [1, 4])
@pytest.mark.parametrize("widest_with_vocabulary_first", [0, 5])
def test_equals_the_definition(
    monkeypatch, smoothing, chunk_tokens, shards, widest_with_vocabulary_first
):
    monkeypatch.setattr(loss_module, "CPU_CHUNK_TOKENS", chunk_tokens)
    monkeypatch.setattr(loss_module, "CPU_VOCABULARY_FIRST", widest_with_vocabulary_first)
    hidden, matrix, targets, mask = example()

    def chunked(hidden, matrix):
        return 3 * cross_entropy(hidden, matrix, targets, mask, smoothing, shards).loss

    value, gradients = jax.value_and_grad(chunked, argnums=(0, 1))(hidden, matrix)
    expected, expected_gradients = jax.value_and_grad(
        lambda h, m: 3 * plain(h, m, targets, mask, smoothing), argnums=(0, 1)
    )(hidden, matrix)
    np.testing.assert_allclose(value, expected, rtol=1e-5)
    np.testing.assert_allclose(chunked(hidden, matrix), expected, rtol=1e-5)
    for gradient, reference in zip(gradients, expected_gradients, strict=True):
        np.testing.assert_allclose(gradient, reference, rtol=1e-4, atol=1e-5)


def test_accuracy_and_tokens_count_real_tokens_only():
    hidden, matrix, targets, mask = example()
    sums = cross_entropy(hidden, matrix, targets, mask, 0.1)
    best = jnp.argmax(hidden @ matrix.T, axis=-1)
    assert sums.tokens == jnp.sum(mask)
    assert sums.correct == jnp.sum((best == targets) & mask)


def test_large_logits_stay_finite():
    sums = cross_entropy(
        jnp.full((1, 1, 1), 1e4), jnp.array([[1.0], [-1.0]]), jnp.array([[1]]), jnp.array([[True]])
    )
    np.testing.assert_allclose(sums.nll, 2e4)


def test_no_array_of_all_logits_is_made():
    """16 x 128 tokens over 512 words: neither pass may hold an array of 2,048 x 512."""
    hidden = jnp.zeros((16, 128, 4))
    matrix = jnp.zeros((512, 4))
    targets = jnp.zeros((16, 128), jnp.int32)
    mask = jnp.ones((16, 128), bool)

    def loss(hidden, matrix):
        return cross_entropy(hidden, matrix, targets, mask, 0.1).loss

    text = str(jax.make_jaxpr(jax.grad(loss, argnums=(0, 1)))(hidden, matrix))
    sizes = {
        int(np.prod([int(n) for n in shape.split(",") if n]))
        for shape in __import__("re").findall(r"f32\[([\d,]+)\]", text)
    }
    assert max(sizes) <= 256 * 512
