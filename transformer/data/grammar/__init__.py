"""The built-in English-German grammar: a parallel corpus that is always there.

A synchronous grammar: a random tree (`sentences.py`) is put into words twice, by `english.py` and
by `german.py`, so that every sentence has exactly one translation and the alignment of its words
is known. Sentences are a pure function of split, size and seed, on every platform and Python.
"""

import dataclasses
import zlib
from collections.abc import Iterator
from random import Random

from transformer.data.grammar import english as _english
from transformer.data.grammar import german as _german
from transformer.data.grammar.phrases import Novelty
from transformer.data.grammar.selection import reserved_pairs
from transformer.data.grammar.sentences import Sentences
from transformer.data.grammar.syntax import Sentence, Token
from transformer.errors import UserError

SPLITS = ("train", "validation", "test", "test_novel")

_SHARES = 20  # of the space of hashes: one for validation, one for test, the others for train
_HELD_OUT = {0: "validation", 1: "test"}
_NOVEL_DEPTH = 2  # clauses within clauses within the main clause
_PUNCTUATION = frozenset(",.?")


@dataclasses.dataclass(frozen=True, slots=True)
class Derivation:
    """A sentence pair and how it came about.

    Attributes:
      english: the source, cased and punctuated.
      german: its only translation.
      english_words: its tokens as `alignment` counts them, punctuation apart.
      german_words: likewise.
      alignment: pairs (index in english_words, index in german_words) of words that express the
        same part of the tree; a word that one language only needs is in none.
      novelty: what training never shows: "combination" of two words, "depth" of nesting, or "".
    """

    english: str
    german: str
    english_words: tuple[str, ...]
    german_words: tuple[str, ...]
    alignment: tuple[tuple[int, int], ...]
    novelty: Novelty


def pairs(split: str, size: int, seed: int = 0) -> tuple[list[str], list[str]]:
    """Draws sentence pairs, each English sentence once.

    Args:
      split: "train"; "validation" and "test", drawn alike, but never of sentences that training
        can show (a hash decides, whatever size and seed); "test_novel", of sentences with pairs of
        words, or with a depth of nesting, that training never shows.
      size: how many. A smaller size yields a prefix of a larger one.
      seed: chooses among the sequences of the split.

    Returns:
      English sentences and their German translations.

    Raises:
      UserError: there is no such split.
    """
    english: list[str] = []
    german: list[str] = []
    for sentence, text, _ in _draw(split, size, seed):
        english.append(text)
        german.append(_text(_german.write_sentence(sentence)))
    return english, german


def derivations(split: str, size: int, seed: int = 0) -> list[Derivation]:
    """As `pairs`, with words, true alignment and novelty of every pair."""
    return [derivation(sentence, novelty) for sentence, _, novelty in _draw(split, size, seed)]


def derivation(sentence: Sentence, novelty: Novelty = "") -> Derivation:
    """Puts a tree into words."""
    source = _words(_english.write_sentence(sentence))
    target = _words(_german.write_sentence(sentence))
    return Derivation(
        _text(source),
        _text(target),
        tuple(text for text, _, _ in source if text),
        tuple(text for text, _, _ in target if text),
        _align(source, target),
        novelty,
    )


def _draw(split: str, size: int, seed: int) -> Iterator[tuple[Sentence, str, Novelty]]:
    """Yields `size` trees of the split with their English text."""
    if split not in SPLITS:
        raise UserError(f"The grammar has no split {split!r}: choose one of {', '.join(SPLITS)}.")
    rng = Random(f"{split} {seed}")  # a string seeds alike on every platform
    novelties: tuple[Novelty, ...] = ("combination", "depth") if split == "test_novel" else ("",)
    sources = [Sentences(rng, novelty) for novelty in novelties]
    written: set[str] = set()
    while len(written) < size:
        source = sources[len(written) % len(sources)]
        sentence = source.sentence()
        if source.novelty == "combination" and not reserved_pairs(sentence):
            continue
        if source.novelty == "depth" and source.depth < _NOVEL_DEPTH:
            continue
        text = _text(_english.write_sentence(sentence))
        if text not in written and (source.novelty or _split_of(text) == split):
            written.add(text)
            yield sentence, text, source.novelty


def _split_of(text: str) -> str:
    return _HELD_OUT.get(zlib.crc32(text.encode()) % _SHARES, "train")


def _words(tokens: list[Token]) -> list[Token]:
    """Drops a comma before other punctuation."""
    kept: list[Token] = []
    for token in tokens:
        if kept and kept[-1][0] == "," and token[0] in _PUNCTUATION:
            kept.pop()
        kept.append(token)
    return kept


def _text(tokens: list[Token]) -> str:
    """The sentence as it is written; the last token is the mark that ends it."""
    text = " ".join([text for text, _, _ in tokens if text])
    text = text[:-1].rstrip(" ,").replace(" ,", ",").replace(",,", ",") + text[-1]
    return text[0].upper() + text[1:]


def _align(source: list[Token], target: list[Token]) -> tuple[tuple[int, int], ...]:
    """Pairs of positions whose tokens come from the same part of the same node."""
    origins: dict[tuple[object, str], list[int]] = {}  # nodes are equal if they are the same
    for position, origin in _positions(source):
        origins.setdefault(origin, []).append(position)
    links = {
        (position, other)
        for other, origin in _positions(target)
        for position in origins.get(origin, ())
    }
    return tuple(sorted(links))


def _positions(tokens: list[Token]) -> Iterator[tuple[int, tuple[object, str]]]:
    """Numbers the origins of the words; an empty token has the number of the word before it."""
    position = -1
    for text, *origin in tokens:
        position += bool(text)
        yield position, tuple(origin)
