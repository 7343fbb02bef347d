"""Which word of the source each word of the target comes from, read off attention, and scored."""

from collections.abc import Collection, Sequence

import numpy as np
from jaxtyping import Bool, Float

from transformer.data.grammar import Derivation
from transformer.decoding.inspection import Inspection

Links = Collection[tuple[int, int]]  # (index of the source word, index of the target word)


def alignment_error_rate(
    found: Sequence[Links], sure: Sequence[Links], possible: Sequence[Links] | None = None
) -> float:
    """1 - (|A & S| + |A & P|) / (|A| + |S|) over all sentences (Och & Ney 2003, section 4.1).

    A are the links `found`, S the `sure` ones and P the `possible` ones, of which the sure ones are
    part; without `possible` all links are sure. 0 is best; with no link anywhere it is 0.
    """
    possible = sure if possible is None else possible
    hits = total = 0
    for a, s, p in zip(found, sure, possible, strict=True):
        a, s = set(a), set(s)
        hits += len(a & s) + len(a & (s | set(p)))
        total += len(a) + len(s)
    return 1 - hits / total if total else 0.0


def pieces_of_words(pieces: Sequence[str], words: Sequence[str]) -> Bool[np.ndarray, "words P"]:
    """Which of SentencePiece's pieces have a character of each word, in the order of the text.

    Upper and lower case are the same. A word that the pieces do not spell has none.
    """
    text = "".join(pieces).replace("▁", " ").lower()
    ends = np.cumsum([len(piece) for piece in pieces], dtype=int)
    starts = np.append(0, ends[:-1])[: len(pieces)]
    has = np.zeros((len(words), len(pieces)), bool)
    place = 0
    for row, word in zip(has, words, strict=True):
        found = text.find(word.lower(), place)
        if found >= 0:
            place = found + len(word)
            row[:] = (starts < place) & (ends > found)
    return has


def align(
    weights: Float[np.ndarray, "T S"],
    source: Bool[np.ndarray, "source_words S"],
    target: Bool[np.ndarray, "target_words T"],
) -> set[tuple[int, int]]:
    """Links each word of the target to the word of the source that it attends most.

    `weights` are those of cross-attention. A word's attention is the mean over its pieces, and what
    it gives to a word the sum over that word's pieces. Where most goes to pieces of no word at all
    ("</s>"), the word has no link.
    """
    words = np.vstack([source, ~source.any(0)])  # the last row: no word
    share = target @ weights @ words.T
    best = share.argmax(1)
    linked = target.any(1) & (best < len(source))
    return {(int(best[t]), int(t)) for t in np.flatnonzero(linked)}


def error_rates(
    looked: Sequence[Inspection], drawn: Sequence[Derivation]
) -> Float[np.ndarray, "N 1_plus_H"]:
    """Alignment error rates of cross-attention against the grammar's links, all of them sure.

    Of each layer first the mean of its heads, then every head. `looked` are the same pairs as
    `drawn`, English the source, seen with their true translations.
    """
    found = []
    for seen, one in zip(looked, drawn, strict=True):
        source = pieces_of_words(seen.source_tokens, one.english_words)
        target = pieces_of_words(seen.target_tokens, one.german_words)
        each = seen.cross_attention
        each = np.concatenate([each.mean(1, keepdims=True), each], axis=1)
        found.append([[align(weights, source, target) for weights in layer] for layer in each])
    sure = [one.alignment for one in drawn]
    layers, columns = len(found[0]), len(found[0][0])
    rates = [
        [alignment_error_rate([links[n][h] for links in found], sure) for h in range(columns)]
        for n in range(layers)
    ]
    return np.array(rates)
