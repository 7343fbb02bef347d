"""Text to text through a small stand-in model, and through a small real one."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from tests.helpers import small_model
from transformer.config import DecodingConfig
from transformer.data.tokenizer import BOS, EOS, PAD, Tokenizer
from transformer.decoding.beam import gather
from transformer.decoding.line_batches import source_lengths
from transformer.decoding.translate import Translator
from transformer.errors import UserError
from transformer.model.encoder_decoder import Transformer, split

WORDS = ["", "", "", "", *"abcdefgh"]
VOCAB_SIZE = len(WORDS)
BEAM = DecodingConfig(
    strategy="beam",
    beam_size=3,
    alpha=0.6,
    max_extra_length=4,
    batch_tokens=200,
    temperature=1.0,
    top_k=0,
    top_p=1.0,
    seed=0,
)
SAMPLE = dataclasses.replace(BEAM, strategy="sample")
MAX_LENGTH = 20  # of two compiled source lengths, 16 and 20


class Words(Tokenizer):
    """A tokenizer whose pieces are the words of `WORDS`."""

    def __init__(self):
        pass

    def encode(self, texts):
        return [[WORDS.index(word) for word in text.split()] for text in texts]

    def decode(self, ids):
        rows = [[i for i in row[: row.index(EOS)] if i > EOS] if EOS in row else row for row in ids]
        return [" ".join(WORDS[i] for i in row) for row in rows]


class Fake(nnx.Module):
    """Writes each source token through a table of its own, then EOS where the source has it.

    The next token depends a little on the last one as well, so that beams differ, and comes at
    once: a sentence of n tokens has an output of about n tokens.
    """

    def __init__(self, seed: int = 0, confidence: float = 4.0):
        random = np.random.default_rng(seed)
        table = random.normal(size=(VOCAB_SIZE, VOCAB_SIZE))
        table[range(4, VOCAB_SIZE), range(4, VOCAB_SIZE)] += confidence
        table[EOS, EOS] += 2 * confidence
        table[:, [PAD, BOS]] += 3  # tempting, and never to be written
        self.table = nnx.Param(jnp.asarray(table, jnp.float32))
        self.pairs = nnx.Param(jnp.asarray(random.normal(size=table.shape), jnp.float32))

    def encode(self, source, source_segments):
        return jnp.where(source_segments > 0, source, EOS)

    def decoding_context(self, memory, source_segments):
        return memory

    def empty_cache(self, batch_size, beam_size, max_length, room=None):
        return jnp.zeros((batch_size, beam_size), jnp.int32)

    def prepare_steps(self, hypotheses):
        pass

    def decode_step(self, tokens, positions, cache, context):
        source = jnp.take_along_axis(
            context, positions[:, None], axis=1, mode="fill", fill_value=EOS
        )[:, 0]
        return self.table[...][source][:, None] + self.pairs[...][tokens], cache + 1

    def reorder(self, cache, parents):
        return gather(cache, parents)

    def forget(self, cache, rows):
        return cache

    def lost(self, cache):
        return jnp.zeros(len(cache), bool)


def fake(**options):
    graphdef, state = nnx.split(Fake(**options))
    return graphdef, nnx.to_pure_dict(state)


@functools.cache
def translator(decoding=BEAM):
    """One for all tests of a kind: the structure of every `Fake` is the same."""
    return Translator(fake()[0], Words(), decoding, MAX_LENGTH)


def random_lines(count, seed=0, longest=MAX_LENGTH - 1):
    random = np.random.default_rng(seed)
    sizes = random.integers(1, longest + 1, count)
    return [" ".join(random.choice(WORDS[4:], size)) for size in sizes]


def test_lines_come_back_in_order_and_blank_ones_blank():
    params = fake(confidence=20.0)[1]  # so sure that it copies
    lines = random_lines(30)
    lines[3] = lines[17] = ""
    lines[29] = " \t"
    found = translator().translate(params, lines)
    assert [t.text for t in found] == [line.strip() for line in lines]
    assert (found[3].texts, found[3].ids, found[3].scores) == ([""], [[]], [0.0])
    assert found[0].ids[0] == [*Words().encode(lines[:1])[0], EOS]


def test_without_a_line_to_decode_the_model_is_not_needed():
    assert [t.text for t in translator().translate(None, ["", " "])] == ["", ""]
    assert translator().translate(None, []) == []


@pytest.mark.parametrize("decoding", [BEAM, SAMPLE], ids=["beam", "sample"])
def test_a_line_has_the_same_translation_whatever_it_is_decoded_with(decoding):
    params, lines = fake()[1], random_lines(14, seed=1)
    apart = translator(decoding).translate(params, lines, nbest=2)
    larger = translator(dataclasses.replace(decoding, batch_tokens=10_000))
    together = larger.translate(params, [*lines, *random_lines(8, seed=2)], nbest=2)
    for one, other in zip(apart, together, strict=False):
        assert other.ids == one.ids
        np.testing.assert_allclose(other.scores, one.scores, rtol=1e-6)
    assert len({t.text for t in apart}) > 10


@pytest.mark.parametrize("room", [-4, -9])
def test_lines_that_are_left_or_lost_begin_once_more(monkeypatch, room):
    """First by their lengths, then all in one shape, then with room for all their past.

    Where most are lost the second time would be in vain.
    """
    model = Transformer(small_model(num_layers=1), VOCAB_SIZE, nnx.Rngs(0))
    graphdef, params = split(model)
    params = jax.tree.map(lambda leaf: 3 * leaf, params)  # less alike
    lines, calls, progress = random_lines(60, seed=1), [], []

    def translate():
        translator = Translator(graphdef, Words(), BEAM, MAX_LENGTH)
        decode = translator._decode

        def counted(params, source, *arguments, **options):
            calls.append((source.shape, options["leave"], options["whole"]))
            return decode(params, source, *arguments, **options)

        translator._decode = counted
        return translator.translate(params, lines, nbest=2, progress=progress.append)

    monkeypatch.setattr("transformer.decoding.translate._FEW", 100)
    together = translate()
    assert not any(leave for _, leave, _ in calls)  # too few lines for several shapes
    calls.clear()
    progress.clear()
    monkeypatch.setattr("transformer.decoding.translate._FEW", 4)
    monkeypatch.setattr("transformer.decoding.decode._LEAVES", 2)
    monkeypatch.setattr("transformer.decoding.decode._ROOM", room)
    monkeypatch.setattr("transformer.decoding.decode._BRANCHES", 1)
    apart = translate()
    by_length, one_shape, whole = kinds = (True, False), (False, False), (False, True)
    found = [tuple(kind) for _, *kind in calls]
    assert found == sorted(found, key=kinds.index)
    assert set(found) == ({by_length, one_shape, whole} if room == -4 else {by_length, whole})
    for kind in (one_shape, whole):
        assert len({call[0] for call in calls if call[1:] == kind}) <= 1
    assert progress == sorted(progress) and progress[-1] == 60
    assert [t.ids for t in apart] == [t.ids for t in together]


def test_order_of_lines_does_not_matter():
    params, lines = fake()[1], random_lines(30, seed=3)
    order = np.random.default_rng(4).permutation(len(lines))
    forward = translator().translate(params, lines)
    shuffled = translator().translate(params, [lines[i] for i in order])
    assert [t.ids for t in shuffled] == [forward[i].ids for i in order]


def test_nbest_is_sorted_and_begins_with_the_best():
    params, lines = fake()[1], random_lines(10, seed=5)
    best = translator().translate(params, lines)
    for one, many in zip(best, translator().translate(params, lines, nbest=3), strict=True):
        assert many.text == one.text
        assert many.scores == sorted(many.scores, reverse=True)
        assert len(many.texts) == len(set(map(tuple, many.ids))) == 3


def test_impossible_nbest_is_refused():
    with pytest.raises(UserError, match="at least 1, not 0"):
        translator(SAMPLE).translate({}, ["a"], nbest=0)
    with pytest.raises(UserError, match=r"nbest is 4, but decoding\.beam_size only 3"):
        translator().translate({}, ["a"], nbest=4)


def test_samples_are_as_many_as_asked_for_and_repeat():
    params, lines = fake()[1], ["a b c d e f", "a b c d e f"]
    first, second = translator(SAMPLE).translate(params, lines, nbest=5)
    assert len(first.texts) == 5
    assert first.ids != second.ids  # equal lines draw for themselves
    again = translator(SAMPLE).translate(params, lines, nbest=5)
    assert [t.ids for t in again] == [first.ids, second.ids]


def test_outputs_begin_with_their_prefixes():
    params, lines = fake(confidence=20.0)[1], ["a b c", "a b c", "", "h g f e d c b a"]
    prefixes = ["b b", " ", "a", "a b c"]
    found = translator().translate(params, lines, prefixes=prefixes)
    assert [t.text for t in found] == ["b b c", "a b c", "", "a b c e d c b a"]
    sampled = translator(SAMPLE).translate(params, lines[:1], prefixes=["h h"], nbest=3)
    assert all(text.split()[:2] == ["h", "h"] for text in sampled[0].texts)


def test_prefixes_that_do_not_fit_are_refused():
    with pytest.raises(UserError, match="There are 1 prefixes for 2 lines"):
        translator().translate({}, ["a", "b"], prefixes=["a"])
    with pytest.raises(UserError, match="line 2 has 6 tokens, but the output at most 6"):
        translator().translate({}, ["a b", "a"], prefixes=["a b c d e f", "a b c d e f"])


def test_outputs_end_at_the_input_length_plus_the_extra():
    params = fake()[1]
    params["table"] = params["table"].at[:, EOS].set(-100.0)  # never ends
    found = translator().translate(params, ["a b", "a b c d e f g h"])
    assert [len(t.ids[0]) for t in found] == [3 + 4, 9 + 4]
    assert all(not {PAD, BOS, EOS} & set(t.ids[0]) for t in found)


def test_long_lines_are_cut_with_one_warning():
    params, warnings = fake(confidence=20.0)[1], []
    fits = " ".join("abcdefghabcdefghabc")  # 19 words and EOS are 20
    long = f"{fits} d"
    found = translator().translate(params, ["a b", long, fits], warn=warnings.append)
    assert warnings == ["Line 2 is longer than 20 tokens; its end was cut off."]
    assert [t.text for t in found] == ["a b", fits, fits]
    warnings.clear()
    translator().translate(params, ["", *[long] * 6], warn=warnings.append)
    assert len(warnings) == 1
    assert warnings[0].startswith("6 lines (numbers 2, 3, 4, 5, 6, ...) are longer than 20 tokens")


def test_other_parameters_are_used_without_compiling_again():
    copies, shifts = fake(confidence=20.0)[1], fake(confidence=20.0)[1]
    shifts["table"] = jnp.roll(shifts["table"], 1, axis=1).at[EOS, EOS].set(50.0)
    machine = Translator(fake()[0], Words(), BEAM, MAX_LENGTH)
    assert machine.translate(copies, ["a b c"])[0].text == "a b c"
    assert machine.translate(shifts, ["a b c"])[0].text == "b c d"
    assert machine._decode._cache_size() == 1


def test_compiled_shapes_are_few_and_within_the_budget():
    batches = []
    sources = [[*source, EOS] for source in Words().encode(random_lines(200, seed=6))]
    order = sorted(range(200), key=lambda line: -len(sources[line]))
    for batch in translator()._batches(order, sources, None, nbest=1):
        rows, length = batch.source.shape
        assert length in source_lengths(MAX_LENGTH)
        assert batch.slots * BEAM.beam_size * (length + 4) <= BEAM.batch_tokens
        assert rows % batch.slots == 0 and rows <= 12 * batch.slots
        batches.append(batch)
    assert sum(batch.count for batch in batches) == 200
    assert sorted(n for batch in batches for n in batch.numbers[: batch.count]) == list(range(200))
    shapes = {(batch.source.shape, batch.slots) for batch in batches}
    assert len(shapes) <= 2 * len(source_lengths(MAX_LENGTH))
    assert all(len(batch.numbers) - batch.count < batch.slots for batch in batches)


def test_batches_of_one_shape():
    """Also the last one, which would do with fewer rows; but not where all lines find a place."""
    sources = [[4] * size + [EOS] for size in (18, *[3] * 30)]
    machine = translator()
    shapes = [
        (batch.source.shape, batch.slots, batch.count)
        for batch in machine._batches(range(31), sources, None, nbest=1, one_shape=True)
    ]
    # 200 // (3 x (20 + 4)) = 2 at a time, on CPUs twelve times as many in a batch
    assert shapes == [((24, 20), 2, 24), ((24, 20), 2, 7)]
    few = list(machine._batches([0, 1], sources, None, nbest=1, one_shape=True))
    assert [(batch.source.shape, batch.slots) for batch in few] == [((2, 20), 2)]


def test_source_lengths_are_a_ladder_up_to_the_longest():
    assert source_lengths(256) == [16, 24, 32, 48, 64, 96, 128, 192, 256]
    assert source_lengths(40) == [16, 24, 32, 40]
    assert source_lengths(16) == [16]
    assert source_lengths(5) == [5]


ON_SEVERAL_DEVICES = """
import jax
jax.config.update("jax_num_cpu_devices", 3)
from tests.test_translate import BEAM, MAX_LENGTH, Words, fake, random_lines
from transformer.config import MeshConfig
from transformer.decoding.translate import Translator
from transformer.sharding import make_mesh
graphdef, params = fake()
machine = Translator(graphdef, Words(), BEAM, MAX_LENGTH, make_mesh(MeshConfig(3, 1, 1)))
for translation in machine.translate(params, random_lines(20, seed=8)):
    print(translation.text)
