"""LibreOffice's help in two languages, from the packages of Debian and Ubuntu (MPL-2.0).

Every page is there in every language, and its headings and paragraphs have the same ids. They
become sentence pairs without markup; program code, text without letters, text that is not
translated and pairs that are there already are left out.

A page belongs to one split, by a hash of its name: the same one in all languages and releases. Of
validation and test a pair is left out if either of its sides, letters alone compared, occurs in a
split before (train, validation, test): what pages have in common (headings, phrases embedded in
many pages) stays where it is learnt, and is not what is scored.
"""

import collections
import hashlib
import html.parser
import io
import pathlib
import re
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Callable, Iterator, Mapping

from transformer import files
from transformer.data.corpus import Corpus, left_out
from transformer.data.preparation.text import TextFiles
from transformer.data.prepared import MANIFEST
from transformer.errors import UserError

VOCAB_SIZE = 8_000
SPLITS = ("train", "validation", "test")

_HELD_OUT_PERCENT = 4  # of the pages, for each of validation and test
_PAGE = re.compile(r"\./usr/share/libreoffice/help/[^/]+/text/(.+)\.html")
_BLOCKS = frozenset(("p", "h1", "h2", "h3", "h4", "h5", "h6"))
_NO_LETTERS = re.compile(r"[\W\d_]+")
_README = """{title}

{packages}

Copyright of the text: LibreOffice contributors and The Document Foundation; licence: Mozilla Public
License 2.0 (https://www.mozilla.org/MPL/2.0/), see usr/share/doc/*/copyright in the packages.

{counts}
"""

Paragraphs = dict[str, str]  # id to text
Pages = dict[str, Paragraphs]  # name of the page, without language, to what it says


def text_files(
    languages: tuple[str, str],
    folder: pathlib.Path,
    downloads: pathlib.Path,
    say: Callable[[str], None],
) -> tuple[TextFiles, ...]:
    """Train, validation and test text as `folder`/train.en and so on; made unless it is there.

    Args:
      languages: codes of the packages' names, such as "de", "fr" or "pt-br"; "en" is en-us.
      folder: gets the text, and a README.md with the packages, the licence and the counts.
      downloads: packages there are taken; those that are not come there with apt-get.
      say: is told of each step.

    Raises:
      UserError: the packages cannot be had or read, are of two releases, or have no pairs; or
        `folder` cannot be written or holds another preparation.
    """
    texts = [TextFiles(*(str(folder / f"{s}.{code}") for code in languages)) for s in SPLITS]
    readme = folder / "README.md"
    title = f"# LibreOffice help, {languages[0]} to {languages[1]}"
    ours = readme.exists() and readme.read_text().startswith(title + "\n")
    if ours and all(pathlib.Path(path).exists() for text in texts for path in text):
        say("text: there already")
        return tuple(texts)
    if not ours and (folder / MANIFEST).exists():
        raise UserError(f"{folder} is prepared from other text; name another --output.")
    try:
        packages = _packages(languages, downloads, say)
        splits, dropped = split_pages(*(read_pages(package) for package in packages))
        folder.mkdir(parents=True, exist_ok=True)
        for text, corpus in zip(texts, splits.values(), strict=True):
            for path, lines in zip(text, corpus, strict=True):
                files.write(pathlib.Path(path), "".join(f"{line}\n" for line in lines))
        counts = ", ".join(f"{split} {len(pairs.source):,}" for split, pairs in splits.items())
        counts = f"Pairs: {counts} (left out: {left_out(dropped)})."
        names = "\n".join(f"- {path.name}, sha256 {files.sha256(path)}" for path in packages)
        files.write(readme, _README.format(title=title, packages=names, counts=counts))
    except OSError as error:
        where, reason = error.filename or folder, error.strerror or error
        raise UserError(f"{where} cannot be written: {reason}.") from error
    say(f"{counts} The text is under the Mozilla Public License 2.0.")
    return tuple(texts)


def read_pages(package: pathlib.Path) -> Pages:
    """The paragraphs of every help page in a package (.deb).

    Raises:
      UserError: the package is damaged or has no help pages, or there is no dpkg-deb.
    """
    command = ["dpkg-deb", "--fsys-tarfile", str(package)]
    try:
        tar = subprocess.run(command, capture_output=True, check=True).stdout
    except FileNotFoundError as error:
        raise UserError(
            f"Reading {package} takes dpkg-deb; install dpkg (brew install dpkg, dnf install dpkg)."
        ) from error
    except subprocess.CalledProcessError as error:
        reason = _last_line(error.stderr)
        raise UserError(
            f"{package} is no whole package ({reason}); remove it, and the same command gets it "
            "anew."
        ) from error
    pages = {}
    with tarfile.open(fileobj=io.BytesIO(tar)) as archive:
        for member in archive:
            if match := _PAGE.fullmatch(member.name):
                page = archive.extractfile(member).read().decode("utf-8", errors="replace")
                pages[match[1]] = read_paragraphs(page)
    if not pages:
        raise UserError(f"{package} holds no help pages; is it a libreoffice-help package?")
    return pages


def read_paragraphs(page: str) -> Paragraphs:
    """The headings and paragraphs of a page that have an id and are not program code."""
    parser = _Parser()
    parser.feed(page)
    parser.close()
    return parser.paragraphs


