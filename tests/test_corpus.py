"""Text files, TFDS and the grammar as one kind of corpus, and what is said of broken ones."""

import dataclasses
import gzip
import io
import os
import sys
import threading

import numpy as np
import pytest

from tests.helpers import base_config
from transformer.data import corpus as corpus_lib
from transformer.data.corpus import Corpus, keep_pairs, load_corpus, read_lines, read_pairs
from transformer.errors import UserError

COMPRESS = pytest.mark.parametrize("compress", [bytes, gzip.compress])


def data_config(**changes):
    return dataclasses.replace(base_config().data, **changes)


@pytest.fixture
def files(tmp_path):
    """Writes bytes to a.en and a.de and returns the config that reads them."""

    def write(english: bytes, german: bytes, **changes):
        paths = tmp_path / "a.en", tmp_path / "a.de"
        for path, content in zip(paths, (english, german), strict=True):
            path.write_bytes(content)
        return data_config(source="files", train=tuple(map(str, paths)), **changes)

    return write


def refusal(config, split="train"):
    with pytest.raises(UserError) as caught:
        load_corpus(config, split, seed=0)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_files(files):
    config = files(b"a cat\nsnow\n", "eine Katze\nSchnee ä\n".encode())
    assert load_corpus(config, "train", 0) == Corpus(["a cat", "snow"], ["eine Katze", "Schnee ä"])


def test_only_newlines_end_lines(tmp_path):
    path = tmp_path / "a"
    path.write_bytes("\ufeffone\u2028still one\x0b\x85\r\n\r\ntwo\rtwo".encode())
    assert read_lines(path) == ["one\u2028still one\x0b\x85", "", "two\rtwo"]
    path.write_bytes(b"")
    assert read_lines(path) == []


def test_compressed_files_are_known_by_their_content(files):
    config = files(gzip.compress(b"a\nb\n"), b"c\nd\n")
    assert load_corpus(config, "train", 0) == Corpus(["a", "b"], ["c", "d"])


def test_files_of_different_length(files):
    message = refusal(files(b"1\n2\n3\n", b"1\n2\n"))
    assert "a.en has 3 lines" in message
    assert "a.de has 2" in message


@COMPRESS
def test_invalid_utf8_is_located(files, compress):
    message = refusal(files(b"1\n2\n", compress("\ufeffä\nb".encode() + b"\xff\n")))
    assert "a.de, line 2:" in message


def test_unreadable_files(files, tmp_path):
    config = files(b"1\n", b"1\n")
    missing = dataclasses.replace(config, train=("nowhere.en", config.train[1]))
    assert "Cannot read nowhere.en: No such file" in refusal(missing)
    whole = gzip.compress(b"1\n" * 99)
    for damaged in (whole[:-9], whole[:10] + b"\x07" + whole[11:]):
        message = refusal(files(damaged, b"1\n"))
        assert message.startswith("Cannot read")
        assert "a.en" in message


@pytest.fixture
def pipe():
    """Makes a pipe that gives some bytes once; returns its path, as <(zcat text.gz) in a shell."""
    writers, ends = [], []

    def feed(end, content):
        with open(end, "wb") as file:
            file.write(content)

    def start(content):
        read_end, write_end = os.pipe()
        ends.append(read_end)
        writers.append(threading.Thread(target=feed, args=(write_end, content), daemon=True))
        writers[-1].start()
        return f"/dev/fd/{read_end}"

    yield start
    for end in ends:
        os.close(end)
    for writer in writers:
        writer.join()


@COMPRESS
@pytest.mark.parametrize(
    "text", ["", "\ufeff", "a", "\ufeffä\n\ufeffb\r\n", "one\n\ntwo\n" * 40_000]
)
def test_pipes_give_what_files_give(pipe, tmp_path, compress, text):
    expected = text.removeprefix("\ufeff").replace("\r\n", "\n").split("\n")
    expected = expected if expected[-1] else expected[:-1]  # after the last line end
    (tmp_path / "file").write_bytes(compress(text.encode()))
    assert read_lines(tmp_path / "file") == expected
    assert read_lines(pipe(compress(text.encode()))) == expected


def test_pairs_from_pipes(pipe):
    paths = pipe(b"1\n2\n"), pipe(gzip.compress(b"3\n4"))
    assert read_pairs(*paths) == Corpus(["1", "2"], ["3", "4"])


@pytest.mark.parametrize(("source_lines", "target_lines"), [(3, 2), (2, 3), (9, 2), (0, 5)])
def test_pipes_of_different_length(pipe, source_lines, target_lines):
    source, target = pipe(b"1\n" * source_lines), pipe(b"1\n" * target_lines)
    expected = f"{source} has {source_lines} lines and {target} has {target_lines};"
    with pytest.raises(UserError, match=expected):
        read_pairs(source, target)


def test_damaged_pipes(pipe):
    whole = gzip.compress(b"1\n" * 99)
    for damaged in (whole[:2], whole[:-9], whole[:10] + b"\x07" + whole[11:]):
        with pytest.raises(UserError, match=r"^Cannot read /dev/fd/\d+: .*[^.]\.$"):
            read_lines(pipe(damaged))


