"""The stages of a preparation: whole or not there, once each, and what users are told."""

import functools
import gzip
import json
import os
import pathlib
import signal
import subprocess
import sys

import pytest

from tests.test_download import archive, server, tar  # noqa: F401
from tests.test_pipeline import small_corpus
from tests.test_prepared import recipe, write_pair
from transformer.data import preparation
from transformer.data.preparation import prepare
from transformer.data.preparation.text import Archives, Part, Place
from transformer.data.preparation.wmt14 import CORPORA
from transformer.errors import UserError

ROOT = pathlib.Path(__file__).parents[1]


@pytest.fixture
def text(tmp_path):
    return write_pair(tmp_path, "a", small_corpus(80))


def contents(folder):
    """What each file holds, by its name."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def prepared(recipe, output, downloads=pathlib.Path("nowhere")):
    """Prepares; returns the record of the training pairs and what was said."""
    said = []
    return prepare(recipe, output, downloads, said.append), said


def refusal(recipe, output):
    with pytest.raises(UserError) as caught:
        prepared(recipe, output)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_pairs_left_out_are_counted_by_reason(tmp_path):
    words = small_corpus(80)
    words.source[:5] = ["", "ba", "ba " * 60, "ba " * 30, "ba"]
    words.target[:5] = ["de", "  ", "de", "de", "de"]
    record, said = prepared(recipe(write_pair(tmp_path, "a", words)), tmp_path / "out")
    assert record["pairs"] == 76
    assert record["dropped"] == {"empty": 2, "too long": 1, "length ratio": 1}
    assert "train: 76 pairs (left out: 2 empty, 1 too long, 1 length ratio)" in said
    everything = recipe(write_pair(tmp_path, "a", words), max_length=1000, max_length_ratio=1000.0)
    assert prepared(everything, tmp_path / "all")[0]["pairs"] == 78


def test_duplicates_stay(tmp_path):
    words = small_corpus(80)
    twice = write_pair(tmp_path, "a", (words.source * 2, words.target * 2))
    assert prepared(recipe(twice), tmp_path / "out")[0]["pairs"] == 160


def test_a_second_call_does_nothing(text, tmp_path, monkeypatch):
    wanted, output = recipe(text, validation=text), tmp_path / "out"
    first, _ = prepared(wanted, output)
    before = contents(output)
    monkeypatch.setattr(preparation, "iter_lines", lambda path: pytest.fail("text was read"))
    monkeypatch.setattr(preparation, "read_pairs", lambda *paths: pytest.fail("text was read"))
    second, said = prepared(wanted, output)
    assert said == [f"{name}: there already" for name in ("validation", "vocabulary", "train")]
    assert second == first
    assert contents(output) == before


def test_the_manifest_tells_what_is_there(text, tmp_path):
    prepared(recipe(text, validation=text), tmp_path / "out")
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    files = {}
    for stage in manifest["stages"].values():
        files |= {name: facts["bytes"] for name, facts in stage["files"].items()}
    there = contents(tmp_path / "out")
    del there["manifest.json"]
    assert files == {name: len(content) for name, content in there.items()}
    assert manifest["recipe"]["vocab_size"] == 320
    assert manifest["recipe"]["train"][0].startswith("a.en, ")


KILLED = """
import os, pathlib, signal, sys
from tests.test_prepared import recipe
from transformer.data import prepared, preparation

def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)