def split_pages(source: Pages, target: Pages) -> tuple[dict[str, Corpus], Mapping[str, int]]:
    """The pairs of each split, see the module's docstring, and how many are left out and why.

    Raises:
      UserError: a split has no pairs.
    """
    dropped = collections.Counter()
    splits, pairs, letters = {}, set(), (set(), set())
    for split in SPLITS:
        corpus, own_letters = Corpus([], []), (set(), set())
        for pair in _aligned(source, target, split):
            bare = tuple(_NO_LETTERS.sub(" ", text.casefold()).strip() for text in pair)
            if reason := (
                (not all(bare) and "without letters")
                or (bare[0] == bare[1] and "untranslated")
                or (pair in pairs and "repeated")
                or (any(b in seen for b, seen in zip(bare, letters, strict=True)) and "leaking")
            ):
                dropped[reason] += 1
                continue
            pairs.add(pair)
            for text, lines, bare_text, own in zip(pair, corpus, bare, own_letters, strict=True):
                lines.append(text)
                own.add(bare_text)
        if not corpus.source:
            raise UserError(f"The packages have no pairs for {split}; are they of one release?")
        splits[split] = corpus
        for seen, own in zip(letters, own_letters, strict=True):
            seen |= own
    return splits, dropped


def _aligned(source: Pages, target: Pages, split: str) -> Iterator[tuple[str, str]]:
    for page in sorted(source.keys() & target.keys()):
        if _split_of(page) == split:
            for name, text in source[page].items():
                if name in target[page]:
                    yield text, target[page][name]


def _split_of(page: str) -> str:
    percent = int(hashlib.sha256(page.encode()).hexdigest(), 16) % 100
    if percent < _HELD_OUT_PERCENT:
        return "test"
    return "validation" if percent < 2 * _HELD_OUT_PERCENT else "train"


class _Parser(html.parser.HTMLParser):
    """Text of blocks with an id.

    Of inline alternatives (a key's name on each system) the last one counts: that for all others.
    """

    def __init__(self) -> None:
        super().__init__()
        self.paragraphs: Paragraphs = {}
        self._id = ""
        self._texts: list[list[str]] = []  # the block's, then of each set of alternatives around
        self._spans: list[bool] = []  # whether each open span is a set of alternatives

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = dict(attrs)
        kind = attributes.get("class") or ""
        if tag in _BLOCKS:
            self._id = "" if "code" in kind else attributes.get("id") or ""
            self._texts, self._spans = [[]], []
        elif self._id and tag == "br":
            self.handle_data(" ")
        elif self._id and tag == "span":
            if "hidden" in attributes and len(self._texts) > 1:
                self._texts[-1].clear()
            self._spans.append(kind == "switchinline")
            if self._spans[-1]:
                self._texts.append([])

    def handle_endtag(self, tag: str) -> None:
        if tag in _BLOCKS and self._id:
            text = " ".join("".join(part for parts in self._texts for part in parts).split())
            if text:
                self.paragraphs[self._id] = text
            self._id = ""
        elif tag == "span" and self._id and self._spans and self._spans.pop():
            alternative = self._texts.pop()
            self._texts[-1] += alternative

    def handle_data(self, data: str) -> None:
        if self._id:
            self._texts[-1].append(data)


def _packages(
    languages: tuple[str, str], downloads: pathlib.Path, say: Callable[[str], None]
) -> list[pathlib.Path]:
    """One package a language, of one version."""
    names = [f"libreoffice-help-{'en-us' if code == 'en' else code}" for code in languages]
    if missing := [name for name in names if not any(downloads.glob(f"{name}_*.deb"))]:
        _download(missing, downloads, say)
    found = []
    for name in names:
        path, *more = sorted(downloads.glob(f"{name}_*.deb"))
        if more:
            raise UserError(f"{downloads} holds {path.name} and {more[-1].name}; keep one of them.")
        found.append(path)
    if len({path.name.split("_")[1] for path in found}) > 1:
        raise UserError(
            f"{found[0].name} and {found[1].name} in {downloads} are of two versions; remove them, "
            "and the same command gets both anew."
        )
    return found


def _download(names: list[str], downloads: pathlib.Path, say: Callable[[str], None]) -> None:
    by_hand = f"put {' and '.join(names)} (.deb) of one Debian or Ubuntu release into {downloads}"
    say(f"{', '.join(names)}: downloading with apt-get")
    downloads.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=downloads) as folder:
        try:
            command = ["apt-get", "download", "--quiet", *names]
            subprocess.run(command, cwd=folder, capture_output=True, check=True)
        except FileNotFoundError as error:
            raise UserError(f"There is no apt-get here; {by_hand}.") from error
        except subprocess.CalledProcessError as error:
            reason = _last_line(error.stderr)
            raise UserError(
                f"apt-get cannot download {', '.join(names)} ({reason}); try again after "
                f'"apt-get update", or {by_hand}.'
            ) from error
        for path in pathlib.Path(folder).glob("*.deb"):
            shutil.move(path, downloads / path.name)


def _last_line(stderr: bytes) -> str:
    lines = stderr.decode(errors="replace").strip().splitlines()
    return lines[-1].strip() if lines else "no reason given"
