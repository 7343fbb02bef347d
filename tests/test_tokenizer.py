"""SentencePiece behind its small interface: ids, round trips, repeatable training, refusals."""

import hashlib
import io
import subprocess
import sys

import numpy as np
import pytest
import sentencepiece

from transformer.data import tokenizer as tokenizer_lib
from transformer.data.tokenizer import BOS, EOS, PAD, UNK, Sentences, Tokenizer, train_tokenizer
from transformer.errors import UserError

WORDS = "the cat dog house tree sees loves old young Haus Hund Katze Baum sieht liebt alte".split()
TEXT = [" ".join(WORDS[(i * k) % len(WORDS)] for k in range(1, 7)) for i in range(60)]


@pytest.fixture(scope="module")
def tokenizer():
    return train_tokenizer(TEXT, 330)


def test_reserved_ids_and_size(tokenizer):
    assert (PAD, BOS, EOS, UNK) == (0, 1, 2, 3)
    assert tokenizer.vocab_size == 330
    assert tokenizer.pieces([PAD, BOS, EOS, UNK]) == ["<pad>", "<s>", "</s>", "<unk>"]


@pytest.mark.parametrize(
    "text",
    [
        "the old cat sees the dog",
        "Größe, naïve café",
        "日本語 🎉 e\u0301",  # decomposed: nothing is normalised
        "</s> <pad> <s> <unk> <0x41>",  # text that looks like pieces is text
        "a\x00b\x7f",
        "",
    ],
)
def test_text_comes_back_unchanged(tokenizer, text):
    [ids] = tokenizer.encode([text])
    assert not {PAD, BOS, EOS, UNK} & set(ids)
    assert tokenizer.decode([ids]) == [text]


def test_whitespace_only_separates_words(tokenizer):
    spaced = ["  the\tcat \u00a0 sees\u2028dog\n", "the cat sees dog"]
    first, second = tokenizer.encode(spaced)
    assert first == second
    assert tokenizer.decode([first]) == ["the cat sees dog"]


@pytest.mark.parametrize("space", ["\n", "\r", "\r\n", "\t", "\x1c", "\u2028", "\x85", "\n  "])
def test_bytes_that_make_whitespace_end_no_line(tokenizer, space):
    byte_ids = {piece: i for i, piece in enumerate(tokenizer.pieces(range(tokenizer.vocab_size)))}
    spelt = [byte_ids[f"<0x{byte:02X}>"] for byte in space.encode()]
    cat, dog = tokenizer.encode(["the cat", "the dog"])
    texts = tokenizer.decode([[*spelt, *cat, *spelt, *dog, *spelt], spelt])
    assert texts == ["the cat the dog", ""]
    [inside] = tokenizer.decode([[*tokenizer.encode(["cat"])[0], *spelt, byte_ids["<0x41>"]]])
    assert inside == "cat A"


def test_decode_stops_at_the_end_token_and_skips_padding(tokenizer):
    cat, dog = tokenizer.encode(["the cat", "the dog"])
    assert tokenizer.decode([[BOS, *cat, EOS, *dog], [PAD, *dog, PAD]]) == ["the cat", "the dog"]
    assert tokenizer.decode(np.array([[BOS, EOS, PAD]])) == [""]
    assert tokenizer.decode([[], cat]) == ["", "the cat"]
    assert tokenizer.decode([]) == tokenizer.encode([]) == []


def test_training_is_repeatable(tokenizer):
    again = train_tokenizer(iter(TEXT), 330)
    assert again.model_proto == tokenizer.model_proto
    assert again.fingerprint == hashlib.sha256(tokenizer.model_proto).hexdigest()
    assert train_tokenizer(TEXT, 329).fingerprint != tokenizer.fingerprint


def test_processes_learn_from_the_same_sample_of_much_text():
    script = """
import sys
from transformer.data import tokenizer
tokenizer._TRAINER_SENTENCES = 200  # of 3,000
words = "the cat dog house tree sees loves old young Haus Hund Katze Baum sieht liebt alte".split()
text = (" ".join(words[i * k * k % len(words)] for k in range(1, 9)) + f" {i}" for i in range(3000))
print(tokenizer.train_tokenizer(text, 330).fingerprint)
"""
    runs = [
        subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
        for _ in range(2)
    ]
    assert runs[0].stdout == runs[1].stdout != ""


