"""Several models as one."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from tests.helpers import make_model, random_ids, segments, small_model
from tests.test_translate import BEAM, MAX_LENGTH, VOCAB_SIZE, Words, random_lines
from transformer.decoding.ensemble import Ensemble, mean_log_probs
from transformer.decoding.translate import Translator
from transformer.model.encoder_decoder import Transformer, split


def test_mean_of_probabilities_by_hand():
    # Probabilities (0.2, 0.8) and (0.6, 0.4): logits may lack a normalisation.
    logits = [jnp.log(jnp.array([0.2, 0.8])) + 5, jnp.log(jnp.array([0.6, 0.4]))]
    np.testing.assert_allclose(jnp.exp(mean_log_probs(logits)), [0.4, 0.6], rtol=1e-6)


def test_a_step_has_the_mean_probabilities_of_members_of_different_sizes():
    members = [make_model(0, num_layers=1), make_model(1, num_layers=2, d_model=8, d_ff=4)]
    source, ones = random_ids(1, 2, 5), segments(5, 3, width=5)
    tokens = random_ids(2, 2, 3)

    def first(model):
        context = model.decoding_context(model.encode(source, ones), ones)
        cache = model.empty_cache(2, 3, 4)
        return model.decode_step(tokens, jnp.zeros(2, int), cache, context)[0]

    each = [jax.nn.softmax(first(member)) for member in members]
    assert jnp.abs(each[0] - each[1]).max() > 0.01
    found = jnp.exp(first(Ensemble(members)))
    np.testing.assert_allclose(found, (each[0] + each[1]) / 2, rtol=1e-5)


def test_a_model_and_itself_translate_as_the_model_does():
    models = [Transformer(small_model(num_layers=1), VOCAB_SIZE, nnx.Rngs(n)) for n in (0, 1)]
    lines = random_lines(6, seed=1)
    graphdef, params = split(models[0])
    alone = Translator(graphdef, Words(), BEAM, MAX_LENGTH).translate(params, lines)
    graphdef, both = split(Ensemble(models))
    both["members"] = {0: params, 1: params}
    twice = Translator(graphdef, Words(), BEAM, MAX_LENGTH).translate(both, lines)
    assert [t.ids for t in twice] == [t.ids for t in alone]
    np.testing.assert_allclose([t.scores for t in twice], [t.scores for t in alone], rtol=1e-5)
