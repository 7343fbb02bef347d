"""What a pass leaves behind, against the formulas worked out from it by hand."""

import dataclasses
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from tests.helpers import (
    VOCAB_SIZE,
    base_config,
    make_model,
    random_ids,
    segments,
    small_model,
)
from transformer.config import MeshConfig
from transformer.data.corpus import Corpus
from transformer.data.tokenizer import EOS, Tokenizer
from transformer.decoding.inspection import inspect, keep_heads
from transformer.model import attention as attention_lib
from transformer.model.encoder_decoder import Transformer, split
from transformer.model.recording import record, record_step
from transformer.model.visibility import Visibility
from transformer.sharding import make_mesh
from transformer.training import validation

SOURCE, SOURCE_SEGMENTS = random_ids(1, 2, 5), segments(5, 3, width=5)
TARGET, TARGET_SEGMENTS = random_ids(2, 2, 6), segments(4, 6, width=6)
PAIR = (SOURCE, SOURCE_SEGMENTS, TARGET, TARGET_SEGMENTS)


def recorded(model, *arguments, run=Transformer.__call__, **options):
    """The result and the recording, compiled."""
    graphdef, params = split(model)

    @jax.jit
    def compiled(params):
        return record(run, nnx.merge(graphdef, params), *arguments, **options)

    return compiled(params)


@pytest.fixture(scope="module")
def model():
    return make_model()


@pytest.fixture(scope="module")
def both(model):
    return recorded(model, *PAIR)


@pytest.fixture(scope="module")
def recording(both):
    return both[1]


@pytest.fixture(scope="module")
def plain(model):
    """The result without recording."""
    return jax.jit(lambda: model(*PAIR))()


def test_recording_changes_no_result(both, plain):
    np.testing.assert_allclose(both[0], plain, atol=1e-6)


def test_each_querys_weights_sum_to_one(recording):
    shapes = [[(2, 2, *own)] * 2 for own in ((5, 5), (6, 6), (6, 5))]
    for weights, expected in zip(recording[:3], shapes, strict=True):
        assert [w.shape for w in weights] == expected
        for layer in weights:
            np.testing.assert_allclose(layer.sum(-1), 1, rtol=1e-5)


def test_what_may_not_be_attended_has_weight_zero(recording):
    for layer in range(2):
        for weights in (recording.encoder_attention[layer], recording.cross_attention[layer]):
            assert (weights[1, ..., 3:] == 0).all() and (weights[1, ..., :3] > 0).all()
        np.testing.assert_array_equal(
            recording.decoder_attention[layer] > 0,
            np.broadcast_to(np.tril(np.ones((6, 6), bool)), (2, 2, 6, 6)),
        )


def test_packed_rows_attend_their_own_sentence_only(model):
    own = jnp.array([[1, 1, 2, 2, 2, 0]])
    places = jnp.array([[0, 1, 0, 1, 2, 0]])
    ids = random_ids(3, 1, 6)
    _, found = recorded(model, ids, own, ids, own, source_positions=places, target_positions=places)
    same = (own[0][:, None] == own[0]) & (own[0] > 0)
    for kind, expected in zip(found[:3], (same, same & np.tril(same), same), strict=True):
        for weights in kind:
            np.testing.assert_array_equal(weights[0, :, :5] > 0, np.stack([expected[:5]] * 2))


def test_weights_are_equation_1_of_the_recorded_states(model, recording):
    """softmax(Q K^T / sqrt(d_k)) in NumPy, from the states before each layer."""

    def weights(attention, queries, keys, mask):
        q, k = (
            np.einsum("btd,dhk->bhtk", x, own[...])
            for x, own in ((queries, attention.query), (keys, attention.key))
        )
        scores = q @ k.swapaxes(2, 3) / np.sqrt(q.shape[-1])
        scores = np.where(mask, scores, -np.inf)
        exponentials = np.exp(scores - scores.max(-1, keepdims=True))
        return exponentials / exponentials.sum(-1, keepdims=True)

    real = np.asarray(SOURCE_SEGMENTS > 0)[:, None, None]
    earlier = np.tril(np.ones((6, 6), bool))
    for n in range(2):
        x, y = recording.encoder_states[n], recording.decoder_states[n]
        expected = weights(model.encoder[n].self_attention, x, x, real)
        np.testing.assert_allclose(recording.encoder_attention[n], expected, atol=1e-5)
        layer = model.decoder[n]
        expected = weights(layer.self_attention, y, y, earlier)
        np.testing.assert_allclose(recording.decoder_attention[n], expected, atol=1e-5)
        attended = layer.self_attention(
            y, layer.self_attention.keys_values(y), Visibility(causal=True)
        )
        y = layer.self_attention_residual.leave(y, attended)
        expected = weights(layer.cross_attention, y, recording.encoder_states[-1], real)
        np.testing.assert_allclose(recording.cross_attention[n], expected, atol=1e-5)


