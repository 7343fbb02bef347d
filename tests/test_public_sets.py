"""sacreBLEU's test sets without a network: which edition, and what a failed download says."""

import logging
import pathlib
import tarfile
import urllib.error

import pytest
import sacrebleu

from transformer.errors import UserError
from transformer.evaluation import public_sets


@pytest.fixture
def cached(monkeypatch, tmp_path):
    """Lets sacreBLEU find a test set of so many lines, and of so many references."""

    def make(lines, references=1):
        paths = [tmp_path / name for name in ("src", *(f"ref{i}" for i in range(references)))]
        for path in paths:
            path.write_text("".join(f"{path.name} {i}\n" for i in range(lines)))
        monkeypatch.setattr(sacrebleu, "get_source_file", lambda *_: str(paths[0]))
        monkeypatch.setattr(sacrebleu, "get_reference_files", lambda *_: list(map(str, paths[1:])))

    return make


@pytest.mark.parametrize(
    ("name", "pair", "lines", "title"),
    [
        ("wmt14", "en-de", 2737, "wmt14 en-de: newstest2014, the filtered edition of 2,737 lines"),
        ("wmt14/full", "en-de", 3003, "wmt14/full en-de: newstest2014, the full edition of 3,003"),
        ("wmt14", "en-fr", 3003, "wmt14 en-fr: newstest2014, the full edition of 3,003 lines"),
        ("wmt13", "en-de", 3000, "wmt13 en-de"),
        ("wmt17", "en-de", 3003, "wmt17 en-de"),  # only newstest2014 has editions
    ],
)
def test_the_title_names_the_edition(cached, name, pair, lines, title):
    cached(lines)
    found = public_sets.load(name, pair)
    assert found.title.startswith(title) and ("newstest" in found.title) == ("newstest" in title)
    assert (found.source[1], found.reference[-1]) == ("src 1", f"ref0 {lines - 1}")


def test_an_output_for_the_other_edition_is_recognised():
    assert "test set wmt14/full" in public_sets.edition_hint("wmt14", 3003)
    assert "2,737 lines, which is the test set wmt14" in public_sets.edition_hint(
        "wmt14/full", 2737
    )
    for name, lines in (("wmt14", 2737), ("wmt14/full", 3003), ("wmt14", 5), ("wmt13", 3003)):
        assert public_sets.edition_hint(name, lines) == ""


@pytest.mark.parametrize(
    ("name", "pair", "sentence"),
    [
        ("wmt14/ful", "en-de", r"no test set 'wmt14/ful'; did you mean 'wmt14/full'"),
        ("nothing like it", "en-de", r"`sacrebleu --list`"),
        ("wmt14", "en-it", r"'wmt14' has no pair 'en-it', only cs-en, de-en, en-cs, en-de"),
    ],
)
def test_unknown_names_are_refused(name, pair, sentence):
    with pytest.raises(UserError, match=sentence):
        public_sets.load(name, pair)


def test_several_references_are_refused(cached):
    cached(2, references=2)
    with pytest.raises(UserError, match="wmt14 en-de has 2 references"):
        public_sets.load("wmt14", "en-de")


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (urllib.error.URLError("no route to host"), "no route to host"),
        (SystemExit(1), "its checksum is wrong"),
        (tarfile.ReadError("not a gzip file"), "not a gzip file"),
        (FileNotFoundError(2, "No such file", "raw/test.sgm"), "raw/test.sgm"),
    ],
)
def test_a_failed_download_is_one_sentence(monkeypatch, capsys, error, reason):
    def fail(*_):
        logging.getLogger("sacrebleu").error("said by sacreBLEU")
        raise error

    monkeypatch.setattr(sacrebleu, "get_source_file", fail)
    with pytest.raises(UserError, match="Cannot download wmt14/full en-de") as caught:
        public_sets.load("wmt14/full", "en-de")
    folder = pathlib.Path(sacrebleu.SACREBLEU_DIR, "wmt14/full")
    assert reason in str(caught.value) and str(folder) in str(caught.value)
    assert capsys.readouterr().err == ""
    assert not logging.getLogger("sacrebleu").disabled
