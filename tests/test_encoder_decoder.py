"""The whole model: causality, padding, the cache, packing, switches, parameter counts."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from configs import base, big
from tests.helpers import VOCAB_SIZE, logits, make_model, random_ids, segments
from transformer.config import from_dict
from transformer.model import encoder_decoder
from transformer.model.decoding_cache import RECENT
from transformer.model.encoder_decoder import Transformer, logical_axes, split
from transformer.sharding import RULES


@pytest.fixture(scope="module")
def model():
    return make_model()


def test_causality_by_gradient():
    """The logits at t depend on decoder inputs up to t, and on every word of the source.

    With a word of its own at every position, the gradient of an embedding's row tells whether the
    position was seen.
    """
    model = make_model(tie_embeddings="none")
    graphdef, params = split(model)
    source, target = jnp.array([[9, 10, 11, 12]]), jnp.array([[1, 4, 5, 6, 7, 8]])
    ones = jnp.ones((1, 6), jnp.int32)

    def of_embeddings(target_rows, source_rows):
        changed = jax.tree.map(lambda x: x, params)
        changed["target_embedding"]["matrix"] = target_rows
        changed["own_source_embedding"]["matrix"] = source_rows
        return logits(nnx.merge(graphdef, changed), source, ones[:, :4], target, ones)[0, :, 3]

    by_target, by_source = jax.jit(jax.jacobian(of_embeddings, argnums=(0, 1)))(
        params["target_embedding"]["matrix"], params["own_source_embedding"]["matrix"]
    )
    seen = jnp.abs(by_target[:, target[0]]).max(-1) > 0  # [T out, T in]
    np.testing.assert_array_equal(seen, np.tril(np.ones((6, 6), bool)))
    assert (jnp.abs(by_source[:, source[0]]).max(-1) > 0).all()


def test_padding_changes_nothing(model):
    """Neither what stands in padding, nor how much of it there is."""
    source, target = random_ids(1, 2, 4), random_ids(2, 2, 3)
    reference = logits(model, source, segments(4, 3, width=4), target, segments(3, 2, width=3))
    wide_source = jnp.concatenate([source, random_ids(3, 2, 5)], axis=1)
    wide_target = jnp.concatenate([target, random_ids(4, 2, 2)], axis=1)
    wide_source = wide_source.at[1, 3].set(12)
    wide_target = wide_target.at[1, 2].set(12)
    padded = logits(
        model, wide_source, segments(4, 3, width=9), wide_target, segments(3, 2, width=5)
    )
    np.testing.assert_allclose(padded[0, :3], reference[0], atol=1e-5)
    np.testing.assert_allclose(padded[1, :2], reference[1, :2], atol=1e-5)


OTHERS = {
    "attention_bias": True,
    "output_bias": True,
    "activation": "swish",
    "positions": "sinusoidal_halves",
}


@pytest.mark.parametrize(
    "switches",
    [
        {"norm": "post", "positions": "sinusoidal"},
        {"norm": "post", "positions": "learned"},
        {"norm": "pre", "positions": "learned"},
        {"norm": "pre"} | OTHERS,
    ],
    ids=str,
)
def test_cached_steps_equal_teacher_forcing(switches, monkeypatch):
    monkeypatch.setattr(encoder_decoder, "_TURNED_WIDTH", 0)
    graphdef, params = split(make_model(**switches))
    params = jax.tree.map(lambda p: p + 0.1, params)  # biases other than zero
    model = nnx.merge(graphdef, params)
    beams = 3
    source, source_segments = random_ids(1, 2, 5), segments(5, 3, width=5)
    target = random_ids(2, 2 * beams, 6)  # a target of its own for every hypothesis
    reference = logits(
        model,
        jnp.repeat(source, beams, 0),
        jnp.repeat(source_segments, beams, 0),
        target,
        jnp.ones_like(target),
    ).reshape(2, beams, 6, VOCAB_SIZE)

    @jax.jit
    def start(params):
        model = nnx.merge(graphdef, params)
        context = model.decoding_context(model.encode(source, source_segments), source_segments)
        return context, model.empty_cache(2, beams, 9)

    @jax.jit
    def step(params, tokens, positions, cache):
        model = nnx.merge(graphdef, params)
        model.prepare_steps(8)
        return model.decode_step(tokens, positions, cache, context)

    context, cache = start(params)
    for position in range(6):
        tokens = target[:, position].reshape(2, beams)
        found, cache = step(params, tokens, jnp.full(2, position), cache)
        np.testing.assert_allclose(found, reference[:, :, position], atol=1e-5)


def test_weights_are_turned_over_for_steps_of_many_hypotheses(monkeypatch):
    """Not for one line's, and not on accelerators."""

    def matrices(model):
        own, memory, feed = (
            getattr(model.decoder[1], part)
            for part in ("self_attention", "cross_attention", "feed_forward")
        )
        names = "query", "key", "value", "output"
        return [getattr(a, name) for a in (own, memory) for name in names] + [feed.w1, feed.w2]

    model = make_model(d_model=512, d_k=4, d_v=4)
    with monkeypatch.context() as patch:
        patch.setattr(encoder_decoder, "platform", lambda: "gpu")
        model.prepare_steps(8)
    model.prepare_steps(4)
    before = [matrix[...] for matrix in matrices(model)]
    assert not any(matrix.turned for matrix in matrices(model))
    model.prepare_steps(8)
    model.prepare_steps(8)
    assert all(matrix.turned for matrix in matrices(model))
    for old, new, axes in zip(before, matrices(model), [1, 1, 1, 2] * 2 + [1, 1], strict=True):
        np.testing.assert_array_equal(np.moveaxis(old, range(axes), range(-axes, 0)), new[...])


