"""The search that shows what it looked at, against the one that translates; and its picture."""

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from tests.helpers import small_model
from tests.test_beam import BOS, EOS, GREEDY_IS_WRONG, PAD, A, B, History, markov, search, sequence
from tests.test_translate import BEAM, MAX_LENGTH, VOCAB_SIZE, Words, random_lines
from transformer.decoding.beam_tree import BeamTree, explore, grow
from transformer.decoding.ensemble import Ensemble
from transformer.decoding.translate import Translator
from transformer.model.encoder_decoder import Transformer, split
from transformer.visualization.beam_tree import draw_beam_tree


def grown(next_log_probs, **options) -> BeamTree:
    options = {"beam_size": 4, "alpha": 0.6, "max_length": 12} | options
    return grow(next_log_probs, bos_id=BOS, eos_id=EOS, **options)


def of_history(model: History, sentence: int):
    return lambda prefixes: np.array([model.next_log_probs(sentence, p) for p in prefixes])


def greedy_is_wrong(prefixes):
    step = markov(GREEDY_IS_WRONG, 5)
    last = jnp.array([[prefix[-1] if prefix else BOS for prefix in prefixes]])
    return np.asarray(step(last, None, None)[0][0])


@pytest.mark.parametrize(
    ("beam_size", "alpha", "penalty", "num_return"),
    [(1, 0.6, "gnmt", 1), (3, 0.0, "none", 1), (3, 0.6, "gnmt", 3), (4, 1.3, "power", 2)],
)
def test_it_is_the_search_that_translates(beam_size, alpha, penalty, num_return):
    """Same hypotheses, same scores, over sentences that end early and at their limits."""
    model, sentences = History(seed=11), list(range(24))
    limits = [3 + n % 10 for n in sentences]
    options = {"beam_size": beam_size, "alpha": alpha, "penalty": penalty, "num_return": num_return}
    found = search(
        model.step,
        model.cache(sentences, beam_size),
        batch_size=len(sentences),
        limits=limits,
        forbidden_ids=(PAD, BOS),
        **options,
    )
    ended = set()
    for row, (sentence, limit) in enumerate(zip(sentences, limits, strict=True)):
        tree = grown(of_history(model, sentence), max_length=limit, **options)
        count = min(num_return, len(tree.hypotheses))
        assert found.scores[row, count:num_return].tolist() == [-np.inf] * (num_return - count)
        for n in range(count):
            assert tree.tokens(tree.hypotheses[n]) == sequence(found, row, n)
            np.testing.assert_allclose(tree.scores[n], found.scores[row, n], rtol=1e-5)
            total = tree.nodes[tree.hypotheses[n]].total
            np.testing.assert_allclose(total, found.log_probs[row, n], rtol=1e-5)
        ended.add(tree.certain)
    assert ended == {True, False}


def test_without_an_end_the_live_hypotheses_are_returned():
    row = [-np.inf, -np.inf, -np.inf, np.log(0.7), np.log(0.3)]
    tree = grown(lambda prefixes: np.array([row] * len(prefixes)), max_length=2)
    assert [tree.tokens(n) for n in tree.hypotheses] == [[A, A], [A, B], [B, A], [B, B]]
    np.testing.assert_allclose(tree.scores[0], np.log(0.49) / (7 / 6) ** 0.6, rtol=1e-6)
    assert not tree.certain


def test_every_continuation_that_was_looked_at_is_there():
    """Worked out by hand: 0.6 A, 0.4 B; B EOS 0.36, A EOS 0.24, A A and A B 0.18, of which W = 2
    live; then nothing live could overtake."""
    tree = grown(greedy_is_wrong, beam_size=2, alpha=0.0)
    seen = [(tree.tokens(n), node.fate) for n, node in enumerate(tree.nodes)]
    assert seen == [
        ([], "live"),
        ([A], "live"),
        ([B], "live"),
        ([B, EOS], "finished"),
        ([A, EOS], "finished"),
        ([A, A], "live"),
        ([A, B], "live"),
    ]
    np.testing.assert_allclose(np.exp([n.total for n in tree.nodes[3:]]), [0.36, 0.24, 0.18, 0.18])
    np.testing.assert_allclose([np.exp(n.log_prob) for n in tree.nodes[3:5]], [0.9, 0.4], rtol=1e-6)
    assert (tree.hypotheses, tree.certain) == ([3, 4], True)
    np.testing.assert_allclose(np.exp(tree.scores), [0.36, 0.24], rtol=1e-6)
    assert tree.path(4) == [1, 4]


def test_a_step_keeps_the_best_and_drops_the_others():
    model = History(seed=3)
    tree = grown(of_history(model, 5), beam_size=3, num_return=3)
    for step in range(1, tree.nodes[-1].length + 1):
        nodes = [node for node in tree.nodes if node.length == step]
        assert [n.total for n in nodes] == sorted((n.total for n in nodes), reverse=True)
        fates = [n.fate for n in nodes if n.fate != "finished"]
        assert fates == ["live"] * min(3, len(fates)) + ["dropped"] * (len(fates) - 3)
        assert len(nodes) <= 6
    for number, node in enumerate(tree.nodes[1:], start=1):
        assert tree.nodes[node.parent].fate == "live"
        expected = model.log_prob(5, tuple(tree.tokens(number)))
        np.testing.assert_allclose(node.total, expected, rtol=1e-6)


LEARNED = {"positions": "learned", "max_positions": MAX_LENGTH + BEAM.max_extra_length}


@pytest.mark.parametrize("changes", [{}, LEARNED], ids=["sinusoids", "learned"])
def test_a_sentence_of_a_real_ensemble(changes):
    """The translation is the tree's best hypothesis; notebooks/decoding says so of one model."""
    sizes = small_model(num_layers=1, **changes)
    models = [Transformer(sizes, VOCAB_SIZE, nnx.Rngs(seed)) for seed in range(2)]
    graphdef, params = split(Ensemble(models))
    lines = random_lines(4, seed=1)
    found = Translator(graphdef, Words(), BEAM, MAX_LENGTH).translate(params, lines)
    for line, translation in zip(lines, found, strict=True):
        tree = explore(graphdef, params, Words(), BEAM, line)
        assert tree.tokens(tree.hypotheses[0]) == translation.ids[0]
        np.testing.assert_allclose(tree.scores[0], translation.scores[0], rtol=1e-4)


def test_the_picture_shows_each_token_and_no_lines_cross():
    model = History(seed=3)
    tree = grown(of_history(model, 5), beam_size=3, num_return=3)
    figure = draw_beam_tree(tree, lambda ids: [f"token {i}" for i in ids])
    (axes,) = figure.axes
    labels = [text.get_text() for text in axes.texts]
    assert len(labels) == len(tree.nodes)
    for node, label in zip(tree.nodes, labels, strict=True):
        assert f"{node.total:.2f}".replace("-", "−") in label
        assert ("score" in label) == (node.fate == "finished")
    for rank, (number, score) in enumerate(zip(tree.hypotheses, tree.scores, strict=True), start=1):
        assert f"{rank}: score {score:.2f}".replace("-", "−") in labels[number]
    lines = [line.get_xydata() for line in axes.lines]
    assert len(lines) == len(tree.nodes) - 1
    for (x0, y0), (x1, _) in lines:
        for (u0, v0), (u1, _) in lines:
            assert v0 != y0 or (u0 - x0) * (u1 - x1) >= 0
