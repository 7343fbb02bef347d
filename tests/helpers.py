"""Small models and batches that several test modules share."""

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
from flax import nnx

from configs import base
from transformer import config as config_lib
from transformer.config import Config, ModelConfig
from transformer.model.encoder_decoder import Transformer, split

VOCAB_SIZE = 13


def base_config() -> Config:
    return config_lib.from_dict(base.get_config())


def small_model(**changes) -> ModelConfig:
    sizes = {"num_layers": 2, "d_model": 16, "d_ff": 24, "num_heads": 2, "d_k": 8, "d_v": 6}
    return dataclasses.replace(base_config().model, **(sizes | changes))


def make_model(seed: int = 0, **changes) -> Transformer:
    return Transformer(small_model(**changes), VOCAB_SIZE, nnx.Rngs(seed))


def random_ids(seed: int, *shape: int) -> jax.Array:
    """Ids of real tokens, none of them reserved."""
    return jax.random.randint(jax.random.key(seed), shape, 4, VOCAB_SIZE)


def segments(*lengths: int, width: int) -> jax.Array:
    """[B width]: ones, a row's length of them, then padding."""
    return (jnp.arange(width) < jnp.array(lengths)[:, None]).astype(jnp.int32)


def logits(model: Transformer, *arguments, **options) -> jax.Array:
    """The model's logits, compiled: op by op, a test would take seconds."""
    graphdef, params = split(model)
    return _logits(graphdef, params, arguments, options)


@partial(jax.jit, static_argnums=0)
def _logits(graphdef, params, arguments, options):
    model = nnx.merge(graphdef, params)
    return model.logits(model(*arguments, **options))
