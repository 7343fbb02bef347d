"""Which BLEU? sacreBLEU with its signature, and the paper's tokenised score beside it, named so.

The paper's numbers come from another scorer than sacreBLEU's default: words are Moses tokens, and
hyphenated compounds count as several. On newstest2014 that score is higher by about one point, so
the two must not be compared with each other.
"""

import dataclasses
import functools
import re
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import sacrebleu
from sacrebleu.metrics import BLEU, CHRF, TER

from transformer.errors import UserError


class Metric(NamedTuple):
    """A score on a scale of 100 and the string that says how it was computed."""

    score: float
    signature: str


@dataclasses.dataclass(frozen=True)
class Scores:
    """The scores of one corpus."""

    bleu: Metric
    chrf: Metric
    ter: Metric  # an error rate: lower is better
    paper_bleu: Metric
    sentences: int

    def to_json(self) -> dict[str, Any]:
        """Plain values under the keys `bleu`, `bleu_signature`, ..., `sentences`."""
        values: dict[str, Any] = {}
        for name in ("bleu", "chrf", "ter", "paper_bleu"):
            values[name], values[f"{name}_signature"] = getattr(self, name)
        return values | {"sentences": self.sentences}


def score(
    hypotheses: Sequence[str],
    references: Sequence[str],
    tokenize: str = "13a",
    language: str = "de",
) -> Scores:
    """SacreBLEU's BLEU, chrF2 and TER, and `paper_tokenized_bleu`, of detokenised text.

    Args:
      hypotheses: one output a sentence.
      references: as many reference translations.
      tokenize: sacreBLEU's tokenizer; "none" for text that is already tokenised.
      language: of the text, for the Moses tokenizer of the paper's score.

    Raises:
      UserError: the two differ in number, or are empty; or `tokenize` is unknown.
    """
    return Scores(
        bleu=corpus_bleu(hypotheses, references, tokenize),
        chrf=_measure(CHRF(), hypotheses, references),
        ter=_measure(TER(), hypotheses, references),
        paper_bleu=paper_tokenized_bleu(hypotheses, references, language),
        sentences=len(hypotheses),
    )


def corpus_bleu(
    hypotheses: Sequence[str], references: Sequence[str], tokenize: str = "13a"
) -> Metric:
    """SacreBLEU's BLEU alone (Post 2018): the score that is followed while training.

    Raises:
      UserError: see `score`.
    """
    if tokenize not in BLEU.TOKENIZERS:
        known = ", ".join(sorted(BLEU.TOKENIZERS))
        raise UserError(f"sacreBLEU has no tokenizer {tokenize!r}; choose one of {known}.")
    # `force` only silences a warning about text that looks tokenised; it changes no score.
    return _measure(BLEU(tokenize=tokenize, force=True), hypotheses, references)


def paper_tokenized_bleu(
    hypotheses: Sequence[str], references: Sequence[str], language: str = "de"
) -> Metric:
    """The tokenised, compound-split BLEU of the paper's Table 2; not comparable with sacreBLEU's.

    The pipeline of tensor2tensor's ``get_ende_bleu.sh``, on both sides: Moses'
    ``replace-unicode-punctuation.perl``, ``tokenizer.perl -l`` with its escapes, the split of
    hyphenated compounds, and the cased, unsmoothed ``multi-bleu.perl``. The Moses scripts are
    sacremoses' ports. Newer versions of the tokenizer always split off a line's last full stop; the
    port, like older ones, leaves it on an abbreviation or a number.

    Raises:
      UserError: see `score`.
    """
    import sacremoses  # imported here: it takes longer than everything else in this module

    words = _paper_tokenizer(language)
    metric = BLEU(tokenize="none", smooth_method="none", force=True)
    value = _measure(metric, [words(h) for h in hypotheses], [words(r) for r in references]).score
    signature = (
        f"tokenized-BLEU|nrefs:1|case:mixed|eff:no|punct:moses-unicode|tok:moses-{language}"
        f"|compounds:atat|smooth:none|version:sacrebleu-{sacrebleu.__version__}"
        f"+sacremoses-{sacremoses.__version__}"
    )
    return Metric(value, signature)


def split_compounds(text: str) -> str:
    r"""Splits hyphenated compounds as perl's ``s{(\S)-(\S)}{$1 ##AT##-##AT## $2}g`` does.

    Matches do not overlap: in "a-b-c" the first one takes "a-b", which leaves no character before
    the second hyphen, so that this one stays. Between longer parts every hyphen is split.
    """
    return re.sub(r"(\S)-(\S)", r"\1 ##AT##-##AT## \2", text)


@functools.cache
def _paper_tokenizer(language: str) -> Callable[[str], str]:
    from sacremoses import MosesPunctNormalizer, MosesTokenizer

    tokenizer, punctuation = MosesTokenizer(lang=language), MosesPunctNormalizer()

    def words(text: str) -> str:
        # Moses' script turns the full-width digit one into a quotation mark; sacremoses does not.
        text = punctuation.replace_unicode_punct(text.replace("\uff11", '"'))
        return split_compounds(tokenizer.tokenize(text, return_str=True))

    return words


def _measure(
    metric: BLEU | CHRF | TER, hypotheses: Sequence[str], references: Sequence[str]
) -> Metric:
    if len(hypotheses) != len(references):
        raise UserError(
            f"There are {len(hypotheses)} translations but {len(references)} references; "
            "both files must have one line a sentence."
        )
    if not hypotheses:
        raise UserError("There is nothing to score: the translations and references are empty.")
    value = metric.corpus_score(list(hypotheses), [list(references)]).score
    return Metric(float(value), str(metric.get_signature()))
