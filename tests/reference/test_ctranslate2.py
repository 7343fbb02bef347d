"""Exported runs in CTranslate2: log probabilities of every kind of model, and translations."""

import dataclasses

import ctranslate2
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import sentencepiece
from flax import nnx

from tests.helpers import base_config, small_model
from tests.marian_directory import counting
from tests.reference.test_marian import assert_same_or_better
from transformer.data.tokenizer import BOS, EOS, PAD, train_tokenizer
from transformer.decoding.translate import Translator
from transformer.interop.export import export
from transformer.model.encoder_decoder import Transformer, split

pytestmark = pytest.mark.reference

# Outputs of any length, by the best log probability: where that is the score, both searches end
# only when nothing can change any more.
EXACT = {"beam_size": 4, "length_penalty": 0, "min_decoding_length": 0, "return_scores": True}


def load_theirs(folder):
    processor = sentencepiece.SentencePieceProcessor(str(folder / "sentencepiece.model"))
    options = {"device": "cpu", "compute_type": "float32", "intra_threads": 1}
    return ctranslate2.Translator(str(folder), **options), processor


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"norm": "pre", "tie_embeddings": "none", "positions": "learned", "max_positions": 32},
        {"tie_embeddings": "decoder", "positions": "sinusoidal_halves", "activation": "swish"},
        {"attention_bias": True, "output_bias": True, "layer_norm_epsilon": 1e-2},
    ],
)
def test_log_probabilities(changes, tmp_path):
    """Of random weights, each of them away from what it is at the start."""
    sources, targets = counting(8, seed=4)
    tokenizer = train_tokenizer(sources + targets, 300)
    model = small_model(d_v=8, **changes)
    config = dataclasses.replace(base_config(), model=model)
    graphdef, params = split(Transformer(model, tokenizer.vocab_size, nnx.Rngs(0)))
    random = np.random.default_rng(0)
    params = jax.tree.map(lambda x: x + random.normal(0, 0.2, x.shape).astype("f4"), params)
    export(tmp_path / "out", "ctranslate2", config, params, tokenizer)
    translator, processor = load_theirs(tmp_path / "out")

    pieces = [processor.encode(texts, out_type=str) for texts in (sources, targets)]
    source, target = (padded(tokenizer, texts) for texts in (sources, targets))
    target_in = jnp.pad(target[:, :-1], ((0, 0), (1, 0)), constant_values=BOS)

    @jax.jit
    def log_probs():
        module = nnx.merge(graphdef, params)
        segments = [(ids != PAD).astype(jnp.int32) for ids in (source, target)]
        logits = module.logits(module(source, segments[0], target_in, segments[1]))
        # Neither PAD nor BOS can be had from CTranslate2: their share goes to the others.
        every = jax.nn.log_softmax(logits.at[..., jnp.array([PAD, BOS])].set(-jnp.inf))
        return jnp.take_along_axis(every, target[..., None], axis=2)[..., 0]

    scored = translator.score_batch(*pieces)
    for one, expected, ids in zip(scored, log_probs(), target, strict=True):
        length = int((ids != PAD).sum())
        np.testing.assert_allclose(one.log_probs, expected[:length], rtol=0, atol=1e-4)


def padded(tokenizer, texts):
    rows = [[*ids, EOS] for ids in tokenizer.encode(texts)]
    width = max(map(len, rows))
    return jnp.array([row + [PAD] * (width - len(row)) for row in rows])


@pytest.fixture(scope="module")
def exported(counting_run, tmp_path_factory):
    folder = tmp_path_factory.mktemp("exported") / "out"
    decoding = dataclasses.replace(counting_run.config.decoding, length_penalty="none", alpha=0.0)
    config = dataclasses.replace(counting_run.config, decoding=decoding)
    notes = export(folder, "ctranslate2", config, counting_run.params, counting_run.tokenizer)
    assert "length_penalty=0" in notes[0] and "min_decoding_length=0" in notes[1]
    translator = Translator(
        counting_run.graphdef, counting_run.tokenizer, decoding, config.data.max_length
    )
    return counting_run._replace(config=config, translator=translator), *load_theirs(folder)


def test_translations(exported, sentences):
    run, translator, processor = exported
    pieces = processor.encode(sentences, out_type=str)
    found = [result.hypotheses[0] for result in translator.translate_batch(pieces, **EXACT)]
    assert_same_or_better(run, sentences, processor.decode(found))


def test_the_length_of_its_penalty_counts_the_end_token(exported, sentences):
    """As |Y| does here: length_penalty "power" is CTranslate2's."""
    _, translator, processor = exported
    pieces = processor.encode(sentences[:20], out_type=str)
    greedy = EXACT | {"beam_size": 1}
    plain = translator.translate_batch(pieces, **greedy)
    divided = translator.translate_batch(pieces, **greedy | {"length_penalty": 0.6})
    for one, other in zip(plain, divided, strict=True):
        length = len(one.hypotheses[0]) + 1
        np.testing.assert_allclose(other.scores[0], one.scores[0] / length**0.6, rtol=1e-4)
