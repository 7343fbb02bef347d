"""Beam search against hand-made distributions, exhaustive search and a plain Python search."""

import functools
import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from transformer.decoding.beam import Hypotheses, beam_search, length_penalty
from transformer.decoding.top_k import top_k

PAD, BOS, EOS, A, B, C, D, E = range(8)


def markov(table: dict[int, dict[int, float]], vocab_size: int):
    """A step function whose distributions depend on the previous token alone."""
    probs = np.zeros((vocab_size, vocab_size), np.float32)
    for previous, row in table.items():
        for token, prob in row.items():
            probs[previous, token] = prob
    logits = jnp.log(probs)
    return lambda tokens, positions, cache: (logits[tokens], cache)


def search(step, cache=None, **options) -> Hypotheses:
    """`beam_search` under jit with this file's ids, as numpy arrays."""
    found, done = search_and_done(step, cache, **options)
    assert done.all()
    return found


def search_and_done(step, cache=None, *, batch_size=1, limits=None, max_length=12, **options):
    """By default all sentences at a time."""
    limits = jnp.full(batch_size, max_length) if limits is None else jnp.asarray(limits)
    options = {"beam_size": 4, "alpha": 0.6} | options
    function = functools.partial(
        beam_search,
        step,
        batch_size=batch_size,
        max_length=max_length,
        bos_id=BOS,
        eos_id=EOS,
        **options,
    )
    found = jax.jit(lambda cache, limits: function(cache, length_limits=limits))(cache, limits)
    return jax.tree.map(np.asarray, found)


def sequence(found: Hypotheses, sentence: int, n: int = 0) -> list[int]:
    return found.tokens[sentence, n, : found.lengths[sentence, n]].tolist()


class History:
    """A random model whose distributions depend on the sentence and on every token before.

    Its cache is the record of the tokens that a beam was fed, so a beam that is handed the record
    of another one gets other distributions.
    """

    def __init__(self, seed: int, vocab_size: int = 6, spread: float = 2.0):
        random = np.random.default_rng(seed)
        logits = spread * random.normal(size=(211, vocab_size))
        logits[:, [PAD, BOS]] = -np.inf
        self.logits = logits.astype(np.float32)
        self.log_probs = np.asarray(jax.nn.log_softmax(self.logits), np.float64)
        self.weights = random.integers(1, 211, 32)

    def step(self, tokens, positions, cache):
        here = jnp.arange(32) == positions[:, None, None]
        record = jnp.where(here, tokens[:, :, None], cache["record"])
        state = (cache["sentence"] + record @ jnp.asarray(self.weights)) % 211
        return jnp.asarray(self.logits)[state], {**cache, "record": record}

    def cache(self, sentences, beams):
        sentence = jnp.asarray(sentences, jnp.int32)[:, None].repeat(beams, axis=1)
        return {"sentence": sentence, "record": jnp.zeros((*sentence.shape, 32), jnp.int32)}

    def next_log_probs(self, sentence: int, prefix: tuple[int, ...]) -> np.ndarray:
        record = np.array([BOS, *prefix])
        return self.log_probs[(sentence + record @ self.weights[: len(record)]) % 211]

    def log_prob(self, sentence: int, tokens: tuple[int, ...]) -> float:
        return sum(
            self.next_log_probs(sentence, tokens[:i])[token] for i, token in enumerate(tokens)
        )


def plain_search(model, sentence, beam_size, alpha, limit):
    """The search of `beam_search`'s docstring in lists, run to the limit: [(score, tokens)]."""
    live, finished = [(0.0, ())], []
    for length in range(1, limit + 1):
        candidates = sorted(
            (
                (log_prob + new, (*prefix, token))
                for log_prob, prefix in live
                for token, new in enumerate(model.next_log_probs(sentence, prefix))
                if new > -np.inf
            ),
            reverse=True,
        )[: 2 * beam_size]
        penalty = ((5 + length) / 6) ** alpha
        finished += [(lp / penalty, tokens) for lp, tokens in candidates if tokens[-1] == EOS]
        finished = sorted(finished, reverse=True)[:beam_size]
        live = [c for c in candidates if c[1][-1] != EOS][:beam_size]
    return finished or [(lp / penalty, tokens) for lp, tokens in live]


