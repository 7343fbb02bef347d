"""Test sets that the field shares, from sacreBLEU's own loader, and which newstest2014 one has."""

import difflib
import logging
import tarfile
from typing import NamedTuple

import sacrebleu

from transformer.data.corpus import read_pairs
from transformer.errors import UserError

# English-German lost 266 sentences between the two; published scores name either newstest2014.
_NEWSTEST2014 = {
    2737: ("wmt14", "newstest2014, the filtered edition of 2,737 lines"),
    3003: ("wmt14/full", "newstest2014, the full edition of 3,003 lines"),
}


class PublicSet(NamedTuple):
    """Parallel text and the name that says which it is."""

    source: list[str]
    reference: list[str]
    title: str


def load(name: str, language_pair: str) -> PublicSet:
    """A test set by sacreBLEU's name, such as "wmt14/full", and pair, such as "en-de".

    It is downloaded once, into the folder that the environment variable SACREBLEU names.

    Raises:
      UserError: sacreBLEU does not know the set or the pair, the set has several references, or it
        can be neither found nor downloaded.
    """
    pairs = sacrebleu.get_langpairs_for_testset(name)
    if not pairs:
        near = difflib.get_close_matches(name, sacrebleu.get_available_testsets(), n=1)
        hint = f"did you mean {near[0]!r}?" if near else "`sacrebleu --list` shows those it has."
        raise UserError(f"sacreBLEU has no test set {name!r}; {hint}")
    if language_pair not in pairs:
        raise UserError(
            f"The test set {name!r} has no pair {language_pair!r}, only {', '.join(sorted(pairs))}."
        )
    source, references = _files(name, language_pair)
    if len(references) != 1:
        raise UserError(
            f"{name} {language_pair} has {len(references)} references and these scores take one; "
            "write the one you mean to a file with `sacrebleu --echo`."
        )
    corpus = read_pairs(source, references[0])
    return PublicSet(
        list(corpus.source),
        list(corpus.target),
        _title(name, language_pair, len(corpus.target)),
    )


def edition_hint(name: str, lines: int) -> str:
    """Half a sentence for an output with so many lines, if they are the other newstest2014's."""
    other, title = _NEWSTEST2014.get(lines, ("", ""))
    if name not in ("wmt14", "wmt14/full") or other in ("", name):
        return ""
    return f"; it has as many as {title}, which is the test set {other}"


def _title(name: str, language_pair: str, lines: int) -> str:
    edition = _NEWSTEST2014.get(lines) if name in ("wmt14", "wmt14/full") else None
    return f"{name} {language_pair}" + (f": {edition[1]}" if edition else "")


def _files(name: str, language_pair: str) -> tuple[str, list[str]]:
    """The source file and the reference files, downloaded if they are not there yet."""
    logger = logging.getLogger("sacrebleu")
    try:
        logger.disabled = True  # it would print what is raised here once more
        return (
            sacrebleu.get_source_file(name, language_pair),
            sacrebleu.get_reference_files(name, language_pair),
        )
    # sacreBLEU exits where a checksum is wrong.
    except (OSError, EOFError, tarfile.TarError, SystemExit) as error:
        reason = getattr(error, "reason", error)
        if isinstance(error, SystemExit):
            reason = "its checksum is wrong"
        raise UserError(
            f"Cannot download {name} {language_pair} ({reason}): check the network, delete "
            f"{sacrebleu.SACREBLEU_DIR}/{name} if a download broke off, or score with text files."
        ) from error
    finally:
        logger.disabled = False
