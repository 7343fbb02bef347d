"""What one number hides: lengths, repetitions, words left untranslated, and the worst sentences.

A word is a token of sacreBLEU's 13a, cased, a punctuation mark included.
"""

import collections
import dataclasses
import heapq
import itertools
from collections.abc import Sequence
from typing import NamedTuple

from sacrebleu.metrics import CHRF
from sacrebleu.tokenizers.tokenizer_13a import Tokenizer13a

from transformer.errors import UserError
from transformer.evaluation.bleu import check_sizes

_tokenize = Tokenizer13a()


@dataclasses.dataclass(frozen=True)
class Statistics:
    """Of one output; all but the first are shares from 0 to 1, which are 0 of nothing.

    Attributes:
      length_ratio: words of the output for each word of the reference, over all sentences: what
        BLEU's brevity penalty looks at.
      much_shorter: share of the sentences with fewer than half as many words as their reference.
      much_longer: share of the sentences with more than twice as many words as their reference.
      repeated: share of the output's bigrams that a sentence repeats beyond its reference. A bigram
        that occurs c times in a sentence and r times in its reference counts max(0, c - max(1, r)).
      untranslated: share of the output's words with a letter that are copies: they occur in the
        source sentence and not in the reference. Names and numbers that belong in the translation
        stand in the reference too; a name spelt otherwise there, and a word that both languages
        happen to share, count wrongly. None without a source.
    """

    length_ratio: float
    much_shorter: float
    much_longer: float
    repeated: float
    untranslated: float | None


class SentenceScore(NamedTuple):
    """Where a sentence stands, from 1, and its chrF2 on a scale of 100."""

    line: int
    chrf: float


def statistics(
    outputs: Sequence[str], references: Sequence[str], sources: Sequence[str] | None = None
) -> Statistics:
    """Counts what `Statistics` defines; the three are parallel.

    Raises:
      UserError: they differ in number, or are empty.
    """
    check_sizes(outputs, references)
    if sources is not None and len(sources) != len(outputs):
        raise UserError(f"There are {len(outputs)} translations but {len(sources)} sources.")
    sums: collections.Counter[str] = collections.Counter()
    texts = (outputs, references, [""] * len(outputs) if sources is None else sources)
    for output, reference, source in zip(*(map(_words, text) for text in texts), strict=True):
        bigrams = collections.Counter(itertools.pairwise(output))
        known = collections.Counter(itertools.pairwise(reference))
        words = [word for word in output if any(map(str.isalpha, word))]
        copies = set(source) - set(reference)
        sums["output"] += len(output)
        sums["reference"] += len(reference)
        sums["shorter"] += 2 * len(output) < len(reference)
        sums["longer"] += len(output) > 2 * len(reference)
        sums["bigrams"] += bigrams.total()
        sums["repeated"] += sum(max(0, c - max(1, known[pair])) for pair, c in bigrams.items())
        sums["words"] += len(words)
        sums["copied"] += sum(word in copies for word in words)
    return Statistics(
        length_ratio=sums["output"] / max(sums["reference"], 1),
        much_shorter=sums["shorter"] / len(outputs),
        much_longer=sums["longer"] / len(outputs),
        repeated=sums["repeated"] / max(sums["bigrams"], 1),
        untranslated=sums["copied"] / max(sums["words"], 1) if sources is not None else None,
    )


def worst_sentences(
    outputs: Sequence[str], references: Sequence[str], count: int
) -> list[SentenceScore]:
    """The `count` sentences with the lowest sentence-level chrF2 (Popovic 2015), worst first.

    chrF and not BLEU, which is 0 for every sentence without a 4-gram in common. Equal ones keep
    their order.

    Raises:
      UserError: the two differ in number, or are empty.
    """
    check_sizes(outputs, references)
    metric = CHRF()
    scores = (
        SentenceScore(line, float(metric.sentence_score(output, [reference]).score))
        for line, (output, reference) in enumerate(zip(outputs, references, strict=True), 1)
    )
    return heapq.nsmallest(count, scores, key=lambda score: score.chrf)


def _words(text: str) -> list[str]:
    return _tokenize(text).split()
