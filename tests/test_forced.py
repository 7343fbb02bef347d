"""Forced scoring against the search's own scores, the training loss, and an ensemble's mean."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from tests.helpers import small_model
from tests.test_translate import BEAM, MAX_LENGTH, VOCAB_SIZE, Words, random_lines
from transformer.data.batching import Batch
from transformer.data.tokenizer import BOS, EOS, PAD
from transformer.decoding.ensemble import Ensemble
from transformer.decoding.forced import ForcedScorer
from transformer.decoding.translate import Translator
from transformer.errors import UserError
from transformer.model.encoder_decoder import Transformer, split
from transformer.training.step import batch_loss

SOURCES, TARGETS = random_lines(9, seed=1), random_lines(9, seed=2, longest=20)


LONGEST = 1 + max(len(text.split()) for text in SOURCES + TARGETS)
LEARNED = {"positions": "learned", "max_positions": LONGEST}


def make_model(seed=0, **changes):
    return Transformer(small_model(num_layers=1, **changes), VOCAB_SIZE, nnx.Rngs(seed))


def padded(texts):
    rows = [[*ids, EOS] for ids in Words().encode(texts)]
    width = max(map(len, rows))
    return jnp.array([row + [PAD] * (width - len(row)) for row in rows])


@pytest.mark.parametrize("changes", [{}, LEARNED], ids=["sinusoids", "learned"])
def test_the_sum_is_the_training_loss_of_the_same_pairs(changes):
    graphdef, params = split(make_model(**changes))
    assert 16 < LONGEST < 32
    source, target = padded(SOURCES), padded(TARGETS)
    target_in = jnp.pad(target[:, :-1], ((0, 0), (1, 0)), constant_values=BOS)
    ones = [(ids != PAD).astype(int) for ids in (source, target)]
    batch = Batch(source, ones[0], None, target_in, target, ones[1], None)
    sums = jax.jit(lambda params: batch_loss(graphdef, params, batch))(params)
    scored = ForcedScorer(graphdef, Words(), 64).score(params, SOURCES, TARGETS)
    assert sum(len(ids) for ids, _ in scored) == sums.tokens
    np.testing.assert_allclose(-sum(s.sum() for _, s in scored), sums.nll, rtol=1e-5)


def test_order_and_batches_change_nothing():
    graphdef, params = split(make_model())
    large = ForcedScorer(graphdef, Words(), 1_000).score(params, SOURCES, TARGETS)
    small = ForcedScorer(graphdef, Words(), 1)
    for line in (0, 4, 8):
        ((ids, alone),) = small.score(params, [SOURCES[line]], [TARGETS[line]])
        assert ids == large[line][0] == [*Words().encode([TARGETS[line]])[0], EOS]
        np.testing.assert_allclose(alone, large[line][1], rtol=1e-4)
    assert small.score(params, [], []) == []


def test_a_translation_scores_what_the_search_gave_it():
    graphdef, params = split(make_model())
    found = Translator(graphdef, Words(), BEAM, MAX_LENGTH).translate(params, SOURCES)
    ended = [n for n, t in enumerate(found) if t.ids[0][-1] == EOS]
    assert len(ended) > 3
    texts = [found[n].text for n in ended]
    scored = ForcedScorer(graphdef, Words(), 64).score(params, [SOURCES[n] for n in ended], texts)
    for n, (ids, log_probs) in zip(ended, scored, strict=True):
        assert ids == found[n].ids[0]
        np.testing.assert_allclose(log_probs, found[n].token_log_probs[0], atol=1e-4)


@pytest.mark.parametrize("side", ["source", "target"])
def test_sentences_longer_than_the_learned_positions_are_named(side):
    graphdef, params = split(Ensemble([make_model(), make_model(**LEARNED)]))
    lines = {"source": ["a", "b", "c"], "target": ["a", "b", "c"]}
    lines[side][1] = "a " * LONGEST
    message = f"Line 2 of the {side} has {LONGEST + 1} tokens .* only {LONGEST} learned positions"
    with pytest.raises(UserError, match=message):
        ForcedScorer(graphdef, Words(), 64).score(params, *lines.values())


def test_an_ensemble_scores_by_its_mean_probability():
    models = [make_model(0), make_model(1)]
    each = []
    for model in models:
        graphdef, params = split(model)
        each.append(ForcedScorer(graphdef, Words(), 64).score(params, SOURCES[:2], TARGETS[:2]))
    graphdef, params = split(Ensemble(models))
    together = ForcedScorer(graphdef, Words(), 64).score(params, SOURCES[:2], TARGETS[:2])
    for (_, found), (_, one), (_, other) in zip(together, *each, strict=True):
        np.testing.assert_allclose(np.exp(found), (np.exp(one) + np.exp(other)) / 2, rtol=1e-4)