{patch}
train, output = sys.argv[1:3], pathlib.Path(sys.argv[3])
preparation.prepare(recipe(train), output, output, print)
"""


@pytest.mark.parametrize(
    ("patch", "survives"),
    [
        ("preparation.train_tokenizer = die", []),
        ("prepared.PairsWriter.close = die", ["vocabulary.model"]),
    ],
)
def test_a_killed_preparation_goes_on(text, tmp_path, patch, survives):
    script, output = KILLED.replace("{patch}", patch), tmp_path / "out"
    done = subprocess.run(
        [sys.executable, "-c", script, *text, str(output)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.DEVNULL,
        check=False,
    )
    assert done.returncode == -signal.SIGKILL
    assert [name for name in survives if not (output / name).exists()] == []
    assert not (output / "train").exists()
    _, said = prepared(recipe(text), output)
    assert ("vocabulary: there already" in said) == bool(survives)
    prepared(recipe(text), tmp_path / "straight")
    assert contents(output) == contents(tmp_path / "straight")


def test_a_lost_file_is_made_again(text, tmp_path):
    output = tmp_path / "out"
    prepared(recipe(text), output)
    before = contents(output)
    (output / "train" / "00000.array_record").unlink()
    _, said = prepared(recipe(text), output)
    assert "vocabulary: there already" in said
    assert contents(output) == before


def test_another_vocabulary_makes_other_training_pairs(text, tmp_path):
    """As after a change of SentencePiece: ids that belong to no vocabulary must not stay."""
    output = tmp_path / "out"
    prepared(recipe(text), output)
    (output / "vocabulary.model").unlink()
    learn = functools.partial(preparation.train_tokenizer, vocab_type="unigram")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(preparation, "train_tokenizer", lambda lines, size, kind: learn(lines, size))
        _, said = prepared(recipe(text), output)
    assert "train: there already" not in said


def test_changed_parameters_are_named(text, tmp_path):
    output = tmp_path / "out"
    prepared(recipe(text), output)
    before = contents(output)
    message = refusal(recipe(text, vocab_size=300, max_length=40), output)
    assert "vocab_size was 320, is 300; max_length was 50, is 40" in message
    assert "name another --output" in message
    pathlib.Path(text[1]).write_text("other\n" * 80)
    assert "train was ['a.en, " in refusal(recipe(text), output)
    assert contents(output) == before


def test_text_that_does_not_pair_up_leaves_nothing_behind(text, tmp_path):
    pathlib.Path(text[1]).write_text("one\n")
    message = refusal(recipe(text), tmp_path / "out")
    assert "a.en has 80 lines and" in message and "a.de has 1;" in message
    assert not (tmp_path / "out").exists()


def test_a_pipe_is_refused(text, tmp_path):
    """A named one would block for ever when it is opened again."""
    os.mkfifo(tmp_path / "pipe")
    message = refusal(recipe((str(tmp_path / "pipe"), text[1])), tmp_path / "out")
    assert "pipe is no file; it is read more than once" in message


def test_archives_give_what_their_text_gives(server, tmp_path, monkeypatch):  # noqa: F811
    """A corpus in two archives, one with compressed members, from the first byte to the ids."""
    one, two = small_corpus(50), small_corpus(30, 1)
    members = {}
    for name, words in (("in/a.de-en", one), ("b", two)):
        for language, lines in zip(("en", "de"), words, strict=True):
            members[f"{name}.{language}"] = "".join(f"{line}\n" for line in lines).encode()
    members |= {f"{name}.gz": gzip.compress(members.pop(name)) for name in ("b.en", "b.de")}
    server.content = tar(tmp_path / "a.tgz", members, "w:gz").read_bytes()
    web = archive(server, server.content)
    parts = (Part(web, ("in/a.de-en.en", "in/a.de-en.de")), Part(web, ("b.en.gz", "b.de.gz")))
    wanted = recipe(Archives(parts))
    output, downloads = tmp_path / "out", tmp_path / "downloads"

    server.cut_at = len(server.content) // 2
    with pytest.raises(UserError, match="the same command goes on"):
        prepare(wanted, output, downloads, lambda text: None)
    assert not output.exists()
    server.cut_at = None
    record, _ = prepared(wanted, output, downloads)
    assert server.ranges == [None, f"bytes={len(server.content) // 2}-"]
    assert record["pairs"] == 80
    assert not (output / "text").exists()
    again, said = prepared(wanted, output, tmp_path / "no downloads any more")
    assert again == record and len(said) == 2 and len(server.ranges) == 2

    joined = write_pair(tmp_path, "joined", (one.source + two.source, one.target + two.target))
    prepared(recipe(joined), tmp_path / "files")
    ours, theirs = contents(output), contents(tmp_path / "files")
    del ours["manifest.json"], theirs["manifest.json"]
    assert ours == theirs


@pytest.mark.parametrize(("name", "other"), [("wmt14_en_de", "de"), ("wmt14_en_fr", "fr")])
def test_wmt14_is_what_tensorflow_datasets_takes(name, other):
    wmt = pytest.importorskip("tensorflow_datasets.translate.wmt")
    wmt14 = pytest.importorskip("tensorflow_datasets.translate.wmt14")
    folder = pathlib.Path(wmt.__file__).parents[1] / "url_checksums"
    known = {}
    for year in (13, 14, 15):
        for line in (folder / f"wmt{year}_translate.txt").read_text().splitlines():
            url, size, digest, _ = line.split("\t")
            known[url.rpartition("/")[2]] = int(size), digest
    subsets = wmt14.Wmt14Translate._subsets.fget(None)["train"]
    theirs = [wmt.DATASET_MAP[s] for s in subsets if other in wmt.DATASET_MAP[s].sources]
    corpus = CORPORA[name]
    assert corpus.languages == ("en", other)
    for part, subset in zip(corpus.train.parts, theirs, strict=True):
        assert known[part.archive.name] == part.archive[1:]
        (url,) = set(subset.get_url(other))
        assert url.replace("http:", "https:") == part.archive.url
        assert tuple(subset.get_path(other)) == part.members[::-1]


def run_wmt14(run_script, folder, *arguments):
    """Where no server answers: with a proxy that is not there."""
    nowhere = {"https_proxy": "http://127.0.0.1:9", "SACREBLEU": str(folder / "sacrebleu")}
    return run_script(
        "prepare",
        "--corpus=wmt14_en_de",
        f"--output={folder / 'out'}",
        *arguments,
        env=nowhere,
    )


def error_of(done):
    assert done.returncode == 2, done.stderr
    error = done.stderr.strip().splitlines()[-1]
    assert error.startswith("error: ") and "Traceback" not in done.stderr
    return error


def test_test_sets_are_those_of_sacrebleu(run_script, tmp_path):
    for name, folder in (("wmt13", "wmt13"), ("wmt14_full", "wmt14/full")):
        cache = tmp_path / "sacrebleu" / folder
        cache.mkdir(parents=True)
        for field in ("src", "ref", "docid", "genre", "origlang"):
            (cache / f"{name}.en-de.{field}").write_text(f"{name} {field}\nthe second\n")
    error = error_of(run_wmt14(run_script, tmp_path))
    assert "Cannot download https://www.statmt.org/wmt13/training-parallel-europarl" in error
    assert "0 of 657632379 bytes are there" in error
    out = tmp_path / "out"
    assert (out / "validation.en").read_text() == "wmt13 src\nthe second\n"
    assert (out / "test.de").read_text() == "wmt14_full ref\nthe second\n"
    assert sorted(path.name for path in out.iterdir()) == [
        "manifest.json", "test.de", "test.en", "validation.de", "validation.en"
    ]  # fmt: skip


@pytest.mark.parametrize("error", [OSError("no route"), SystemExit("no route")])
def test_test_sets_that_cannot_be_had(monkeypatch, tmp_path, error):
    place = Place(tmp_path, tmp_path, print)

    def fail(*_):
        raise error

    monkeypatch.setattr("sacrebleu.get_source_file", fail)
    message = r"Cannot get wmt13 en-de of sacreBLEU \(no route\);.*--validation and --test"
    with pytest.raises(UserError, match=message):
        CORPORA["wmt14_en_de"].validation.paths(place)


def test_downloads_and_test_sets_can_be_put_there(run_script, text, tmp_path):
    (tmp_path / "downloads").mkdir()
    by_hand = tmp_path / "downloads" / "training-parallel-europarl-v7.tgz"
    by_hand.write_bytes(b"an error page")
    done = run_wmt14(run_script, tmp_path, f"--validation={text}", f"--test={text}")
    assert "europarl-v7.tgz has bytes 13, not 657632379" in error_of(done)
    assert not by_hand.exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--corpus=files"], "--train is missing; name your text as"),
        (["--corpus=files", "--train={en}"], "--train must name a source and a target file"),
        (["--corpus=files", "--train=no.en,no.de"], "Cannot read no.en: No such file"),
        (["--corpus=wmt14_en_fr", "--train={en},{de}"], "--train is for --corpus=files; wmt14"),
        (["--corpus=libreoffice_help", "--test={en},{de}"], "--test is for --corpus=files; libreo"),
        (["--corpus=files", "--train={en},{de}", "--languages=en"], "must name two languages"),
        (["--corpus=files", "--train={en},{de}", "--vocab_size=9999"], "--vocab_size is 9999, but"),
        (
            ["--corpus=files", "--train={en},{de}", "--vocab_size=320", "--max_length=2"],
            "No sentence pair is left (80 too long); raise --max_length",
        ),
    ],
)
def test_mistakes(run_script, text, tmp_path, arguments, message):
    arguments = [argument.format(en=text[0], de=text[1]) for argument in arguments]
    done = run_script("prepare", f"--output={tmp_path / 'out'}", *arguments)
    assert message in error_of(done)
    assert not (tmp_path / "out" / "train").exists()
