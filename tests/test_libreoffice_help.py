"""LibreOffice's help: what a page says, what is left out, that no split knows another's text."""

import pathlib
import shutil
import subprocess

import pytest

from transformer.data.corpus import read_pairs
from transformer.data.preparation.libreoffice_help import (
    SPLITS,
    read_pages,
    read_paragraphs,
    split_pages,
    text_files,
)
from transformer.errors import UserError

needs_dpkg = pytest.mark.skipif(not shutil.which("dpkg-deb"), reason="takes dpkg-deb")

# One page of each split; the hash must give the same ones on every machine, in every release.
PAGES = {"train": "swriter/guide/a", "validation": "swriter/guide/f", "test": "swriter/guide/j"}


def html(paragraphs):
    body = "\n".join(f'<p id="{name}" class="paragraph">{p}</p>' for name, p in paragraphs.items())
    return f"<html><head><title>no</title></head><body><p>no id</p>{body}</body></html>"


@pytest.mark.parametrize(
    ("markup", "text"),
    [
        ("Click <span class='emph'>OK</span>.", "Click OK."),
        ("one\n   two<br>three", "one two three"),
        ("A &lt; B &amp; &#8220;C&#8221;&nbsp;D", "A < B & \u201cC\u201d D"),
        ("see <a href='x.html'><span class='menuitem'>File - Open</span></a>", "see File - Open"),
        ("an <img src='x.png' alt='icon'>icon, x<sup>2</sup>", "an icon, x2"),
        (
            "Press <span class='switchinline'><span hidden class='MAC'><span class='keycode'>"
            "Command</span></span><span hidden id='default1'><span class='keycode'>Ctrl</span>"
            "</span></span>+Z, <span hidden='true'>now</span>.",
            "Press Ctrl+Z, now.",
        ),
        (
            "in <span class='switchinline'><span hidden class='A'>a<span class='switchinline'>"
            "<span hidden>b</span><span hidden>c</span></span></span><span hidden>d</span></span>e",
            "in de",
        ),
    ],
)
def test_markup_is_taken_out(markup, text):
    assert read_paragraphs(html({"par_1": markup, "par_2": "next"})) == {
        "par_1": text,
        "par_2": "next",
    }


def test_headings_and_paragraphs_with_an_id_are_taken():
    page = """<h2 id="hd_1">Title</h2><p id="par_1" class="code">Sub Main</p><p id="par_2"></p>
        <div id="x">no <p class="embedded">no</p></div><td><p id="par_3">cell</p></td>
        <p id="par_4" class="codeintable">x = 1</p>"""
    assert read_paragraphs(page) == {"hd_1": "Title", "par_3": "cell"}


def test_pairs_are_those_of_one_id_on_one_page():
    shared = {PAGES[split]: {"i": f"{split} text"} for split in SPLITS}
    source = shared | {PAGES["train"]: {"i": "one", "j": "two", "k": "three"}, "only/here": {}}
    target = {page: {"i": f"{texts['i']} auf Deutsch"} for page, texts in shared.items()}
    target[PAGES["train"]] = {"k": "drei", "x": "vier", "i": "eins"}
    splits, dropped = split_pages(source, target)
    assert splits["train"] == (["one", "three"], ["eins", "drei"])
    assert splits["test"] == (["test text"], ["test text auf Deutsch"])
    assert not dropped


def test_what_is_left_out_is_counted():
    source = {
        PAGES["train"]: {
            "a": "Table",
            "b": "5.1 - 7",
            "c": "Navigator",
            "d": "Table",
            "e": "Row 1",
        },
        PAGES["validation"]: {"a": "The Table.", "b": "Chart", "c": "Table", "d": "Row 2"},
        PAGES["test"]: {"a": "Another", "b": "Cell", "c": "Chart!", "d": "Row 3"},
    }
    target = {
        PAGES["train"]: {"a": "Tabelle", "b": "5.1", "c": "navigator", "d": "Tabelle", "e": "Z 1"},
        PAGES["validation"]: {"a": "Die Tabelle", "b": "Bild", "c": "Tafel", "d": "Zeile 2"},
        PAGES["test"]: {"a": "Tabelle", "b": "Zelle", "c": "Plan", "d": "Reihe 3"},
    }
    splits, dropped = split_pages(source, target)
    assert splits["train"] == (["Table", "Row 1"], ["Tabelle", "Z 1"])
    assert splits["validation"] == (["The Table.", "Chart"], ["Die Tabelle", "Bild"])
    assert splits["test"] == (["Cell"], ["Zelle"])
    # "Row 2" is "Row 1" but for its number; "Another" has a target of train, "Chart!" a source
    # of validation.
    assert dropped == {"without letters": 1, "untranslated": 1, "repeated": 1, "leaking": 5}


