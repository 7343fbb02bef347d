"""Two SentencePiece models behind one table: the pieces' ids, both languages, text and back."""

import json

import numpy as np
import pytest

from tests.marian_directory import counting, write_marian_directory
from transformer.data.marian_tokenizer import FILES, MarianTokenizer, load_tokenizer
from transformer.data.pipeline import encode
from transformer.data.tokenizer import BOS, EOS, PAD, UNK, Tokenizer, train_tokenizer
from transformer.errors import UserError

SOURCES, TARGETS = counting(20, seed=1)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = write_marian_directory(tmp_path_factory.mktemp("marian") / "model")
    return {name: (folder / name).read_bytes() for name in FILES}


@pytest.fixture(scope="module")
def tokenizer(files):
    return MarianTokenizer.from_files(files)


def test_reserved_ids_come_first_and_the_rest_in_marians_order(tokenizer, files):
    table = json.loads(files["vocab.json"])
    assert tokenizer.vocab_size == len(table) + 1
    last = len(table) - 1  # of <pad>, with which Marian's decoder begins
    expected = [-1, last, 0, 1, *range(2, last)]
    assert tokenizer.marian_ids.tolist() == expected
    assert tokenizer.pieces([PAD, BOS, EOS, UNK]) == ["<pad>", "<s>", "</s>", "<unk>"]
    for id_ in (4, 10, last):
        [piece] = tokenizer.pieces([id_])
        assert table[piece] == tokenizer.marian_ids[id_]


def test_each_language_is_cut_by_its_own_model(tokenizer):
    [source], [target] = tokenizer.encode(["seven"]), tokenizer.encode_target(["sieben"])
    assert len(source) < len(tokenizer.encode_target(["seven"])[0])
    assert len(target) < len(tokenizer.encode(["sieben"])[0])
    assert tokenizer.decode(tokenizer.encode_target(TARGETS)) == TARGETS
    # Pieces that only the source's model knows are put together all the same.
    assert tokenizer.decode(tokenizer.encode(SOURCES)) == SOURCES


def test_unknown_characters_blanks_and_reserved_ids(tokenizer):
    [ids] = tokenizer.encode(["one 漢 two"])
    assert UNK in ids
    assert tokenizer.encode([" one\ttwo \n", ""]) == [*tokenizer.encode(["one two"]), []]
    one = tokenizer.encode_target(["eins"])[0]
    assert tokenizer.decode([[BOS, *one, PAD, EOS, *one]]) == ["eins"]
    assert tokenizer.decode(np.array([[EOS, PAD]])) == [""]


@pytest.mark.parametrize("space", ["\n", "\r", "\t", "\u2028"])
def test_bytes_that_make_whitespace_end_no_line(files, space):
    """Where the target's model spells in bytes."""
    model = train_tokenizer(TARGETS, 300).model_proto
    spelt = [f"<0x{byte:02X}>" for byte in space.encode()]
    table = json.loads(files["vocab.json"])
    table |= {piece: len(table) + i for i, piece in enumerate(spelt)}
    tokenizer = MarianTokenizer.from_files(
        files | {"target.spm": model, "vocab.json": json.dumps(table).encode()}
    )
    ids = list(range(tokenizer.vocab_size - len(spelt), tokenizer.vocab_size))
    assert tokenizer.pieces(ids) == spelt
    one = tokenizer.encode(["one"])[0]
    assert tokenizer.decode([[*ids, *one, *ids, *one, *ids], ids]) == ["one one", ""]


def test_the_piece_of_a_language_is_taken_whole_where_the_model_has_it(tokenizer):
    [ids] = tokenizer.encode([">>deu<< one"])
    assert tokenizer.pieces(ids[:1]) == [">>deu<<"]
    assert ids[1:] == tokenizer.encode(["one"])[0]
    assert tokenizer.pieces(tokenizer.encode([">>fra<< one"])[0])[0] != ">>fra<<"


def test_one_file_holds_it_all(tokenizer, tmp_path, files):
    tokenizer.save(tmp_path / "vocabulary.model")
    loaded = load_tokenizer(tmp_path / "vocabulary.model")
    assert isinstance(loaded, MarianTokenizer)
    assert loaded.fingerprint == MarianTokenizer.from_files(files).fingerprint
    assert loaded.encode(SOURCES) == tokenizer.encode(SOURCES)


def test_the_other_kind_is_loaded_too(tmp_path):
    joint = train_tokenizer(SOURCES + TARGETS, 320)
    joint.save(tmp_path / "vocabulary.model")
    assert type(load_tokenizer(tmp_path / "vocabulary.model")) is Tokenizer
    assert joint.encode_target(TARGETS) == joint.encode(TARGETS)
    with pytest.raises(UserError, match="nowhere"):
        load_tokenizer(tmp_path / "nowhere")


def test_the_pipeline_encodes_targets_as_targets(tokenizer):
    sentences = encode(tokenizer, TARGETS, target=True)
    expected = [id_ for ids in tokenizer.encode_target(TARGETS) for id_ in [*ids, EOS]]
    assert sentences.ids.tolist() == expected


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("source.spm", b"", "source.spm is not a SentencePiece model"),
        ("target.spm", b"junk", "target.spm is not a SentencePiece model"),
        ("vocab.json", b"{", "vocab.json is not valid JSON"),
        ("vocab.json", b"[]", "an id of its own"),
        ("vocab.json", b'{"</s>": 0, "<unk>": 1, "<pad>": 3}', "without a gap"),
        ("vocab.json", b'{"</s>": 0, "<unk>": 1, "a": 2}', "no piece <pad>"),
    ],
)
def test_damaged_files_are_named(files, name, content, message):
    with pytest.raises(UserError, match=message):
        MarianTokenizer.from_files(files | {name: content})


def test_a_cut_archive_is_refused(tokenizer, tmp_path):
    path = tmp_path / "vocabulary.model"
    path.write_bytes(tokenizer.model_proto[:-100])
    with pytest.raises(UserError, match="Cannot use the vocabulary"):
        load_tokenizer(path)
