"""FLOPs by hand, against the traced program's products, and against XLA's own count."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import pytest
from flax import nnx
from jax.extend.core import ClosedJaxpr, Jaxpr

from tests.helpers import VOCAB_SIZE, base_config, make_model, small_model
from transformer.data.batching import Batch
from transformer.model.encoder_decoder import split
from transformer.model.flops import forward_flops, training_flops
from transformer.training.step import batch_loss


def test_by_hand():
    """N 1, D 8, F 32, h 2, d_k 4, d_v 3, V 10, S 3, T 2; multiplications first, times 2 at last."""
    config = small_model(num_layers=1, d_model=8, d_ff=32, num_heads=2, d_k=4, d_v=3)
    # One query's W^Q 8 x 8 and W^O 6 x 8, one key's W^K 8 x 8 and W^V 8 x 6: 112 each.
    # One query meeting one key: 2 heads x (4 + 3) = 14. W1 and W2 at a position: 2 x 8 x 32 = 512.
    encoder = 3 * 112 + 3 * 112 + 3 * 3 * 14 + 3 * 512  # 2334
    decoder_self = 2 * 112 + 2 * 112 + 2 * 2 * 14  # 504
    decoder_cross = 2 * 112 + 3 * 112 + 2 * 3 * 14  # 644
    decoder = decoder_self + decoder_cross + 2 * 512  # 2172
    logits = 2 * 8 * 10  # 160
    assert encoder + decoder + logits == 4666
    assert forward_flops(config, 10, 3, 2) == 2 * 4666
    assert training_flops(config, 10, 3, 2) == 6 * 4666


def test_the_papers_base_model():
    """About two operations a parameter and token: the rest is attention over the positions."""
    model = base_config().model
    # Weights of 6 encoder layers (4 D^2 + 2 D F) and 6 decoder layers (8 D^2 + 2 D F), and D V.
    encoder, decoder = 6 * (4 * 512**2 + 2 * 512 * 2048), 6 * (8 * 512**2 + 2 * 512 * 2048)
    products = 2 * 25 * (encoder + decoder + 512 * 37_000)
    # Every pair of positions: 2 x 1024 in each of 6 + 6 + 6 attentions.
    attention = 18 * 2 * 25 * 25 * 1024
    assert forward_flops(model, 37_000, 25, 25) == products + attention


def products(jaxpr: Jaxpr) -> int:
    """2 m n p of every dot product in a program, those of its loops as often as they run."""
    total = 0
    for equation in jaxpr.eqns:
        if equation.primitive.name == "dot_general":
            (contracted, _), _ = equation.params["dimension_numbers"]
            shape = equation.invars[0].aval.shape
            summed = math.prod(shape[axis] for axis in contracted)
            total += 2 * summed * equation.outvars[0].aval.size
        times = equation.params.get("length", 1) if equation.primitive.name == "scan" else 1
        for value in equation.params.values():
            if isinstance(value, ClosedJaxpr | Jaxpr):
                total += times * products(getattr(value, "jaxpr", value))
    return total


@pytest.mark.parametrize(
    "changes", [{}, {"norm": "pre", "tie_embeddings": "none", "d_k": 3}, {"num_layers": 3}]
)
def test_it_counts_the_products_of_the_real_program(changes):
    """Two sentence pairs without padding: forward as it stands, and a training step's gradient."""
    config = small_model(**changes)
    graphdef, params = split(make_model(**changes))
    source, target = jnp.ones((2, 7), jnp.int32), jnp.ones((2, 5), jnp.int32)

    def forward(params):
        model = nnx.merge(graphdef, params)
        return model.logits(model(source, source, target, target))

    def loss(params):
        batch = Batch(source, source, None, target, target, target, None)
        return batch_loss(graphdef, params, batch, 0.1, jax.random.key(0)).loss

    counted = products(jax.make_jaxpr(forward)(params).jaxpr)
    assert counted == 2 * forward_flops(config, VOCAB_SIZE, 7, 5)
    counted = products(jax.make_jaxpr(jax.grad(loss))(params).jaxpr)
    smoothing = 2 * 5 * config.d_model  # the mean logit, see the loss: 1 / 3V of the logits' cost
    assert counted == 2 * (training_flops(config, VOCAB_SIZE, 7, 5) + smoothing)


def test_xla_counts_a_few_percent_more():
    """Its figure for the compiled forward pass has softmax, layer norm and the like in it."""
    changes = {"d_model": 128, "d_ff": 512, "num_heads": 4, "d_k": 32, "d_v": 32}
    config = small_model(**changes)
    graphdef, params = split(make_model(**changes))
    source, target = jnp.ones((2, 16), jnp.int32), jnp.ones((2, 12), jnp.int32)

    def forward(params, source, target):
        model = nnx.merge(graphdef, params)
        return model.logits(model(source, source, target, target))

    found = jax.jit(forward).lower(params, source, target).compile().cost_analysis()["flops"]
    expected = 2 * forward_flops(config, VOCAB_SIZE, 16, 12)
    assert expected < found < 1.05 * expected


def test_means_of_lengths_underrate_only_the_products_of_positions():
    model = base_config().model
    lengths = [(10, 8), (30, 40)]
    mean = forward_flops(model, 37_000, 20.0, 24.0)
    exact = sum(forward_flops(model, 37_000, *pair) for pair in lengths) / 2
    # Variances are 100 and 256, the covariance 160; times 2 x 1024 in 6 layers each.
    assert exact - mean == 6 * 2048 * (100 + 256 + 160)


def test_heads_split_the_same_work():
    """Table 3, rows A: d_k = d_v = d_model / h costs the same with any number of heads."""
    model = base_config().model
    one = dataclasses.replace(model, num_heads=1, d_k=512, d_v=512)
    assert forward_flops(one, 37_000, 25, 25) == forward_flops(model, 37_000, 25, 25)