"""


def test_rows_divided_among_devices_change_nothing(run_script, tmp_path):
    script = tmp_path / "several_devices.py"
    script.write_text(ON_SEVERAL_DEVICES)
    done = run_script(script)
    assert done.returncode == 0, done.stderr
    expected = translator().translate(fake()[1], random_lines(20, seed=8))
    assert done.stdout.splitlines() == [t.text for t in expected]


def test_progress_counts_lines_to_the_end():
    done = []
    translator().translate(fake()[1], ["", *random_lines(60, seed=7)], progress=done.append)
    assert done[0] == 1 and done[-1] == 61
    assert done == sorted(set(done)) and len(done) > 3


def test_lines_that_wait_for_a_place_are_translated_as_alone():
    """The Transformer's cache is handed from sentence to sentence, at other positions each time."""
    model = Transformer(small_model(num_layers=1), VOCAB_SIZE, nnx.Rngs(0))
    graphdef, params = split(model)
    params = jax.tree.map(lambda leaf: 3 * leaf, params)  # less alike
    lines = random_lines(24, seed=9)
    two_at_a_time = Translator(graphdef, Words(), BEAM, MAX_LENGTH)
    sources = [[*source, EOS] for source in Words().encode(lines)]
    order = sorted(range(24), key=lambda line: -len(sources[line]))
    assert {b.slots for b in two_at_a_time._batches(order, sources, None, 3)} == {2}
    all_at_a_time = dataclasses.replace(BEAM, batch_tokens=10_000)
    expected = Translator(graphdef, Words(), all_at_a_time, MAX_LENGTH).translate(params, lines, 3)
    found = two_at_a_time.translate(params, lines, nbest=3)
    assert [t.ids for t in found] == [t.ids for t in expected]
    assert len({tuple(ids) for t in found for ids in t.ids}) > 20
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one.scores, other.scores, rtol=1e-5)


