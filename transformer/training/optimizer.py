"""The paper's learning-rate schedule and Adam (section 5.3), as optax."""

import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int

from transformer.config import TrainingConfig


def learning_rate(config: TrainingConfig, d_model: int) -> optax.Schedule:
    """Equation 3: d_model^-0.5 * min(step^-0.5, step * warmup_steps^-1.5), times the scale.

    The schedule takes optax's count of updates done, 0 at the first; the paper's steps start at 1.
    """

    def schedule(count: Int[Array, ""] | int) -> Float[Array, ""]:
        step = jnp.asarray(count, jnp.float32) + 1
        rate = jnp.minimum(step**-0.5, step * config.warmup_steps**-1.5)
        return config.learning_rate_scale * d_model**-0.5 * rate

    return schedule


def make_optimizer(config: TrainingConfig, d_model: int) -> optax.GradientTransformation:
    """Adam under that schedule, behind an optional clip of the global gradient norm."""
    adam = optax.adam(
        learning_rate(config, d_model), b1=config.adam_b1, b2=config.adam_b2, eps=config.adam_eps
    )
    if config.clip_norm:
        return optax.chain(optax.clip_by_global_norm(config.clip_norm), adam)
    return adam
