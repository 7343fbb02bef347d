"""Pairs on disk: the same batches as from text, read when they are needed, and refusals."""

import dataclasses
import json
import pathlib

import grain
import numpy as np
import pytest

from tests.helpers import base_config
from tests.test_pipeline import assert_same, small_corpus, take
from transformer.data import prepared
from transformer.data.corpus import load_corpus
from transformer.data.pipeline import build_train_data, encode_pairs, plan_train_data
from transformer.data.preparation import Recipe, prepare
from transformer.data.preparation.text import Archives, TextFiles
from transformer.data.prepared import PreparedPairs, open_prepared
from transformer.data.tokenizer import EOS, train_tokenizer
from transformer.errors import UserError


def write_pair(folder, name, corpus):
    """Writes the two sides as text; returns the files' names."""
    paths = [folder / f"{name}.en", folder / f"{name}.de"]
    for path, lines in zip(paths, corpus, strict=True):
        path.write_text("".join(f"{line}\n" for line in lines))
    return tuple(map(str, paths))


def recipe(train, validation=None, **changes):
    values = {
        "languages": ("en", "de"),
        "train": train if isinstance(train, Archives) else TextFiles(*train),
        "validation": validation and TextFiles(*validation),
        "test": None,
        "vocab_size": 320,
        "vocab_type": "bpe",
        "max_length": 50,
        "max_length_ratio": 9.0,
    }
    return Recipe(**(values | changes))


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    """Training and validation files: 150 pairs of 2 to 12 words, and some that are left out."""
    folder = tmp_path_factory.mktemp("text")
    corpus = small_corpus()
    corpus.source[40:40] = ["", "ba", "ba " * 60, "ba " * 30]
    corpus.target[40:40] = ["de", " ", "de", "de"]
    return write_pair(folder, "train", corpus), write_pair(folder, "val", small_corpus(9, 1))


@pytest.fixture(scope="module")
def folder(text, tmp_path_factory):
    """The text prepared, in files of 40 pairs."""
    output = tmp_path_factory.mktemp("prepared") / "out"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(prepared, "_PAIRS_A_FILE", 40)
        prepare(recipe(*text), output, output.parent / "downloads", lambda text: None)
    return output


def data_config(folder, text, **changes):
    values = {
        "source": "prepared",
        "prepared_dir": str(folder),
        "train": text[0],
        "validation": text[1],
        "max_length": 50,
        "max_length_ratio": 9.0,
        "batch_tokens": 400,
        "packing": False,
    }
    return dataclasses.replace(base_config().data, **(values | changes))


def from_disk(config, seed=7):
    pairs, _ = open_prepared(config, None)
    return plan_train_data(config, pairs, seed, 4)


def from_text(config, tokenizer, seed=7):
    files = dataclasses.replace(config, source="files")
    if config.languages == ("de", "en"):
        files = dataclasses.replace(files, train=files.train[::-1])
    return build_train_data(config, tokenizer, load_corpus(files, "train", 0), seed, 4)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"packing": True},
        {"languages": ("de", "en")},
        {"max_length": 30, "max_length_ratio": 1.5},  # tighter than the folder's
    ],
)
def test_batches_equal_those_of_the_text(folder, text, changes):
    config = data_config(folder, text, **changes)
    _, tokenizer = open_prepared(config, None)
    disk, memory = from_disk(config), from_text(config, tokenizer)
    assert disk.num_pairs == memory.num_pairs
    assert disk.num_pairs == 150 or "max_length" in changes
    assert (disk.shapes, disk.padding) == (memory.shapes, memory.padding)
    n = disk.steps_per_epoch + 2
    assert_same(take(disk.iterator(), n), take(memory.iterator(), n))
    resumed = disk.iterator(((1,), 2))
    resumed.set_state({"next_index": 3})
    whole = memory.iterator(((1,), 2))
    take(whole, 3)
    assert_same(take(resumed, 2), take(whole, 2))


def test_the_vocabulary_is_the_one_that_the_text_gives(folder, text):
    corpus = load_corpus(data_config(folder, text, source="files"), "train", 0)
    learnt = train_tokenizer([*corpus.source, *corpus.target], 320)
    stored = open_prepared(data_config(folder, text), None)[1]
    assert stored.fingerprint == learnt.fingerprint


def test_held_out_text_is_kept_as_text(folder, text):
    config = data_config(folder, text)
    files = dataclasses.replace(config, source="files")
    corpus = load_corpus(config, "validation", 0)
    assert corpus == load_corpus(files, "validation", 0)
    back = load_corpus(dataclasses.replace(config, languages=("de", "en")), "validation", 0)
    assert (back.source, back.target) == (corpus.target, corpus.source)
    with pytest.raises(UserError, match=r"holds no test text; prepare a folder with --test"):
        load_corpus(config, "test", 0)


def test_pairs_lie_in_several_files_in_the_order_of_the_text(folder, text):
    names = sorted(path.name for path in (folder / "train").iterdir())
    assert names == [*(f"{i:05}.array_record" for i in range(4)), "lengths.npy"]
    pairs, tokenizer = open_prepared(data_config(folder, text), None)
    expected = encode_pairs(tokenizer, small_corpus())
    for chosen in (np.array([149, 3, 3, 41, 0]), np.arange(150), np.arange(0)):
        ours, theirs = pairs.take(chosen), expected.take(chosen)
        assert_same((ours.source, ours.target), (theirs.source, theirs.target))
    chosen = pairs.select(np.array([7, 5])).select(np.array([1]))
    assert len(chosen) == 1
    assert chosen.take(np.array([0])).source.ids.tolist() == (
        expected.take(np.array([5])).source.ids.tolist()
    )


