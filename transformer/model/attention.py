"""Scaled dot-product and multi-head attention (section 3.2), with explicit keys and values.

Keys and values are an argument of their own, so that one module serves self-attention,
attention over the encoder's output, and decoding from a cache.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float, Int

from transformer.config import ModelConfig
from transformer.model.dropout import Seed, dropout
from transformer.model.fused_attention import cudnn_attention, splash_attention
from transformer.model.initial import Rngs
from transformer.model.visibility import Visibility
from transformer.model.weights import add_bias, multiply, parameter, turned, weight
from transformer.sharding import platform

# Where a platform has none, the plain formula stands in: a run may be trained on one platform and
# used on another.
_KERNELS = {"gpu": cudnn_attention, "tpu": splash_attention}


class KeysValues(NamedTuple):
    """Projected keys and values of one attention."""

    keys: Float[Array, "*B S H K"]
    values: Float[Array, "*B S H Kv"]


class CachedKeysValues(NamedTuple):
    """The same as decoding reads them: no step transposes or reshapes what earlier ones wrote."""

    keys: Float[Array, "B H K S"]
    values: Float[Array, "B H S Kv"]

    @classmethod
    def of(cls, memory: KeysValues) -> "CachedKeysValues":
        """Of [B S H K]."""
        return cls(memory.keys.transpose(0, 2, 3, 1), memory.values.swapaxes(1, 2))

    def write(self, place: Int[Array, ""], new: KeysValues) -> "CachedKeysValues":
        """Replaces the entries at the places from `place` on by `new`, [B W H K]."""
        keys, values = CachedKeysValues.of(new)
        put = jax.lax.dynamic_update_slice_in_dim
        return CachedKeysValues(
            put(self.keys, keys, place, axis=3), put(self.values, values, place, axis=2)
        )


def dot_product_attention(
    query: Float[Array, "*B T H K"],
    key: Float[Array, "*B S H K"],
    value: Float[Array, "*B S H Kv"],
    mask: Bool[Array, "*#B #H #T S"] | None = None,
    dropout_rate: float = 0.0,
    seed: Seed | None = None,
) -> Float[Array, "*B T H Kv"]:
    """Equation 1: softmax(Q K^T / sqrt(d_k)) V, for each head; the softmax is in float32.

    A query that may attend nothing (a row of padding) gets the mean of all values.
    """
    weights = _weights(query, key, mask, value.dtype)
    weights = dropout(weights, dropout_rate, seed)
    return jnp.einsum("...hts,...shk->...thk", weights, value)


def attention_weights(
    query: Float[Array, "*B T H K"],
    key: Float[Array, "*B S H K"],
    mask: Bool[Array, "*#B #H #T S"] | None = None,
) -> Float[Array, "*B H T S"]:
    """softmax(Q K^T / sqrt(d_k)) in float32; each query's weights sum to 1."""
    return _weights(query, key, mask, jnp.float32)


def _weights(query: Array, key: Array, mask: Array | None, dtype: DTypeLike) -> Array:
    scores = jnp.einsum("...thk,...shk->...hts", query, key, preferred_element_type=jnp.float32)
    # Not within the softmax: there CPUs read an array full of the factor.
    scores *= query.shape[-1] ** -0.5
    if mask is not None:
        scores = jnp.where(mask, scores, jnp.finfo(jnp.float32).min)
    return _softmax(scores, dtype)


@partial(jax.custom_vjp, nondiff_argnums=(1,))
def _softmax(scores: Float[Array, "*B H T S"], dtype: DTypeLike) -> Float[Array, "*B H T S"]:
    """The softmax in float32, handed on in `dtype`.

    Its gradient reads what the product with the values keeps anyway, and works nothing out anew.
    """
    return jax.nn.softmax(scores, axis=-1).astype(dtype)


def _softmax_forward(scores, dtype):
    weights = jax.lax.optimization_barrier(_softmax(scores, dtype))
    return weights, weights


def _softmax_backward(dtype, weights, gradient):
    weights, gradient = weights.astype(jnp.float32), gradient.astype(jnp.float32)
    mean = jnp.sum(weights * gradient, axis=-1, keepdims=True)
    return (weights * (gradient - mean),)


_softmax.defvjp(_softmax_forward, _softmax_backward)


def cached_attention(
    query: Float[Array, "B W H K"],
    cache: CachedKeysValues,
    mask: Bool[Array, "B 1 #W S"],
) -> Float[Array, "B W H Kv"]:
    """Equation 1 for one position of W hypotheses, each over the places that `mask` allows it."""
    weights = cached_weights(query, cache.keys, mask).astype(cache.values.dtype)
    return jnp.einsum("bhws,bhsk->bhwk", weights, cache.values).swapaxes(1, 2)