GREEDY_IS_WRONG = {
    BOS: {A: 0.6, B: 0.4},
    A: {EOS: 0.4, A: 0.3, B: 0.3},
    B: {EOS: 0.9, A: 0.1},
}


@pytest.mark.parametrize("vocabulary", [5, 64, 997, 1_000])
def test_top_k_by_blocks_is_top_k(vocabulary):
    """With many equal values, with a beam that is dead, and with the best columns forbidden."""
    rows = np.random.default_rng(0).integers(0, 20, (3, 4, vocabulary)).astype(np.float32)
    offsets = jnp.array([[0.0, 2, 1, -jnp.inf]] * 3)
    forbidden = (0, 1, vocabulary - 1)
    rows[:, :, forbidden] = 30.0
    columns = jnp.moveaxis(jnp.asarray(rows), -1, 0)
    found = jax.jit(top_k, static_argnums=(2, 3))(columns, offsets, 8, forbidden)
    rows[:, :, forbidden] = -np.inf
    values, places = jax.lax.top_k((rows + offsets[..., None]).reshape(3, -1), 8)
    expected = values, places // vocabulary, places % vocabulary
    jax.tree.map(np.testing.assert_array_equal, found, expected)


def test_beam_finds_what_greedy_search_misses():
    step = markov(GREEDY_IS_WRONG, 5)
    greedy = search(step, beam_size=1, alpha=0.0)
    assert sequence(greedy, 0) == [A, EOS]
    np.testing.assert_allclose(greedy.log_probs[0, 0], math.log(0.6 * 0.4), rtol=1e-6)
    found = search(step, beam_size=2, alpha=0.0)
    assert sequence(found, 0) == [B, EOS]
    np.testing.assert_allclose(found.log_probs[0, 0], math.log(0.4 * 0.9), rtol=1e-6)
    assert found.tokens[0, 0, 2:].tolist() == [PAD] * 10


def test_length_penalty_flips_the_winner_at_the_alpha_worked_out_by_hand():
    # "A EOS" has probability 0.4 and length 2, "B C D E EOS" 0.3 and length 5. Their scores
    # ln 0.4 / (7/6)^a and ln 0.3 / (10/6)^a are equal at
    # a = ln(ln 0.3 / ln 0.4) / ln(10/7) = ln(1.204 / 0.9163) / 0.3567 = 0.7656.
    step = markov(
        {BOS: {A: 0.4, B: 0.3, EOS: 0.1, C: 0.2}, A: {EOS: 1.0}, B: {C: 1.0}}
        | {C: {D: 1.0}, D: {E: 1.0}, E: {EOS: 1.0}},
        8,
    )
    assert sequence(search(step, alpha=0.75), 0) == [A, EOS]
    found = search(step, alpha=0.78)
    assert sequence(found, 0) == [B, C, D, E, EOS]
    np.testing.assert_allclose(found.scores[0, 0], math.log(0.3) / (10 / 6) ** 0.78, rtol=1e-6)
    np.testing.assert_allclose(found.log_probs[0, 0], math.log(0.3), rtol=1e-6)


def test_length_penalty_counts_the_end_token():
    penalty = length_penalty(jnp.array([1, 7]), 0.6)
    np.testing.assert_allclose(penalty, [1.0, 2.0**0.6], rtol=1e-6)


def test_the_other_penalties_by_name():
    lengths = jnp.array([1, 4])
    np.testing.assert_allclose(length_penalty(lengths, 0.5, "power"), [1.0, 2.0], rtol=1e-6)
    np.testing.assert_array_equal(length_penalty(lengths, 0.5, "none"), [1.0, 1.0])


