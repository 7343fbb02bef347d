"""Weights drawn together are those that are drawn one by one."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from tests.helpers import VOCAB_SIZE, small_model
from transformer.model.encoder_decoder import Transformer, split
from transformer.model.initial import draw, outline

EVERYTHING = {
    "tie_embeddings": "none",
    "positions": "learned",
    "attention_bias": True,
    "output_bias": True,
    "norm": "pre",
}


@pytest.mark.parametrize("changes", [{}, EVERYTHING], ids=["plain", "everything"])
def test_weights_drawn_together_are_those_of_rngs(changes):
    make = partial(Transformer, small_model(num_layers=3, **changes), VOCAB_SIZE)

    @jax.jit
    def by_one(seed):
        return split(make(nnx.Rngs(jax.random.key(seed))))[1]

    @jax.jit
    def together(seed):
        return split(draw(make, jax.random.key(seed)))[1]

    one, other = by_one(7), together(7)
    jax.tree.map(np.testing.assert_array_equal, one, other)
    assert jnp.std(one["encoder"][2]["feed_forward"]["w1"]) > 0


def test_the_program_that_draws_does_not_grow_with_the_layers():
    """All layers of a kind pass one generator."""

    def generators(num_layers):
        make = partial(Transformer, small_model(num_layers=num_layers), VOCAB_SIZE)
        program = jax.jit(lambda key: split(draw(make, key))[1]).lower(jax.random.key(0))
        return program.as_text().count("call @_uniform")

    assert 0 < generators(1) == generators(3)


def test_an_outline_is_the_model_without_its_numbers():
    make = partial(Transformer, small_model(**EVERYTHING), VOCAB_SIZE)
    graphdef, shapes = split(outline(make))
    expected = split(nnx.eval_shape(lambda: make(nnx.Rngs(0))))
    assert (graphdef, shapes) == expected
    assert isinstance(shapes["output_bias"], jax.ShapeDtypeStruct)