def cached_weights(
    query: Float[Array, "B W H K"], keys: Float[Array, "B H K S"], mask: Bool[Array, "B 1 #W S"]
) -> Float[Array, "B H W S"]:
    """`attention_weights` for one position of W hypotheses."""
    query = query * query.shape[-1] ** -0.5
    scores = jnp.einsum("bwhk,bhks->bhws", query, keys, preferred_element_type=jnp.float32)
    return jax.nn.softmax(jnp.where(mask, scores, jnp.finfo(jnp.float32).min), axis=-1)


class MultiHeadAttention(nnx.Module):
    """Section 3.2.2: h heads, each with its own projections W^Q, W^K, W^V; W^O joins them.

    The projections have no bias, as in the paper's formulas, unless the config asks for one.
    """

    def __init__(self, config: ModelConfig, rngs: Rngs):
        d_model, heads, d_k, d_v = config.d_model, config.num_heads, config.d_k, config.d_v
        into_heads = {"in_axis": 0, "out_axis": (1, 2)}
        axes = ("embed", "heads", "head_dim")
        self.query = weight(rngs, (d_model, heads, d_k), axes, **into_heads)
        self.key = weight(rngs, (d_model, heads, d_k), axes, **into_heads)
        self.value = weight(rngs, (d_model, heads, d_v), axes, **into_heads)
        self.output = weight(
            rngs,
            (heads, d_v, d_model),
            ("heads", "head_dim", "embed"),
            in_axis=(0, 1),
            out_axis=2,
        )

        def bias(shape: tuple[int, ...], axes: tuple[str, ...]) -> nnx.Param | None:
            zeros = nnx.initializers.zeros_init()
            return parameter(zeros, rngs, shape, axes) if config.attention_bias else None

        self.query_bias = bias((heads, d_k), axes[1:])
        self.key_bias = bias((heads, d_k), axes[1:])
        self.value_bias = bias((heads, d_v), axes[1:])
        self.output_bias = bias((d_model,), ("features",))
        self.dropout_rate = config.attention_dropout_rate
        self.fused = config.attention == "fused"
        self.dtype = jnp.dtype(config.dtype)
        self.recording = False  # see transformer.model.recording

    def turn(self) -> None:
        """Stores all four matrices `turned`."""
        self.query, self.key, self.value = map(turned, (self.query, self.key, self.value))
        self.output = turned(self.output, 2)

    def keys_values(self, x: Float[Array, "*B S D"]) -> KeysValues:
        """X W^K and X W^V of all heads."""
        return KeysValues(
            self._into_heads(x, self.key, self.key_bias),
            self._into_heads(x, self.value, self.value_bias),
        )

    def __call__(
        self,
        x: Float[Array, "B T D"],
        keys_values: KeysValues,
        visible: Visibility,
        seed: Seed | None = None,
    ) -> Float[Array, "B T D"]:
        """Attends from `x` over `keys_values`; nothing is dropped without a `seed`."""
        query = self._into_heads(x, self.query, self.query_bias)
        kernel = _KERNELS.get(platform()) if self.fused and not self.recording else None
        if kernel:
            heads = kernel(query, *keys_values, visible)
        else:
            mask = visible.mask(x.shape[-2])
            if self.recording:
                self.sow(
                    nnx.Intermediate, "weights", attention_weights(query, keys_values.keys, mask)
                )
            heads = dot_product_attention(query, *keys_values, mask, self.dropout_rate, seed)
        return self._joined(heads)

    def step(
        self,
        x: Float[Array, "B W D"],
        cache: CachedKeysValues,
        mask: Bool[Array, "B 1 #W S"],
    ) -> Float[Array, "B W D"]:
        """The same from one position of W hypotheses, over a cache."""
        query = self._into_heads(x, self.query, self.query_bias)
        if self.recording:
            self.sow(nnx.Intermediate, "weights", cached_weights(query, cache.keys, mask))
        heads = cached_attention(query, cache, mask)
        return self._joined(heads)

    def _into_heads(
        self, x: Float[Array, "*B T D"], parameter: nnx.Param, bias: nnx.Param | None
    ) -> Float[Array, "*B T H K"]:
        projected = multiply(x, parameter, self.dtype)
        return projected if bias is None else add_bias(projected, bias)

    def _joined(self, heads: Float[Array, "*B T H K"]) -> Float[Array, "*B T D"]:
        projected = multiply(heads, self.output, self.dtype, 2)
        return projected if self.output_bias is None else add_bias(projected, self.output_bias)
