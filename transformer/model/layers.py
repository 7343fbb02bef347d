"""The parts of Figure 1 other than attention: embedding, positions, feed-forward, residual."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, Int

from transformer.config import ModelConfig
from transformer.model.dropout import Seed, dropout
from transformer.model.initial import Rngs
from transformer.model.weights import add_bias, multiply, parameter, read, turned, weight
from transformer.sharding import constrain


@jax.custom_vjp
def kept(x: Float[Array, "..."]) -> Float[Array, "..."]:
    """`x`, worked out once where a gradient is; XLA would rather work it out anew for that."""
    return x


kept.defvjp(lambda x: (jax.lax.optimization_barrier(x), None), lambda _, gradient: (gradient,))


@jax.custom_vjp
def relu(x: Float[Array, "..."]) -> Float[Array, "..."]:
    """max(0, x); its gradient reads the result, which the next product keeps anyway, and not x."""
    return jnp.maximum(x, 0)


def _relu_forward(x):
    y = jax.lax.optimization_barrier(relu(x))
    return y, y


relu.defvjp(_relu_forward, lambda y, gradient: (jnp.where(y > 0, gradient, 0),))


def sinusoidal_positions(length: int, d_model: int) -> Float[np.ndarray, "T D"]:
    """Section 3.5: PE(pos, 2i) = sin(pos / 10000^(2i / d_model)), PE(pos, 2i + 1) = cos(same).

    Sine and cosine alternate. Computed in float64, since positions times frequencies lose
    digits in float32.
    """
    frequencies = 10_000.0 ** (-np.arange(0, d_model, 2) / d_model)
    angles = np.arange(length)[:, None] * frequencies
    return np.stack([np.sin(angles), np.cos(angles)], -1).reshape(length, d_model).astype("f4")


def sinusoidal_halves(length: int, d_model: int) -> Float[np.ndarray, "T D"]:
    """The sinusoids of tensor2tensor and fairseq, not the paper's.

    All sines stand before all cosines, and the D / 2 wavelengths reach 10000 x 2 pi exactly: they
    are spread over D / 2 - 1 intervals and not over D / 2.
    """
    half = d_model // 2
    frequencies = 10_000.0 ** (-np.arange(half) / max(half - 1, 1))
    angles = np.arange(length)[:, None] * frequencies
    return np.concatenate([np.sin(angles), np.cos(angles)], -1).astype("f4")


class Positions(nnx.Module):
    """Sinusoids (section 3.5) or a learned table (row E of Table 3)."""

    def __init__(self, config: ModelConfig, rngs: Rngs):
        self.d_model = config.d_model
        self.halves = config.positions == "sinusoidal_halves"
        init = nnx.initializers.normal(config.d_model**-0.5)
        shape = (config.max_positions, config.d_model)
        learned = config.positions == "learned"
        self.learned = parameter(init, rngs, shape, ("position", "embed")) if learned else None

    @property
    def limit(self) -> int | None:
        """How many positions there are; None: as many as are asked for."""
        return None if self.learned is None else self.learned.shape[0]

    def __call__(self, length: int) -> Float[Array | np.ndarray, "T D"]:
        """The encodings of positions 0 to `length` - 1.

        Raises:
          ValueError: the learned table has fewer rows than `length`.
        """
        if self.learned is None:
            encoding = sinusoidal_halves if self.halves else sinusoidal_positions
            return encoding(length, self.d_model)
        if length > self.limit:
            raise ValueError(f"{length} positions, but only {self.limit} are learned.")
        return read(self.learned, jnp.float32)[:length]


class Embedding(nnx.Module):
    """Section 3.4: a V x D matrix that embeds tokens, scaled by sqrt(d_model), and gives logits."""

    def __init__(self, config: ModelConfig, vocab_size: int, rngs: Rngs):
        init = nnx.initializers.normal(config.d_model**-0.5)
        self.matrix = parameter(init, rngs, (vocab_size, config.d_model), ("vocab", "embed"))
        self.dtype = jnp.dtype(config.dtype)

    def __call__(self, ids: Int[Array, "*B T"]) -> Float[Array, "*B T D"]:
        """Embeds ids; rows of the matrix times sqrt(d_model)."""
        # Pinned once more for the gradient: tokens' gradients are added up where they are, and
        # not sent to the devices that store the columns.
        matrix = constrain(read(self.matrix, jnp.float32), "vocab", None)
        rows = jnp.take(matrix, ids, axis=0).astype(self.dtype)
        return rows * jnp.asarray(self.matrix.shape[1] ** 0.5, self.dtype)

    def logits(self, x: Float[Array, "*B T D"]) -> Float[Array, "*B T V"]:
        """The pre-softmax linear transformation, in float32."""
        matrix = read(self.matrix, self.dtype)
        logits = jnp.einsum("...td,vd->...tv", x, matrix, preferred_element_type=jnp.float32)
        return constrain(logits, *("batch", *(None,) * logits.ndim)[: logits.ndim - 1], "vocab")

    def logits_vocabulary_first(self, x: Float[Array, "B W D"]) -> Float[Array, "V B W"]:
        """`logits` of few rows: the matrix is read as it is stored, and not packed anew."""
        matrix = read(self.matrix, self.dtype)
        logits = jnp.einsum("bwd,vd->vbw", x, matrix, preferred_element_type=jnp.float32)
        return constrain(logits, "vocab", "batch", None)


class FeedForward(nnx.Module):
    """Equation 2: FFN(x) = max(0, x W1 + b1) W2 + b2; or swish(z) = z sigmoid(z) for the max."""

    def __init__(self, config: ModelConfig, rngs: Rngs):
        zeros = nnx.initializers.zeros_init()
        d_model, d_ff = config.d_model, config.d_ff
        self.w1 = weight(rngs, (d_model, d_ff), ("embed", "mlp"))
        self.b1 = parameter(zeros, rngs, (d_ff,), ("mlp",))
        self.w2 = weight(rngs, (d_ff, d_model), ("mlp", "embed"))
        self.b2 = parameter(zeros, rngs, (d_model,), ("features",))
        self.activation = {"relu": relu, "swish": jax.nn.swish}[config.activation]
        self.dropout_rate = config.feed_forward_dropout_rate
        self.dtype = jnp.dtype(config.dtype)

    def turn(self) -> None:
        """Stores both matrices `turned`."""
        self.w1, self.w2 = turned(self.w1), turned(self.w2)

    def __call__(
        self, x: Float[Array, "*B T D"], seed: Seed | None = None
    ) -> Float[Array, "*B T D"]:
        """Applies the two layers to each position by itself."""
        hidden = self.activation(add_bias(multiply(x, self.w1, self.dtype), self.b1))
        hidden = dropout(hidden, self.dropout_rate, seed)
        return add_bias(multiply(hidden, self.w2, self.dtype), self.b2)


class LayerNorm(nnx.Module):
    """Layer normalisation (Ba et al. 2016) over D, in float32, with scale and bias."""

    def __init__(self, config: ModelConfig, rngs: Rngs):
        shape = (config.d_model,)
        self.scale = parameter(nnx.initializers.ones_init(), rngs, shape, ("features",))
        self.bias = parameter(nnx.initializers.zeros_init(), rngs, shape, ("features",))
        self.epsilon = config.layer_norm_epsilon

    def __call__(self, x: Float[Array, "*B D"]) -> Float[Array, "*B D"]:
        """Zero mean and unit variance over D, then scale and bias."""
        wide = x.astype(jnp.float32)
        centred = wide - kept(jnp.mean(wide, axis=-1, keepdims=True))
        variance = jnp.mean(jnp.square(centred), axis=-1, keepdims=True)
        normal = centred * kept(jax.lax.rsqrt(variance + self.epsilon))
        return (normal * self.scale[...] + self.bias[...]).astype(x.dtype)


class Residual(nnx.Module):
    """The Add & Norm boxes of Figure 1, around a sub-layer.

    Post-norm, the paper's: LayerNorm(x + Dropout(Sublayer(x))).
    Pre-norm: x + Dropout(Sublayer(LayerNorm(x))).
    """

    def __init__(self, config: ModelConfig, rngs: Rngs):
        self.norm = LayerNorm(config, rngs)
        self.post = config.norm == "post"
        self.dropout_rate = config.dropout_rate

    def enter(self, x: Float[Array, "*B D"]) -> Float[Array, "*B D"]:
        """What the sub-layer sees of the stream `x`."""
        return x if self.post else self.norm(x)

    def leave(
        self,
        x: Float[Array, "*B D"],
        output: Float[Array, "*B D"],
        seed: Seed | None = None,
    ) -> Float[Array, "*B D"]:
        """The stream after the sub-layer gave `output`."""
        x = x + dropout(output, self.dropout_rate, seed)
        return self.norm(x) if self.post else x
