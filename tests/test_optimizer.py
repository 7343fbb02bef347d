"""The schedule and Adam of section 5.3, by hand."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import optax
import pytest

from tests.helpers import base_config
from transformer.training.optimizer import learning_rate, make_optimizer


@pytest.mark.parametrize(
    ("step", "rate"),
    [
        (1, 512**-0.5 * 4000**-1.5),
        (2000, 512**-0.5 * 2000 * 4000**-1.5),
        (4000, 6.9877e-4),  # the peak: (512 x 4000)^-0.5
        (16_000, 6.9877e-4 / 2),
    ],
)
def test_equation_3(step, rate):
    schedule = learning_rate(base_config().training, 512)
    np.testing.assert_allclose(schedule(step - 1), rate, rtol=1e-4)


def test_the_scale_multiplies_the_rate():
    config = dataclasses.replace(base_config().training, learning_rate_scale=2.0)
    np.testing.assert_allclose(learning_rate(config, 512)(3999), 2 * 6.9877e-4, rtol=1e-4)


def test_two_steps_of_adam_by_hand():
    config = dataclasses.replace(base_config().training, warmup_steps=1, learning_rate_scale=0.1)
    optimizer = make_optimizer(config, 1)
    params = jnp.array(1.0)
    state = optimizer.init(params)
    # Step 1, gradient 2: m = 0.2, v = 0.08; corrected by 0.1 and 0.02 they are 2 and 4.
    updates, state = optimizer.update(jnp.array(2.0), state, params)
    np.testing.assert_allclose(updates, -0.1 * 2 / 2, rtol=1e-5)
    # Step 2, gradient -1: m = 0.18 - 0.1, v = 0.0784 + 0.02; corrected by 0.19 and 0.0396.
    updates, state = optimizer.update(jnp.array(-1.0), state, params)
    expected = -0.1 * 2**-0.5 * (0.08 / 0.19) / (0.0984 / 0.0396) ** 0.5
    np.testing.assert_allclose(updates, expected, rtol=1e-5)


def test_clipping_is_of_the_global_norm():
    config = dataclasses.replace(base_config().training, clip_norm=1.0)
    gradients = {"a": jnp.array([3.0]), "b": jnp.array([4.0])}
    clipped, same = make_optimizer(config, 512), make_optimizer(base_config().training, 512)
    state = clipped.init(gradients)
    _, state = clipped.update(gradients, state, gradients)
    moments = optax.tree.get(state, "mu")
    np.testing.assert_allclose(moments["a"], 0.1 * 3 / 5, rtol=1e-6)
    _, state = same.update(gradients, same.init(gradients), gradients)
    np.testing.assert_allclose(optax.tree.get(state, "mu")["a"], 0.1 * 3, rtol=1e-6)