def test_records_are_ids_with_their_ends(folder, text):
    pairs, tokenizer = open_prepared(data_config(folder, text), None)
    record = grain.sources.ArrayRecordDataSource([str(folder / "train" / "00000.array_record")])[0]
    corpus = small_corpus()
    source, target = tokenizer.encode([corpus.source[0], corpus.target[0]])
    assert np.frombuffer(record, "<u2").tolist() == [*source, EOS, *target, EOS]
    assert [side[0] for side in pairs.lengths] == [len(source) + 1, len(target) + 1]


class Watched(grain.sources.ArrayRecordDataSource):
    """Remembers which records were read."""

    def __init__(self, paths):
        super().__init__(paths)
        self.read = []

    def __getitems__(self, numbers):
        self.read.extend(numbers)
        return super().__getitems__(numbers)


def test_only_the_pairs_of_a_batch_are_read(folder, text, monkeypatch):
    monkeypatch.setattr(grain.sources, "ArrayRecordDataSource", Watched)
    config = data_config(folder, text)
    data = from_disk(config)
    records = data._pairs._records
    assert records.read == []
    plan = data.epoch_plan(0)
    data.batch(plan, 2)
    assert sorted(records.read) == sorted(plan.batch(2).pairs.tolist())
    records.read.clear()
    data.batch(plan, 2, rows=((1,), 2))
    assert 0 < len(records.read) < len(plan.batch(2).pairs)


def test_lengths_that_belong_to_other_records(folder, text):
    pairs, _ = open_prepared(data_config(folder, text), None)
    lengths = np.stack(pairs.lengths, axis=1)
    for wrong in ((1, -1), (0, 1)):
        wrong = lengths + np.array(wrong)
        broken = PreparedPairs(pairs._records, wrong, np.dtype("<u2"), (0, 1))
        with pytest.raises(UserError, match="training pairs are damaged"):
            broken.take(np.arange(5))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"prepared_dir": "/nowhere"}, "Cannot read /nowhere/manifest.json (No such file"),
        ({"max_length": 51}, "config.data.max_length is 51, but {folder} holds pairs up to 50;"),
        ({"max_length_ratio": 9.5}, "config.data.max_length_ratio is 9.5, but"),
        ({"languages": ("en", "fr")}, "is of the languages ('en', 'de'); config.data.languages"),
        ({"vocab_path": "{other}"}, "another vocabulary than {other} (config.data.vocab_path)."),
    ],
)
def test_folders_that_do_not_fit_the_config(folder, text, tmp_path, changes, message):
    other = tmp_path / "other.model"
    words = small_corpus()
    train_tokenizer([*words.source, *words.target], 321).save(other)
    names = {"folder": folder, "other": other}
    changes = {k: v.format(**names) if isinstance(v, str) else v for k, v in changes.items()}
    with pytest.raises(UserError) as caught:
        open_prepared(data_config(folder, text, **changes), None)
    assert message.format(**names) in str(caught.value)


def test_a_run_keeps_its_vocabulary(folder, text):
    config = data_config(folder, text)
    stored = open_prepared(config, None)[1]
    assert open_prepared(config, stored)[1].fingerprint == stored.fingerprint
    words = small_corpus()
    with pytest.raises(UserError, match=r"another vocabulary than the run's\."):
        open_prepared(config, train_tokenizer([*words.source, *words.target], 321))


def copy_without(folder, copy, name):
    """A copy of the folder in which one file is cut short."""
    for path in folder.rglob("*"):
        if path.is_file():
            target = copy / path.relative_to(folder)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(path.read_bytes()[: -1 if target.name == name else None])


@pytest.mark.parametrize("name", ["00002.array_record", "lengths.npy", "vocabulary.model"])
def test_damaged_files(folder, text, tmp_path, name):
    copy_without(folder, tmp_path, name)
    with pytest.raises(UserError, match=f"{name} is missing or damaged"):
        open_prepared(data_config(tmp_path, text), None)


def test_an_unfinished_or_damaged_manifest(folder, text, tmp_path):
    copy_without(folder, tmp_path, "")
    manifest = pathlib.Path(tmp_path / "manifest.json")
    values = json.loads(manifest.read_text())
    del values["stages"]["train"]
    manifest.write_text(json.dumps(values))
    with pytest.raises(UserError, match="is not finished; the command that began it"):
        open_prepared(data_config(tmp_path, text), None)
    manifest.write_text("{")
    with pytest.raises(UserError, match=r"manifest\.json is not valid JSON"):
        open_prepared(data_config(tmp_path, text), None)


def test_training_goes_from_a_prepared_folder(tmp_path, run_script):
    """The scripts one after the other, as a user runs them."""
    words = small_corpus(60)
    train, val = write_pair(tmp_path, "train", words), write_pair(tmp_path, "val", words)
    done = run_script(
        "prepare",
        "--corpus=files",
        f"--train={train}",
        f"--validation={val}",
        f"--output={tmp_path / 'out'}",
        "--vocab_size=320",
    )
    assert done.returncode == 0, done.stderr
    arguments = [
        "--config=tests/tiny_config.py",
        f"--workdir={tmp_path / 'run'}",
        "--config.data.source=prepared",
        f"--config.data.prepared_dir={tmp_path / 'out'}",
        "--config.data.validation_pairs=4",
        "--config.training.num_steps=2",
    ]
    done = run_script("train", *arguments)
    assert done.returncode == 0, done.stderr
    assert "train: 60 pairs" in done.stderr
    assert "validation: 4 pairs" in done.stderr
    assert "step 2: validation loss" in done.stderr
    assert (tmp_path / "run" / "vocabulary.model").read_bytes() == (
        tmp_path / "out" / "vocabulary.model"
    ).read_bytes()