def test_the_sample_is_fixed_and_draws_evenly():
    whole = [str(i) for i in range(20_000)]
    sample = tokenizer_lib._sampled(iter(whole), 2_000)
    assert sample == tokenizer_lib._sampled(whole, 2_000)
    assert len(set(sample)) == 2_000 and set(sample) <= set(whole)
    tenths = np.bincount([int(text) // 2_000 for text in sample], minlength=10)
    assert (abs(tenths - 200) < 60).all()  # four standard deviations
    # What every version of Python draws, and what takes no part in the drawing.
    drawn = ["0", "1", "7", "3"]
    assert tokenizer_lib._sampled(whole[:9], 4) == drawn
    skipped = ["", " \u2028\t", "x" * 4193, "ä" * 2097]
    assert tokenizer_lib._sampled(skipped + whole[:9], 4) == drawn
    longest = ["ä" * 2096 + " " * 9, "x " * 2096]
    assert tokenizer_lib._sampled([*longest, "a"], 3) == [*longest, "a"]


@pytest.mark.parametrize("sentence", ["x" * 4192, "x" * 4193, "ä" * 2096, "ä" * 2097])
def test_the_sample_has_what_sentencepiece_takes(sentence):
    learnt = train_tokenizer([*TEXT, sentence], 325)
    pieces = learnt.pieces(range(learnt.vocab_size))
    assert (sentence[0] in pieces) == (tokenizer_lib._sampled([sentence], 1) == [sentence])


def test_unigram_vocabulary():
    tokenizer = train_tokenizer(TEXT, 295, "unigram")
    assert tokenizer.vocab_size == 295
    assert tokenizer.decode(tokenizer.encode(["old Katze"])) == ["old Katze"]


def test_training_is_quiet(capfd):
    train_tokenizer(TEXT, 330)
    assert capfd.readouterr() == ("", "")


def test_save_and_load(tokenizer, tmp_path):
    tokenizer.save(tmp_path / "vocab.model")
    loaded = Tokenizer.load(tmp_path / "vocab.model")
    assert loaded.fingerprint == tokenizer.fingerprint
    assert loaded.encode(TEXT) == tokenizer.encode(TEXT)
    assert Tokenizer.from_bytes(tokenizer.model_proto).vocab_size == 330


@pytest.mark.parametrize("vocab_type", ["bpe", "unigram"])
@pytest.mark.parametrize("size", [9999, 10**12])
def test_vocabulary_larger_than_the_text_allows(vocab_type, size):
    message = rf"config\.data\.vocab_size is {size}.* at most (\d+)"
    with pytest.raises(UserError, match=message) as e:
        train_tokenizer(TEXT, size, vocab_type)
    largest = int(str(e.value).split("at most ")[1].split()[0])
    assert train_tokenizer(TEXT, largest, vocab_type).vocab_size == largest


@pytest.mark.parametrize("size", [1, 100])
def test_vocabulary_smaller_than_its_fixed_part(size):
    message = rf"config\.data\.vocab_size is {size},.* at least (\d+)"
    with pytest.raises(UserError, match=message) as e:
        train_tokenizer(TEXT, size)
    least = int(str(e.value).rstrip(".").split()[-1])
    assert train_tokenizer(TEXT, least).vocab_size == least


def test_no_text():
    with pytest.raises(UserError, match="no sentence"):
        train_tokenizer(["", "  "], 300)


def test_unusable_models(tmp_path):
    (tmp_path / "junk").write_bytes(b"junk")
    (tmp_path / "empty").write_bytes(b"")
    for name in ("junk", "empty", "missing"):
        with pytest.raises(UserError, match=name):
            Tokenizer.load(tmp_path / name)


def test_model_with_other_reserved_ids():
    model = io.BytesIO()  # SentencePiece's own defaults: unk 0, bos 1, eos 2, no pad
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(TEXT), model_writer=model, vocab_size=40, minloglevel=2
    )
    with pytest.raises(UserError, match=r"\(-1, 1, 2, 0\).*--pad_id=0"):
        Tokenizer.from_bytes(model.getvalue())


def test_sentences_take_a_choice():
    sentences = Sentences(np.array([5, 6, 7, 8, 9, 10], np.uint16), np.array([0, 2, 3, 3, 6]))
    assert sentences.lengths.tolist() == [2, 1, 0, 3]
    chosen = sentences.take(np.array([3, 2, 0]))
    assert chosen.ids.tolist() == [8, 9, 10, 5, 6]
    assert chosen.offsets.tolist() == [0, 3, 3, 5]
    assert chosen.ids.dtype == np.uint16
