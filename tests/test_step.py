"""The update: gradients a token however the batch is cut, packing, the moving average."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from tests.helpers import VOCAB_SIZE, base_config, random_ids, segments, small_model
from transformer.config import MeshConfig
from transformer.data.batching import Batch
from transformer.model.encoder_decoder import Transformer, split
from transformer.sharding import make_mesh
from transformer.training.step import (
    abstract_model,
    batch_loss,
    decoding_params,
    make_eval_step,
    make_init,
    make_train_step,
)


def config_with(model=None, **training):
    config = base_config()
    model = small_model(num_layers=1, **({"dropout_rate": 0.0} | (model or {})))
    training = {"warmup_steps": 10} | training
    return dataclasses.replace(
        config, model=model, training=dataclasses.replace(config.training, **training)
    )


def example_batch(rows=8):
    """Rows of very different length, so that a mean of means would be another mean."""
    lengths = [1 + row % 5 for row in range(rows)]
    source, target = random_ids(1, rows, 6), random_ids(2, rows, 5)
    target_in = jnp.concatenate([jnp.ones((rows, 1), jnp.int32), target[:, :-1]], axis=1)
    return Batch(
        source, segments(*[6] * rows, width=6), None, target_in, target,
        segments(*lengths, width=5), None,
    )  # fmt: skip


def run(config, batch, steps=1):
    mesh = make_mesh(MeshConfig(1, 1, 1), jax.devices()[:1])
    init, shardings = make_init(config, VOCAB_SIZE, mesh)
    train_step = make_train_step(config, VOCAB_SIZE, mesh, shardings)
    state, losses = init(), []
    for _ in range(steps):
        state, metrics = train_step(state, batch)
        losses.append(float(metrics.loss))
    return state, metrics, losses


def assert_close(one, other, tolerance):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=tolerance), one, other)


@pytest.fixture(scope="module")
def whole():
    """One step on the example batch as it is."""
    return run(config_with(), example_batch())


def test_micro_batches_give_the_gradient_of_the_whole_batch(whole):
    """Compared through Adam's first moment, which is a tenth of the gradient."""
    state, metrics, _ = whole
    for count in (2, 4):
        cut_state, cut_metrics, _ = run(config_with(accumulate_steps=count), example_batch())
        assert_close(state.opt_state[0].mu, cut_state.opt_state[0].mu, 1e-6)
        assert_close(metrics, cut_metrics, 1e-5)


def test_padding_rows_change_nothing(whole):
    padded = jax.tree.map(lambda x: jnp.pad(x, ((0, 8), (0, 3))), example_batch())
    state, metrics, _ = whole
    padded_state, padded_metrics, _ = run(config_with(), padded)
    assert_close(state.opt_state[0].mu, padded_state.opt_state[0].mu, 1e-6)
    assert_close(metrics, padded_metrics, 1e-5)


def test_packed_loss_and_gradient_equal_unpacked_ones(whole):
    """Four pairs in rows of their own, and in two rows."""
    source, target = random_ids(1, 4, 3), random_ids(2, 4, 4)
    ones = jnp.ones_like
    target_in = jnp.concatenate([jnp.ones((4, 1), jnp.int32), target[:, :-1]], axis=1)
    apart = Batch(source, ones(source), None, target_in, target, ones(target), None)

    def numbered(length):
        row = jnp.repeat(jnp.array([1, 2]), length)
        return jnp.pad(jnp.tile(row, (2, 1)), ((0, 0), (0, 1)))

    def joined(ids):
        return jnp.pad(ids.reshape(2, -1), ((0, 0), (0, 1)))

    def restarting(length):
        return jnp.pad(jnp.tile(jnp.arange(length), (2, 2)), ((0, 0), (0, 1)))

    packed = Batch(
        joined(source), numbered(3), restarting(3),
        joined(target_in), joined(target), numbered(4), restarting(4),
    )  # fmt: skip
    config = config_with()
    graphdef, _ = split(abstract_model(config.model, VOCAB_SIZE))
    params = whole[0].params

    def loss(params, batch):
        return batch_loss(graphdef, params, batch, 0.1).loss

    one, gradient = jax.jit(jax.value_and_grad(loss))(params, apart)
    other, packed_gradient = jax.jit(jax.value_and_grad(loss))(params, packed)
    np.testing.assert_allclose(one, other, rtol=1e-5)
    assert_close(gradient, packed_gradient, 1e-5)