def test_each_penalty_ranks_by_its_own_scores():
    """Over all 15 outputs, as `test_a_beam_that_holds_everything_is_exhaustive_search` has them."""
    model = History(seed=3, vocab_size=5)
    options = {"beam_size": 16, "max_length": 4, "num_return": 15}
    for kind, divide in {"power": lambda n: n**1.3, "none": lambda n: 1.0}.items():
        found = search(model.step, model.cache([5], 16), penalty=kind, alpha=1.3, **options)
        outputs = [tuple(sequence(found, 0, n)) for n in range(15)]
        assert len(set(outputs)) == 15
        expected = [model.log_prob(5, tokens) / divide(len(tokens)) for tokens in outputs]
        np.testing.assert_allclose(found.scores[0], [*expected, -np.inf], rtol=1e-5)
        assert expected == sorted(expected, reverse=True)


def lost_after(steps: int):
    """Of `History`'s cache, whose record begins with BOS and has no PAD in between."""
    return lambda cache: (cache["record"][:, 0] > 0).sum(axis=-1) >= steps


@pytest.mark.parametrize(("leave", "steps"), [(0, 5), (3, 12), (6, 12)])
def test_a_search_that_leaves_sentences_changes_no_other(leave, steps):
    """Some are not done: those that are lost after so many steps, or when few enough are left."""
    model, sentences = History(seed=3), range(8)
    options = {"batch_size": 8, "beam_size": 3, "max_length": 20}
    cache = model.cache(sentences, 3)
    whole = search(model.step, cache, **options)
    part, done = search_and_done(model.step, cache, leave=leave, lost=lost_after(steps), **options)
    assert 0 < (~done).sum() <= (leave or 8)
    for sentence in np.flatnonzero(done):
        assert sequence(part, sentence) == sequence(whole, sentence)
        np.testing.assert_allclose(part.scores[sentence], whole.scores[sentence], rtol=1e-6)


@pytest.mark.parametrize("slots", [1, 5, 20, 40])
@pytest.mark.parametrize("leave", [0, 2])
def test_sentences_that_wait_for_a_slot_are_searched_as_all_others(slots, leave):
    """40 sentences, and four rows of padding; with `leave` some are also lost after 9 steps."""
    model, sentences = History(seed=3), np.arange(44) * 7 % 211
    limits = [3 + n % 17 for n in range(40)] + [0] * 4
    options = {"beam_size": 3, "num_return": 2, "prefixes": jnp.asarray([[A], [PAD]] * 22)}
    options |= {"limits": limits, "max_length": 20}
    cache = model.cache(sentences, 3)
    whole = search(model.step, cache, batch_size=44, **options)

    def admit(cache, rows, numbers):
        new = jnp.asarray(sentences)[numbers][:, None]
        return {
            "record": cache["record"].at[rows].set(0, mode="drop"),
            "sentence": cache["sentence"].at[rows].set(new, mode="drop"),
        }

    found, done = search_and_done(
        model.step,
        jax.tree.map(lambda leaf: leaf[:slots], cache),
        admit=admit,
        batch_size=slots,
        leave=leave,
        lost=lost_after(9) if leave else None,
        **options,
    )
    assert 20 < done.sum() < 44 if leave else done.all()
    for leaf, expected in zip(found, whole, strict=True):
        np.testing.assert_array_equal(leaf[done, :2], expected[done, :2])


def test_log_probs_of_tokens():
    model = History(seed=11)
    found = search(model.step, model.cache([5, 17], 3), batch_size=2, beam_size=3, num_return=3)
    for row, sentence in enumerate([5, 17]):
        for n in range(3):
            tokens = tuple(sequence(found, row, n))
            each = [model.next_log_probs(sentence, tokens[:i])[t] for i, t in enumerate(tokens)]
            given = found.token_log_probs[row, n]
            np.testing.assert_allclose(given[: len(tokens)], each, rtol=1e-5)
            assert not given[len(tokens) :].any()


def test_outputs_begin_with_their_prefixes():
    """The best of all outputs that begin so, scored as without a prefix; a blank one binds none."""
    model, limit = History(seed=3, vocab_size=5), 4
    prefixes = [(B, A), (A,), ()]
    found = search(
        model.step,
        model.cache([5, 5, 5], 16),
        batch_size=3,
        beam_size=16,
        max_length=limit,
        alpha=0.6,
        prefixes=jnp.array([[B, A], [A, PAD], [PAD, PAD]]),
    )
    outputs = [(*words, EOS) for n in range(limit) for words in itertools.product((A, B), repeat=n)]
    for row, prefix in enumerate(prefixes):
        expected, tokens = max(
            (model.log_prob(5, tokens) / ((5 + len(tokens)) / 6) ** 0.6, tokens)
            for tokens in outputs
            if tokens[: len(prefix)] == prefix
        )
        assert tuple(sequence(found, row)) == tokens
        np.testing.assert_allclose(found.scores[row, 0], expected, rtol=1e-5)