@pytest.mark.parametrize(("batch", "room"), [(2, None), (3, 34), (17, 34)])
def test_a_hypothesis_goes_on_from_another_ones_past(model, batch, room):
    """Steps with the hypotheses reordered in between, against teacher forcing of what they are.

    With `room` every place is written more than once, of which later steps must see nothing.
    """
    beams, steps = 3, 20
    source, random = random_ids(1, batch, 5), np.random.default_rng(0)
    ones = jnp.ones_like(source)
    context = model.decoding_context(model.encode(source, ones), ones)
    cache = model.empty_cache(batch, beams, steps + 2, room)
    wide = [jnp.repeat(x, beams, 0) for x in (source, ones)]
    past = np.zeros((batch, beams, steps), np.int32)
    step = nnx.jit(lambda model, *arguments: model.decode_step(*arguments))
    for position in range(steps):
        past[:, :, position] = random.integers(4, VOCAB_SIZE, (batch, beams))
        tokens, positions = jnp.asarray(past[:, :, position]), jnp.full(batch, position)
        found, cache = step(model, tokens, positions, cache, context)
        rows = past.reshape(batch * beams, -1)
        expected = logits(model, *wide, jnp.asarray(rows), jnp.ones(rows.shape, jnp.int32))
        expected = expected[:, position].reshape(found.shape)
        np.testing.assert_allclose(found, expected, atol=1e-5)
        parents = random.integers(0, beams, (batch, beams))
        past = np.take_along_axis(past, parents[:, :, None], axis=1)
        cache = model.reorder(cache, jnp.asarray(parents))
    assert not model.lost(cache).any()
    places = cache.layers[0].keys.shape[-1]
    assert places == (beams * (steps + 2) if room is None else room + beams * RECENT)


def test_a_sentence_that_needs_more_room_than_there_is_says_so(model):
    """Of two sentences the first one's hypotheses stay apart, the other's are one all the time."""
    beams, room = 3, 20
    source = random_ids(1, 2, 5)
    ones = jnp.ones_like(source)
    context = model.decoding_context(model.encode(source, ones), ones)
    cache, lost = model.empty_cache(2, beams, 40, room), []
    step = nnx.jit(lambda model, *arguments: model.decode_step(*arguments))
    for position in range(2 * RECENT + 2):
        tokens = random_ids(position, 2, beams)
        _, cache = step(model, tokens, jnp.full(2, position), cache, context)
        cache = model.reorder(cache, jnp.array([[0, 1, 2], [1, 1, 1]]))
        lost.append(model.lost(cache).tolist())
    # Before step 8 the first sentence has 24 places of its own.
    assert lost == [[False, False]] * RECENT + [[True, False]] * (RECENT + 2)
    assert model.lost(model.forget(cache, jnp.array([0]))).tolist() == [False, False]
    assert model.lost(model.forget(cache, jnp.array([2]))).tolist() == [True, False]


def test_packed_rows_equal_rows_of_their_own(model):
    """No sentence sees its neighbour: two pairs in one row, and each in a row of its own."""
    source, target = random_ids(1, 1, 7), random_ids(2, 1, 8)
    packed = logits(
        model,
        source,
        jnp.array([[1, 1, 1, 2, 2, 2, 0]]),
        target,
        jnp.array([[1, 1, 2, 2, 2, 2, 2, 0]]),
        source_positions=jnp.array([[0, 1, 2, 0, 1, 2, 0]]),
        target_positions=jnp.array([[0, 1, 0, 1, 2, 3, 4, 0]]),
    )
    first = logits(model, source[:, :3], segments(3, width=3), target[:, :2], segments(2, width=2))
    second = logits(
        model, source[:, 3:6], segments(3, width=3), target[:, 2:7], segments(5, width=5)
    )
    np.testing.assert_allclose(packed[:, :2], first, atol=1e-5)
    np.testing.assert_allclose(packed[:, 2:7], second, atol=1e-5)