def test_a_split_without_pairs_is_refused():
    page = {PAGES["train"]: {"a": "Table"}}
    with pytest.raises(UserError, match="no pairs for validation; are they of one release"):
        split_pages(page, {PAGES["train"]: {"a": "Tabelle"}})


def package(folder, code, words, version="7.4"):
    """A package with a page of each split, in which paragraph n of a page says words[n]."""
    tree = folder / f"tree-{code}-{version}"
    (tree / "DEBIAN").mkdir(parents=True)
    name = f"libreoffice-help-{code}"
    control = f"Package: {name}\nVersion: {version}\nArchitecture: all\nDescription: help\n"
    (tree / "DEBIAN" / "control").write_text(control + "Maintainer: nobody <nobody@example.org>\n")
    language = {"en-us": "en-US"}.get(code, code)
    for split, page in PAGES.items():
        path = tree / f"usr/share/libreoffice/help/{language}/text/{page}.html"
        path.parent.mkdir(parents=True, exist_ok=True)
        says = {f"par_{n}": f"{word} {split}" for n, word in enumerate(words)}
        path.write_text(html(says), encoding="utf-8")
    (folder / "downloads").mkdir(exist_ok=True)
    path = folder / "downloads" / f"{name}_4%3a{version}_all.deb"
    subprocess.run(["dpkg-deb", "--build", tree, path], check=True, capture_output=True)
    return path


def syllables(count, first, second):
    return [f"{a}{b}{c}" for a in first for b in second for c in first][:count]


@pytest.fixture
def packages(tmp_path):
    """The folder of an English and a German package, of 3 times 60 pairs."""
    package(tmp_path, "en-us", syllables(60, "bdfgk", "aei"))
    package(tmp_path, "de", syllables(60, "prstw", "öüä"))
    return tmp_path / "downloads"


def made(folder, downloads, languages=("en", "de")):
    """Makes the text; returns its files and what was said."""
    said = []
    return text_files(languages, folder, downloads, said.append), said


def refusal(folder, downloads, languages=("en", "de")):
    with pytest.raises(UserError) as caught:
        made(folder, downloads, languages)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@needs_dpkg
def test_from_packages_to_a_folder_to_train_on(packages, tmp_path, run_script):
    def run(*arguments):
        return run_script(
            "prepare",
            "--corpus=libreoffice_help",
            f"--output={tmp_path / 'out'}",
            f"--download_dir={packages}",
            "--vocab_size=320",
            *arguments,
        )

    done = run()
    assert done.returncode == 0, done.stderr
    assert "Pairs: train 60, validation 60, test 60" in done.stderr
    out = tmp_path / "out"
    assert sorted(path.name for path in out.iterdir()) == [
        "README.md", "manifest.json", "test.de", "test.en", "train", "train.de", "train.en",
        "validation.de", "validation.en", "vocabulary.model",
    ]  # fmt: skip
    corpus = read_pairs(str(out / "train.en"), str(out / "train.de"))
    assert (corpus.source[0], corpus.target[0]) == ("bab train", "pöp train")
    readme = (out / "README.md").read_text()
    assert "Mozilla Public\nLicense 2.0" in readme and "help-de_4%3a7.4_all.deb, sha256 " in readme
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}

    shutil.rmtree(packages)
    done = run()
    assert done.returncode == 0 and "text: there already" in done.stderr, done.stderr
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before
    assert "out is prepared from other text; name another" in refusal(out, packages, ("en", "fr"))
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before