def test_the_states_are_those_between_the_layers(model, recording, plain):
    embedded = model.source_embedding(SOURCE) + model.source_positions(5)
    np.testing.assert_allclose(recording.encoder_states[0], embedded, atol=1e-6)
    assert len(recording.encoder_states) == len(recording.decoder_states) == 3
    np.testing.assert_allclose(recording.decoder_states[-1], plain, atol=1e-6)
    layer = jax.jit(lambda x: model.encoder[0](x, Visibility(SOURCE_SEGMENTS)))
    after = layer(recording.encoder_states[0])
    np.testing.assert_allclose(recording.encoder_states[1], after, atol=1e-5)


def test_the_encoder_alone(model, recording):
    memory, found = recorded(model, SOURCE, SOURCE_SEGMENTS, run=Transformer.encode)
    assert found.decoder_attention == found.cross_attention == found.decoder_states == []
    for a, b in zip(found.encoder_attention, recording.encoder_attention, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)
    np.testing.assert_allclose(memory, recording.encoder_states[-1], atol=1e-6)


@pytest.mark.parametrize("changes", [{"remat": True}, {"attention": "fused"}], ids=str)
def test_other_ways_to_compute_the_same_are_recorded_too(recording, changes, monkeypatch):
    def kernel(*_):
        raise AssertionError("A kernel keeps no weights.")

    monkeypatch.setattr(attention_lib, "_KERNELS", {"cpu": kernel})
    _, found = recorded(make_model(**changes), *PAIR)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), found, recording)


def test_dropout_comes_after_the_weights(recording):
    model = make_model(dropout_rate=0.0, attention_dropout_rate=0.5)
    encoder = {"run": Transformer.encode, "dropout_key": jax.random.key(0)}
    _, dropped = recorded(model, SOURCE, SOURCE_SEGMENTS, **encoder)
    assert not np.allclose(dropped.encoder_states[1], recording.encoder_states[1])
    first = dropped.encoder_attention[0], recording.encoder_attention[0]
    np.testing.assert_allclose(*first, atol=1e-6)


def test_nothing_is_sown_when_it_is_off():
    model = make_model()
    before = nnx.split(model)

    def run(model):
        return model(*PAIR)

    _, sown = nnx.capture(run, nnx.Intermediate)(model)
    assert nnx.to_pure_dict(sown) == {}
    record(run, model)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # NNX warns of what is sown and not captured
        run(model)
    graphdef, state = nnx.split(model)
    assert graphdef == before[0]
    jax.tree.map(np.testing.assert_array_equal, state, before[1])


def test_a_failed_pass_leaves_recording_off():
    model = make_model()

    def fail(model):
        raise RuntimeError("no")

    with pytest.raises(RuntimeError, match="no"):
        record(fail, model)
    assert not any(getattr(m, "recording", False) for _, m in nnx.iter_modules(model))


def test_cached_steps_record_what_the_whole_pass_does():
    """Two sentences, three hypotheses each, the cache wider than what is written."""
    model, beams, length = make_model(norm="pre"), 3, 6
    graphdef, params = split(model)
    target = random_ids(4, 2 * beams, length)
    wide = [jnp.repeat(x, beams, 0) for x in (SOURCE, SOURCE_SEGMENTS)]
    _, forced = recorded(model, *wide, target, jnp.ones_like(target))

    @jax.jit
    def step(params, tokens, positions, cache):
        model = nnx.merge(graphdef, params)
        memory = model.encode(SOURCE, SOURCE_SEGMENTS)
        context = model.decoding_context(memory, SOURCE_SEGMENTS)
        return record_step(model, tokens, positions, cache, context)

    cache = jax.jit(lambda: model.empty_cache(2, beams, length + 2))()
    for position in range(length):
        tokens = target[:, position].reshape(2, beams)
        _, cache, found = step(params, tokens, jnp.full(2, position), cache)
        for n in range(2):
            own = forced.decoder_attention[n][:, :, position].reshape(2, beams, 2, length)
            weights = found.decoder_attention[n].swapaxes(1, 2)
            np.testing.assert_allclose(weights[..., :length], own, atol=1e-5)
            assert (weights[..., position + 1 :] == 0).all()
            own = forced.cross_attention[n][:, :, position].reshape(2, beams, 2, 5)
            np.testing.assert_allclose(found.cross_attention[n].swapaxes(1, 2), own, atol=1e-5)
        for n in range(3):
            own = forced.decoder_states[n][:, position].reshape(2, beams, -1)
            np.testing.assert_allclose(found.decoder_states[n], own, atol=1e-5)