@pytest.mark.parametrize("alpha", [0.0, 2.0])
def test_a_beam_that_holds_everything_is_exhaustive_search(alpha):
    # Outputs of at most 4 tokens over {A, B, EOS}: 1 + 2 + 4 + 8 = 15 that end in EOS.
    model, limit = History(seed=3, vocab_size=5), 4
    sentences = [5, 17, 80]
    found = search(
        model.step,
        model.cache(sentences, 16),
        batch_size=3,
        beam_size=16,
        max_length=limit,
        alpha=alpha,
        num_return=16,
    )
    outputs = [(*words, EOS) for n in range(limit) for words in itertools.product((A, B), repeat=n)]
    for row, sentence in enumerate(sentences):
        scored = [
            (model.log_prob(sentence, tokens) / ((5 + len(tokens)) / 6) ** alpha, tokens)
            for tokens in outputs
        ]
        expected = sorted(scored, reverse=True)
        assert [tuple(sequence(found, row, n)) for n in range(15)] == [t for _, t in expected]
        np.testing.assert_allclose(found.scores[row, :15], [s for s, _ in expected], rtol=1e-5)
        assert found.scores[row, 15] == -np.inf


@pytest.mark.parametrize(("alpha", "num_return"), [(0.0, 1), (0.6, 1), (1.5, 3)])
def test_early_stop_loses_nothing(alpha, num_return):
    """Equal to a plain search to the limit, over many sentences and their own limits."""
    model, beam_size = History(seed=11), 3
    sentences = list(range(24))
    limits = [3 + n % 10 for n in sentences]
    found = search(
        model.step,
        model.cache(sentences, beam_size),
        batch_size=len(sentences),
        beam_size=beam_size,
        limits=limits,
        alpha=alpha,
        num_return=num_return,
    )
    for row, (sentence, limit) in enumerate(zip(sentences, limits, strict=True)):
        expected = plain_search(model, sentence, beam_size, alpha, limit)[:num_return]
        got = [tuple(sequence(found, row, n)) for n in range(len(expected))]
        assert got == [tokens for _, tokens in expected]
        expected_scores = [score for score, _ in expected] + [-np.inf] * (num_return - len(got))
        np.testing.assert_allclose(found.scores[row, :num_return], expected_scores, rtol=1e-5)
        np.testing.assert_allclose(
            found.log_probs[row, 0], model.log_prob(sentence, got[0]), rtol=1e-5
        )


def test_search_stops_at_the_step_worked_out_by_hand():
    # Alpha 1 and a limit of 13 tokens: the largest penalty is (5 + 13) / 6 = 3.
    # Step 1 finishes "EOS": ln 0.5 = -0.693. "A" could still reach ln 0.5 / 3 = -0.231: go on.
    # Step 2 finishes "A EOS": ln 0.45 / (7/6) = -0.684. "A A" can reach ln 0.05 / 3 = -0.999: done.
    chain = markov({BOS: {EOS: 0.5, A: 0.5}, A: {EOS: 0.9, A: 0.1}}, 4)
    positions = []

    def step(tokens, position, cache):
        jax.debug.callback(lambda p: positions.append(int(p[0])), position)
        return chain(tokens, position, cache)

    found = search(step, alpha=1.0, max_length=13)
    jax.effects_barrier()
    assert sorted(positions) == [0, 1]
    assert sequence(found, 0) == [A, EOS]
    np.testing.assert_allclose(found.scores[0, 0], math.log(0.45) / (7 / 6), rtol=1e-6)