def test_reasons_end_with_one_full_stop(monkeypatch):
    def fail(*_):
        raise io.UnsupportedOperation("File or stream is not seekable.")

    monkeypatch.setattr(corpus_lib, "open", fail, raising=False)
    with pytest.raises(UserError, match=r"seekable\.$"):
        read_lines("text")


def test_empty_corpus_and_unnamed_files(files):
    assert '"train"' in refusal(files(b"", b""))
    assert "config.data.validation names no files" in refusal(files(b"", b""), "validation")


def test_validation_is_cut_to_the_wanted_number_of_pairs(files):
    config = files(b"1\n2\n3\n", b"4\n5\n6\n", validation_pairs=2)
    config = dataclasses.replace(config, validation=config.train)
    assert load_corpus(config, "validation", 0) == Corpus(["1", "2"], ["4", "5"])
    assert len(load_corpus(config, "train", 0).source) == 3


def test_grammar_in_both_directions():
    config = data_config(source="grammar", grammar_pairs=20, validation_pairs=7)
    forth = load_corpus(config, "train", 3)
    back = load_corpus(dataclasses.replace(config, languages=("de", "en")), "train", 3)
    assert forth == Corpus(back.target, back.source)
    assert len(forth.source) == len(forth.target) == 20
    assert forth != load_corpus(config, "train", 4)
    assert len(load_corpus(config, "validation", 3).source) == 7
    assert "en and de" in refusal(dataclasses.replace(config, languages=("en", "fr")))


@pytest.fixture(scope="module")
def tfds_dir(tmp_path_factory):
    """A TFDS data set of three training pairs and one of validation, without TensorFlow."""
    tfds = pytest.importorskip("tensorflow_datasets")

    class ToyTranslate(tfds.core.GeneratorBasedBuilder):
        VERSION = tfds.core.Version("1.0.0")

        def _info(self):
            features = tfds.features.Translation(languages=("de", "en"))
            return tfds.core.DatasetInfo(builder=self, features=features)

        def _split_generators(self, download_manager):
            return {
                split: self._generate_examples(split, n)
                for split, n in (("train", 3), ("validation", 1))
            }

        def _generate_examples(self, split, n):
            for i in range(n):
                yield i, {"de": f"Hügel {i} {split}", "en": f"hill {i} {split}"}

    directory = tmp_path_factory.mktemp("tfds")
    tfds.disable_progress_bar()
    ToyTranslate(data_dir=directory, file_format="array_record").download_and_prepare()
    return directory


def test_tfds_in_both_directions(tfds_dir):
    config = data_config(tfds_name="toy_translate", tfds_data_dir=str(tfds_dir))
    forth = load_corpus(config, "train", 0)
    assert sorted(forth.source) == [f"hill {i} train" for i in range(3)]
    assert forth.target == [text.replace("hill", "Hügel") for text in forth.source]
    back = load_corpus(dataclasses.replace(config, languages=("de", "en")), "train", 0)
    assert back == Corpus(forth.target, forth.source)
    assert load_corpus(config, "validation", 0).source == ["hill 0 validation"]
    assert "tensorflow" not in sys.modules


def test_tfds_refusals(tfds_dir):
    config = data_config(tfds_name="toy_translate", tfds_data_dir=str(tfds_dir))
    assert 'no split "test", only: train, validation' in refusal(config, "test")
    message = refusal(dataclasses.replace(config, languages=("en", "fr")))
    assert '"fr"' in message
    assert "no data set" in refusal(dataclasses.replace(config, tfds_name="no_such_corpus"))


class FakeBuilder:
    """A builder at the point where something is missing."""

    def __init__(self, error):
        self._error = error

    def is_prepared(self):
        return False

    def download_and_prepare(self, file_format):
        raise self._error


@pytest.mark.parametrize(
    ("error", "advice"),
    [
        (ImportError("no module"), r"pip install -e \.\[wmt\]"),
        (ConnectionError("unreachable"), 'config.data.source="files"'),
    ],
)
def test_tfds_that_cannot_be_prepared(monkeypatch, error, advice):
    tfds = pytest.importorskip("tensorflow_datasets")
    monkeypatch.setattr(tfds, "builder", lambda name, data_dir: FakeBuilder(error))
    with pytest.raises(UserError, match=advice):
        load_corpus(data_config(), "train", 0)


def test_tfds_prepared_as_tfrecord_without_tensorflow(monkeypatch):
    class Builder:
        class info:
            full_name = "toy/1.0.0"

        def as_data_source(self, split):
            raise NotImplementedError

    monkeypatch.setattr(corpus_lib.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"tfrecord.*TensorFlow"):
        list(corpus_lib._records(Builder(), "train"))


def test_pairs_are_dropped_by_the_first_reason_that_holds():
    #                  keep  empty  empty  long  long  ratio  ratio at its bound
    source = np.array([5, 1, 30, 21, 4, 3, 4])
    target = np.array([6, 5, 1, 20, 21, 10, 12])
    keep, dropped = keep_pairs(source, target, max_length=20, max_length_ratio=3.0)
    assert keep.tolist() == [True, False, False, False, False, False, True]
    assert dropped == {"empty": 2, "too long": 2, "length ratio": 1}