def test_the_average_follows_the_parameters(whole):
    state, *_ = run(config_with(ema_decay=0.9), example_batch())
    init = make_init(config_with(ema_decay=0.9), VOCAB_SIZE, make_mesh(MeshConfig(1, 1, 1)))[0]()
    # The first decay is min(0.9, 1 / 10).
    expected = jax.tree.map(lambda a, b: 0.1 * a + 0.9 * b, init.params, state.params)
    assert_close(state.ema, expected, 1e-6)
    assert decoding_params(state) is state.ema
    assert whole[0].ema is None and decoding_params(whole[0]) is whole[0].params


def test_seeds_differ_and_share_one_program():
    config, batch = config_with(model={"dropout_rate": 0.1}), example_batch()
    mesh = make_mesh(MeshConfig(1, 1, 1), jax.devices()[:1])
    programs, losses = set(), set()
    for seed in (0, 1):
        config = dataclasses.replace(config, seed=seed)
        init, shardings = make_init(config, VOCAB_SIZE, mesh)
        step = make_train_step(config, VOCAB_SIZE, mesh, shardings)
        state = init()
        programs.add(step.func.lower(*step.args, state, batch).as_text())
        losses.add(float(step(state, batch)[1].loss))
    assert len(programs) == 1 and len(losses) == 2


def test_a_batch_is_learnt_by_heart():
    *_, losses = run(config_with(label_smoothing=0.0), example_batch(), steps=150)
    assert losses[0] > 2 and losses[-1] < 0.1


def test_eval_step_is_without_dropout_and_smoothing():
    config = config_with(model={"dropout_rate": 0.5}, label_smoothing=0.1)
    mesh = make_mesh(MeshConfig(1, 1, 1), jax.devices()[:1])
    init, shardings = make_init(config, VOCAB_SIZE, mesh)
    state, batch = init(), example_batch()
    sums = make_eval_step(config, VOCAB_SIZE, mesh, shardings)(state.params, batch)
    graphdef, _ = split(abstract_model(config.model, VOCAB_SIZE))
    plain = jax.jit(lambda params: batch_loss(graphdef, params, batch))(state.params)
    assert_close(sums, plain, 1e-5)
    assert sums.tokens == jnp.sum(batch.target_segments)
    np.testing.assert_allclose(sums.loss, sums.nll)


def test_a_bias_of_the_output_layer_is_in_the_loss():
    config = small_model(num_layers=1, output_bias=True)
    graphdef, params = split(Transformer(config, VOCAB_SIZE, nnx.Rngs(0)))
    params["output_bias"] = jnp.linspace(-2.0, 2.0, VOCAB_SIZE)
    batch = example_batch()

    def by_logits(params):
        model = nnx.merge(graphdef, params)
        hidden = model(batch.source, batch.source_segments, batch.target_in, batch.target_segments)
        target = optax.smooth_labels(jax.nn.one_hot(batch.target_out, VOCAB_SIZE), 0.1)
        each = optax.softmax_cross_entropy(model.logits(hidden), target)
        return jnp.sum(jnp.where(batch.target_segments > 0, each, 0.0))

    def by_chunks(params):
        return batch_loss(graphdef, params, batch, 0.1).loss

    expected, found = (jax.jit(jax.value_and_grad(f))(params) for f in (by_logits, by_chunks))
    np.testing.assert_allclose(found[0], expected[0], rtol=1e-5)
    assert_close(found[1], expected[1], 1e-4)
    assert jnp.abs(found[1]["output_bias"]).max() > 0.1