@pytest.mark.parametrize("alpha", [0.0, 0.6])
def test_beam_of_one_is_greedy_search(alpha):
    model, limit = History(seed=5, spread=1.0), 10
    sentences = list(range(40))
    found = search(
        model.step,
        model.cache(sentences, 1),
        batch_size=len(sentences),
        beam_size=1,
        max_length=limit,
        alpha=alpha,
    )
    for row, sentence in enumerate(sentences):
        tokens = ()
        while len(tokens) < limit and tokens[-1:] != (EOS,):
            tokens += (int(model.next_log_probs(sentence, tokens).argmax()),)
        assert tuple(sequence(found, row)) == tokens
        np.testing.assert_allclose(
            found.log_probs[row, 0], model.log_prob(sentence, tokens), rtol=1e-5
        )


def test_a_sentence_depends_neither_on_the_batch_nor_on_spare_length():
    model, sentences, limits = History(seed=7), [4, 9, 2, 33], [3, 9, 6, 12]
    together = search(
        model.step, model.cache(sentences, 4), batch_size=4, limits=limits, max_length=20
    )
    for row in (0, 1):
        sentence, limit = sentences[row], limits[row]
        alone = search(model.step, model.cache([sentence], 4), limits=[limit], max_length=limit)
        np.testing.assert_array_equal(alone.tokens[0], together.tokens[row, :, :limit])
        np.testing.assert_array_equal(alone.scores[0], together.scores[row])
        np.testing.assert_array_equal(alone.lengths[0], together.lengths[row])
        assert (together.tokens[row, :, limit:] == PAD).all()


def test_outputs_without_end_are_returned_only_where_nothing_ended():
    # From "A" there is no way to EOS; the second sentence begins with "B", which can end.
    step = markov({BOS: {A: 0.7, B: 0.3}, A: {A: 0.8, C: 0.2}, C: {C: 1.0}, B: {EOS: 1.0}}, 6)

    def no_b(tokens, position, cache):
        logits, cache = step(tokens, position, cache)
        return jnp.where(cache[:, :, None] & (jnp.arange(6) == B), -jnp.inf, logits), cache

    cache = jnp.array([[True], [False]]).repeat(2, axis=1)
    found = search(no_b, cache, batch_size=2, limits=[3, 3], beam_size=2, alpha=1.0, num_return=2)
    # First sentence: A has 1 (B is gone), then A A A 1 * 0.8 * 0.8, A C C 0.2, A A C 0.8 * 0.2.
    assert sequence(found, 0, 0) == [A, A, A]
    assert sequence(found, 0, 1) == [A, C, C]
    np.testing.assert_allclose(found.scores[0], np.log([0.64, 0.2]) / (8 / 6), rtol=1e-6, atol=1e-7)
    assert sequence(found, 1, 0) == [B, EOS]
    assert found.scores[1, 1] == -np.inf


def test_a_limit_of_nothing_costs_no_step():
    def fail(tokens, position, cache):
        return jnp.full((*tokens.shape, 5), jnp.nan), cache

    found = search(fail, batch_size=2, limits=[0, 0])
    assert found.lengths[:, 0].tolist() == [0, 0]
    assert (found.tokens == PAD).all()


def test_forbidden_tokens_are_skipped_but_keep_their_probability():
    step = markov({BOS: {PAD: 0.5, BOS: 0.3, A: 0.2}, A: {PAD: 0.9, EOS: 0.1}}, 5)
    found = search(step, beam_size=2, forbidden_ids=(PAD, BOS))
    assert sequence(found, 0) == [A, EOS]
    np.testing.assert_allclose(found.log_probs[0, 0], math.log(0.2 * 0.1), rtol=1e-6)


def test_equal_scores_prefer_the_earlier_end_and_the_lower_id():
    def uniform(tokens, position, cache):
        return jnp.zeros((*tokens.shape, 5)), cache

    found = search(uniform, beam_size=2, alpha=0.0, num_return=2, forbidden_ids=(PAD, BOS))
    # EOS, A, B have 1/5 each; then A EOS and B EOS 1/25 each.
    assert sequence(found, 0, 0) == [EOS]
    assert sequence(found, 0, 1) == [A, EOS]


def test_more_results_than_beams_are_refused():
    with pytest.raises(ValueError, match="num_return is 5"):
        search(markov(GREEDY_IS_WRONG, 5), num_return=5)