class Numbers(Tokenizer):
    """Its pieces are the ids themselves."""

    vocab_size = VOCAB_SIZE

    def __init__(self):
        pass

    def encode(self, texts):
        return [list(map(int, text.split())) for text in texts]

    def pieces(self, ids):
        return [str(i) for i in ids]


@pytest.mark.parametrize("changes", [{}, {"positions": "learned", "max_positions": 6}])
def test_an_inspection_is_a_pass_without_its_padding(changes):
    model = make_model(**changes)
    graphdef, params = split(model)
    source, target = [*SOURCE[0].tolist(), EOS], [*TARGET[0, :3].tolist(), EOS]
    found = inspect(graphdef, params, Numbers(), source, target)
    arrays = [jnp.array([ids]) for ids in (source, [1, *target[:-1]])]
    ones = [jnp.ones_like(ids) for ids in arrays]
    hidden, expected = recorded(model, arrays[0], ones[0], arrays[1], ones[1])
    assert found.source_tokens == [str(i) for i in source]
    assert found.target_tokens == [str(i) for i in target]
    assert found.target_inputs == ["1", *found.target_tokens[:-1]]
    for name in expected._fields:
        layers = np.stack(getattr(expected, name))[:, 0]
        np.testing.assert_allclose(getattr(found, name), layers, atol=1e-5)
    log_probs = jax.nn.log_softmax(model.logits(hidden))[0, jnp.arange(4), jnp.array(target)]
    np.testing.assert_allclose(found.token_log_probs, log_probs, atol=1e-5)


def test_what_has_no_positions_is_not_drawn():
    model = small_model(positions="learned", max_positions=20)
    config = dataclasses.replace(base_config(), model=model)
    corpus = Corpus([" ".join("5" * 20)], ["5"])  # with the end token one too many
    mesh = make_mesh(MeshConfig(1, 1, 1), jax.devices()[:1])
    validator = validation.Validator(
        config, mesh, Numbers(), corpus, list, lambda params, batch: None
    )
    assert validator.draw_attention({}) == {}


def test_a_validation_translates_in_the_dtype_of_decoding(monkeypatch):
    graphdefs = []
    monkeypatch.setattr(validation, "Translator", lambda graphdef, *_: graphdefs.append(graphdef))
    config, params = base_config(), split(make_model())[1]
    config = dataclasses.replace(
        config,
        model=small_model(),
        decoding=dataclasses.replace(config.decoding, dtype="bfloat16"),
    )
    mesh, corpus = make_mesh(MeshConfig(1, 1, 1), jax.devices()[:1]), Corpus([], [])
    validation.Validator(config, mesh, Numbers(), corpus, list, lambda params, batch: None)
    model = nnx.merge(graphdefs[0], params)
    assert model.encode(*PAIR[:2]).dtype == jnp.bfloat16


@pytest.mark.parametrize("kind", ["encoder", "decoder", "cross"])
def test_silent_heads_add_nothing(kind):
    """With one head kept, an attention gives that head's values through its own part of W^O."""
    graphdef, params = split(make_model())
    changed = keep_heads(params, kind, 1, [1])
    kept = nnx.merge(graphdef, changed)
    stack = kept.encoder if kind == "encoder" else kept.decoder
    attention = stack[1].cross_attention if kind == "cross" else stack[1].self_attention

    @jax.jit
    def run(x):
        projected = attention.keys_values(x)
        query = jnp.einsum("btd,dhk->bthk", x, attention.query[...])
        heads = attention_lib.dot_product_attention(query, *projected)
        return attention(x, projected, Visibility()), heads[:, :, 1] @ attention.output[...][1]

    np.testing.assert_allclose(*run(jax.random.normal(jax.random.key(0), (1, 4, 16))), atol=1e-5)
    same = jax.tree.map(lambda a, b: bool((a == b).all()), params, changed)
    flat, _ = jax.tree.flatten_with_path(same)
    assert [jax.tree_util.keystr(path) for path, equal in flat if not equal] == [
        "['{}'][1]['{}']['output']".format(
            "encoder" if kind == "encoder" else "decoder",
            "cross_attention" if kind == "cross" else "self_attention",
        )
    ]


def test_bfloat16_is_recorded_in_float32_weights():
    model = make_model(dtype="bfloat16", num_layers=1)
    _, found = recorded(model, *PAIR)
    assert {str(w.dtype) for weights in found[:3] for w in weights} == {"float32"}
    assert {str(x.dtype) for states in found[3:] for x in states} == {"bfloat16"}