def test_dropout_follows_the_key(model):
    source = random_ids(1, 2, 4)
    arguments = (source, jnp.ones_like(source), source, jnp.ones_like(source))
    one, same, other = (
        logits(model, *arguments, dropout_key=jax.random.key(seed)) for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(one, same)
    assert not np.allclose(one, other)
    assert not np.allclose(one, logits(model, *arguments))


def test_each_dropout_rate_is_used_where_it_belongs():
    source = random_ids(1, 2, 4)
    arguments = (source, jnp.ones_like(source), source, jnp.ones_like(source))
    off = {"dropout_rate": 0.0, "attention_dropout_rate": 0.0, "feed_forward_dropout_rate": 0.0}
    key = jax.random.key(0)
    plain = logits(make_model(**off), *arguments)
    np.testing.assert_array_equal(logits(make_model(**off), *arguments, dropout_key=key), plain)
    for name in off:
        model = make_model(**(off | {name: 0.4}))
        assert not np.allclose(logits(model, *arguments, dropout_key=key), plain), name


def test_rematerialisation_changes_no_number():
    source = random_ids(1, 2, 4)
    ones = jnp.ones_like(source)

    def gradient(remat):
        graphdef, params = split(make_model(remat=remat, num_layers=1))

        def loss(params):
            model = nnx.merge(graphdef, params)
            return jnp.sum(model(source, ones, source, ones, dropout_key=jax.random.key(0)) ** 3)

        traced = jax.jit(jax.grad(loss)).trace(params)
        assert ("remat" in str(traced.jaxpr)) == remat
        return traced.lower().compile()(params)

    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, atol=1e-4), gradient(False), gradient(True)
    )


def test_bfloat16_computes_in_bfloat16_and_keeps_float32_parameters(model):
    half = make_model(dtype="bfloat16")
    assert {str(p.dtype) for p in jax.tree.leaves(split(half)[1])} == {"float32"}
    source = random_ids(1, 2, 4)
    arguments = (source, jnp.ones_like(source), source, jnp.ones_like(source))
    assert nnx.eval_shape(half, *arguments).dtype == jnp.bfloat16
    found = logits(half, *arguments)
    assert found.dtype == jnp.float32
    np.testing.assert_allclose(found, logits(model, *arguments), atol=0.1)


@pytest.mark.parametrize(("tie", "matrices"), [("all", 1), ("decoder", 2), ("none", 3)])
def test_tying_decides_the_number_of_matrices(tie, matrices):
    _, params = split(make_model(tie_embeddings=tie))
    shapes = [p.shape for p in jax.tree.leaves(params)]
    assert shapes.count((VOCAB_SIZE, 16)) == matrices


def test_each_bias_is_one_more_vector():
    sizes = {"num_layers": 1, "num_heads": 2, "d_model": 16, "d_k": 8, "d_v": 6}
    counts = [
        sum(p.size for p in jax.tree.leaves(split(make_model(**sizes, **switches))[1]))
        for switches in ({}, {"attention_bias": True}, {"output_bias": True})
    ]
    assert counts[1] - counts[0] == 3 * (2 * (8 + 8 + 6) + 16)
    assert counts[2] - counts[0] == VOCAB_SIZE


def parameter_count(config, vocab_size):
    model = nnx.eval_shape(lambda: Transformer(config.model, vocab_size, nnx.Rngs(0)))
    return sum(math.prod(p.shape) for p in jax.tree.leaves(split(model)[1]))


def test_parameter_counts_of_base_and_big():
    """Worked out from Figure 1: V d, attention 4 d^2 (3 a layer pair), FFN 2 d f + f + d, norms."""
    for module, d, f in ((base, 512, 2048), (big, 1024, 4096)):
        feed_forward = 2 * d * f + f + d
        encoder = 4 * d * d + feed_forward + 2 * 2 * d
        decoder = 8 * d * d + feed_forward + 3 * 2 * d
        expected = 37_000 * d + 6 * (encoder + decoder)
        assert parameter_count(from_dict(module.get_config()), 37_000) == expected
    assert parameter_count(from_dict(base.get_config()), 37_000) == 63_045_632
    assert parameter_count(from_dict(big.get_config()), 37_000) == 214_171_648


def test_every_parameter_names_its_axes(model):
    _, params = split(model)
    axes = logical_axes(model)

    def check(param, names):
        assert len(names) == param.ndim
        assert set(names) <= set(RULES)

    jax.tree.map(check, params, axes)


@pytest.mark.parametrize("remat", [False, True])
def test_jax_traces_one_layer_of_each_stack(remat):
    """The six layers are calls of two programs, each with weights of its own."""
    model = make_model(num_layers=3, dropout_rate=0.1, remat=remat)

    def run(model, key):
        ones = jnp.ones((2, 4), jnp.int32)
        return model(ones, ones, ones, ones, dropout_key=key)

    traced = jax.make_jaxpr(run)(model, jax.random.key(0)).jaxpr
    calls = [equation for equation in traced.eqns if "_run_layer" in str(equation.params)]
    assert len(calls) == 6
    assert len({str(equation.params["jaxpr"]) for equation in calls}) == 2
    if not remat:
        assert len({id(equation.params["jaxpr"]) for equation in calls}) == 2