def test_the_transformer_scores_its_translations_as_teacher_forcing_does():
    model = Transformer(small_model(num_layers=1), VOCAB_SIZE, nnx.Rngs(0))
    graphdef, params = split(model)
    lines = ["a b c d e f g h", "h g f e d c b a a b c"]
    found = Translator(graphdef, Words(), BEAM, MAX_LENGTH).translate(params, lines, nbest=3)
    pairs = [
        ([*pieces, EOS], ids)
        for pieces, translation in zip(Words().encode(lines), found, strict=True)
        for ids in translation.ids
    ]
    source, target = np.full((2, len(pairs), MAX_LENGTH + BEAM.max_extra_length), PAD, np.int32)
    for row, (source_ids, ids) in enumerate(pairs):
        source[row, : len(source_ids)] = source_ids
        target[row, : len(ids)] = ids
    target_in = np.pad(target, ((0, 0), (1, 0)), constant_values=BOS)[:, :-1]

    @jax.jit
    def log_probs(source, target_in, target):
        hidden = model(source, (source != PAD).astype(int), target_in, jnp.ones_like(target_in))
        every = jax.nn.log_softmax(model.logits(hidden))
        chosen = jnp.take_along_axis(every, target[:, :, None], axis=2)[:, :, 0]
        return jnp.where(target == PAD, 0.0, chosen).sum(axis=1)

    expected = log_probs(*map(jnp.asarray, (source, target_in, target)))
    got = [log_prob for translation in found for log_prob in translation.log_probs]
    np.testing.assert_allclose(got, expected, rtol=1e-4)