@needs_dpkg
def test_a_text_that_got_lost_is_made_again(packages, tmp_path):
    texts, _ = made(tmp_path / "out", packages)
    kept = pathlib.Path(texts[2].target).read_bytes()
    pathlib.Path(texts[2].target).unlink()
    _, said = made(tmp_path / "out", packages)
    assert "text: there already" not in said
    assert pathlib.Path(texts[2].target).read_bytes() == kept


@needs_dpkg
def test_languages_either_way(packages, tmp_path):
    there, _ = made(tmp_path / "a", packages)
    back, _ = made(tmp_path / "b", packages, ("de", "en"))
    for one, other in zip(there, back, strict=True):
        assert read_pairs(*one) == read_pairs(*other)[::-1]


def test_apt_get_is_asked_for_what_is_missing(tmp_path, monkeypatch):
    """A program of that name leaves its arguments as packages, which are none."""
    path = tmp_path / "bin" / "apt-get"
    path.parent.mkdir()
    path.write_text('#!/bin/sh\nshift 2\nfor n in "$@"; do echo $n > ${n}_1_all.deb; done\n')
    path.chmod(0o755)
    monkeypatch.setenv("PATH", f"{path.parent}:/usr/bin:/bin")
    downloads = tmp_path / "downloads"
    downloads.mkdir()
    (downloads / "libreoffice-help-pt-br_1_all.deb").write_text("by hand")
    message = refusal(tmp_path / "out", downloads, ("en", "pt-br"))
    assert "libreoffice-help-en-us_1_all.deb" in message
    assert sorted(path.name for path in downloads.iterdir()) == [
        "libreoffice-help-en-us_1_all.deb", "libreoffice-help-pt-br_1_all.deb",
    ]  # fmt: skip
    path.write_text(
        "#!/bin/sh\necho 'W: careful' >&2\necho 'E: Unable to locate it' >&2\nexit 100\n"
    )
    shutil.rmtree(downloads)
    message = refusal(tmp_path / "out", downloads)
    assert "apt-get cannot download libreoffice-help-en-us, libreoffice-help-de (E: Un" in message
    assert 'try again after "apt-get update", or put libreoffice-help-en-us and' in message
    path.unlink()
    monkeypatch.setenv("PATH", str(path.parent))
    message = refusal(tmp_path / "out", downloads)
    assert message.startswith("There is no apt-get here; put libreoffice-help-en-us and libre")
    assert message.endswith(f"(.deb) of one Debian or Ubuntu release into {downloads}.")
    assert not (tmp_path / "out").exists() and not any(downloads.iterdir())


@needs_dpkg
def test_packages_that_do_not_fit(packages, tmp_path, monkeypatch):
    newer = package(tmp_path, "de", ["neu"], "7.5")
    assert "keep one of them" in refusal(tmp_path / "out", packages)
    (packages / "libreoffice-help-de_4%3a7.4_all.deb").unlink()
    message = refusal(tmp_path / "out", packages)
    assert "7.4_all.deb and libreoffice-help-de_4%3a7.5_all.deb" in message
    assert "are of two versions; remove them" in message
    newer.rename(whole := packages / "libreoffice-help-de_4%3a7.4_all.deb")
    whole.write_bytes(whole.read_bytes()[:700])
    message = refusal(tmp_path / "out", packages)
    assert f"{whole} is no whole package (" in message and "gets it anew" in message
    assert not (tmp_path / "out").exists()
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "takes dpkg-deb; install dpkg (brew" in refusal(tmp_path / "out", packages)


@needs_dpkg
def test_a_folder_that_cannot_be_made(packages, tmp_path):
    (tmp_path / "out").write_text("")
    assert (
        refusal(tmp_path / "out", packages) == f"{tmp_path / 'out'} cannot be written: File exists."
    )


@needs_dpkg
def test_a_package_without_help(tmp_path):
    (tmp_path / "tree" / "DEBIAN").mkdir(parents=True)
    (tmp_path / "tree" / "DEBIAN" / "control").write_text(
        "Package: hello\nVersion: 1\nArchitecture: all\nDescription: d\nMaintainer: n <n@n.org>\n"
    )
    path = tmp_path / "hello.deb"
    subprocess.run(
        ["dpkg-deb", "--build", tmp_path / "tree", path], check=True, capture_output=True
    )
    with pytest.raises(UserError, match="holds no help pages; is it a libreoffice-help package"):
        read_pages(path)
