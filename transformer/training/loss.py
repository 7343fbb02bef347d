"""Label-smoothed cross-entropy (section 5.4) that never holds the logits of a whole batch.

The logits of B x T tokens over V words are the largest array of a training step by far, and at
small model sizes writing and reading it back takes most of the time. Here tokens pass through the
pre-softmax layer a chunk at a time, and the gradient is worked out in the same pass.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from transformer import sharding
from transformer.sharding import constrain, platform

# Tokens of a chunk, for each shard. An accelerator needs products that fill it; on a CPU
# 256 x 8,000 float32 logits are 8 MB, which its cache still holds.
CHUNK_TOKENS = 4_096
CPU_CHUNK_TOKENS = 256
# Up to this d_model CPUs take logits with the vocabulary first [V G c], where no mesh cuts it. All
# three products then read their operands as they lie; of [G c V] the matrix's gradient packs one
# turned over, which takes as long as the product where d_model is small.
CPU_VOCABULARY_FIRST = 256


class LossSums(NamedTuple):
    """Sums over real tokens; a quotient by `tokens` of the whole global batch is the mean."""

    loss: Float[Array, "*G"]  # label-smoothed cross-entropy, nats
    nll: Float[Array, "*G"]  # negative log-likelihood, nats: its mean is the log of the perplexity
    correct: Float[Array, "*G"]  # tokens whose score is the highest
    tokens: Float[Array, "*G"]


def cross_entropy(
    hidden: Float[Array, "B T D"],
    matrix: Float[Array, "V D"],
    targets: Int[Array, "B T"],
    mask: Bool[Array, "B T"],
    label_smoothing: float = 0.0,
    shards: int = 1,
) -> LossSums:
    """Sums of the loss of logits `hidden` x `matrix`^T against `targets`, where `mask` is True.

    The target distribution is Szegedy et al.'s (2015), which section 5.4 cites: the true word has
    1 - epsilon, and epsilon is spread evenly over all V words, the true one included.

    Only `loss` has a gradient, to `hidden` and `matrix`. `shards` is the number of pieces that the
    rows are cut into on the mesh: each adds up its own gradient of `matrix`, so that one
    reduction is needed in all and not one a chunk.
    """
    tokens = targets.size // shards
    chunks = _chunk_count(tokens)
    split = (shards, chunks, tokens // chunks)
    hidden = hidden.reshape(*split, hidden.shape[-1])
    sums = _sums(
        constrain(hidden, "batch", None, None, None),
        matrix,
        targets.reshape(split),
        mask.reshape(split).astype(jnp.float32),
        label_smoothing,
    )
    return jax.tree.map(jnp.sum, sums)


def _chunk_count(tokens: int) -> int:
    """The largest divisor of `tokens` that leaves chunks of the wanted size or larger."""
    most = max(1, tokens // (CPU_CHUNK_TOKENS if platform() == "cpu" else CHUNK_TOKENS))
    return next(count for count in range(most, 0, -1) if tokens % count == 0)


@partial(jax.custom_vjp, nondiff_argnums=(4,))
def _sums(hidden, matrix, targets, weights, label_smoothing) -> LossSums:
    """Sums [G] of `hidden` [G C c D], `targets` and `weights` [G C c].

    There are G shards of C chunks of c tokens; no device needs another's before the last chunk.
    """
    mean_row = _mean_row(matrix)
    order = _order(matrix)

    def body(sums, chunk):
        h, y, w = _take(chunk, hidden, targets, weights)
        new = _chunk(h, matrix, mean_row, y, w, label_smoothing, order)[0]
        return jax.tree.map(jnp.add, sums, new), None

    sums, _ = jax.lax.scan(body, _zero_sums(hidden.shape[0]), jnp.arange(hidden.shape[1]))
    return sums


def _forward(hidden, matrix, targets, weights, label_smoothing):
    shards, chunks, _, d_model = hidden.shape
    vocab_size = matrix.shape[0]
    mean_row = _mean_row(matrix)
    order = _order(matrix)
    axis = order.index("v")
    columns = jax.lax.optimization_barrier(matrix.T) if axis == 0 else None  # turned over once

    def body(carry, chunk):
        sums, matrix_gradient = carry
        h, y, w = _take(chunk, hidden, targets, weights)
        new, exponentials, normaliser = _chunk(h, matrix, mean_row, y, w, label_smoothing, order)
        # d loss / d logits = softmax - target distribution
        words = jnp.arange(vocab_size, dtype=y.dtype)
        words = jnp.expand_dims(words, [a for a in range(3) if a != axis])
        is_target = jnp.expand_dims(y, axis) == words
        gradient = exponentials * jnp.expand_dims(w / normaliser, axis)
        gradient -= jnp.expand_dims(w, axis) * (
            jnp.where(is_target, 1 - label_smoothing, 0.0) + label_smoothing / vocab_size
        )
        gradient = gradient.astype(h.dtype)
        wide = {"preferred_element_type": jnp.float32}
        if axis == 0:
            hidden_gradient = jnp.einsum("dv,vgc->dgc", columns, gradient, **wide)
            # Without the barrier XLA has the product write it as it is wanted, at half the speed.
            hidden_gradient = jnp.moveaxis(jax.lax.optimization_barrier(hidden_gradient), 0, -1)
        else:
            hidden_gradient = jnp.einsum("gcv,vd->gcd", gradient, matrix, **wide)
        matrix_gradient += jnp.einsum(f"{order},gcd->gvd", gradient, h, **wide)
        sums = jax.tree.map(jnp.add, sums, new)
        return (sums, matrix_gradient), hidden_gradient.astype(h.dtype)

    zeros = constrain(jnp.zeros((shards, vocab_size, d_model)), "batch", "vocab", None)
    (sums, matrix_gradient), hidden_gradient = jax.lax.scan(
        body, (_zero_sums(shards), zeros), jnp.arange(chunks)
    )
    hidden_gradient = jnp.moveaxis(hidden_gradient, 0, 1)
    return sums, (hidden_gradient, jnp.sum(matrix_gradient, 0).astype(matrix.dtype))


def _backward(label_smoothing, gradients, cotangent):
    # Each shard's sum has the same cotangent, for `cross_entropy` adds them up.
    scale = cotangent.loss[0]
    hidden, matrix = (g * scale.astype(g.dtype) for g in gradients)
    return hidden, matrix, None, None


_sums.defvjp(_forward, _backward)


def _take(chunk, *arrays):
    return [jax.lax.dynamic_index_in_dim(a, chunk, axis=1, keepdims=False) for a in arrays]


def _zero_sums(shards: int) -> LossSums:
    return LossSums(*(constrain(jnp.zeros(shards), "batch"),) * 4)


def _order(matrix: Float[Array, "V D"]) -> str:
    """The axes of the logits, as `CPU_VOCABULARY_FIRST` says."""
    narrow = platform() == "cpu" and matrix.shape[1] <= CPU_VOCABULARY_FIRST
    first = narrow and sharding.shards("vocab") == 1
    return "vgc" if first else "gcv"


def _mean_row(matrix: Float[Array, "V D"]) -> Float[Array, "D"]:
    return jnp.mean(matrix.astype(jnp.float32), axis=0)


def _chunk(
    hidden: Float[Array, "G c D"],
    matrix: Float[Array, "V D"],
    mean_row: Float[Array, "D"],
    targets: Int[Array, "G c"],
    weights: Float[Array, "G c"],
    label_smoothing: float,
    order: str,
) -> tuple[LossSums, Float[Array, "..."], Float[Array, "G c"]]:
    """The sums [G] of one chunk, and exp(logits - max) in the order of axes with its sum over V."""
    axis = order.index("v")
    logits = jnp.einsum(f"gcd,vd->{order}", hidden, matrix, preferred_element_type=jnp.float32)
    logits = constrain(logits, *({"g": "batch", "c": None, "v": "vocab"}[name] for name in order))
    highest = jnp.max(logits, axis)
    exponentials = jnp.exp(logits - jnp.expand_dims(highest, axis))
    normaliser = jnp.sum(exponentials, axis)
    log_normaliser = highest + jnp.log(normaliser)
    target = jnp.take_along_axis(logits, jnp.expand_dims(targets, axis), axis).squeeze(axis)
    # The mean logit is the score of the mean row: no further pass over V.
    mean = hidden.astype(jnp.float32) @ mean_row
    loss = log_normaliser - (1 - label_smoothing) * target - label_smoothing * mean
    sums = LossSums(
        loss=jnp.sum(weights * loss, axis=-1),
        nll=jnp.sum(weights * (log_normaliser - target), axis=-1),
        correct=jnp.sum(weights * (target >= highest), axis=-1),
        tokens=jnp.sum(weights, axis=-1),
    )
    return sums, exponentials, normaliser
