"""Which BLEU? sacreBLEU with its signature, and the paper's tokenised score beside it, named so.

The paper's numbers come from another scorer than sacreBLEU's default: words are Moses tokens, and
hyphenated compounds count as several. On newstest2014 that score is higher by about one point, so
the two must not be compared with each other; docs/scores.md says how far all of them lie apart.
"""

import dataclasses
import functools
import re
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import sacrebleu
from sacrebleu.metrics import BLEU, CHRF, TER

from transformer.errors import UserError

_ASCII_QUOTES = str.maketrans(dict.fromkeys("“”„‟«»", '"'))


class Metric(NamedTuple):
    """A score on a scale of 100 and the string that says how it was computed."""

    score: float
    signature: str


@dataclasses.dataclass(frozen=True)
class Scores:
    """The scores of one corpus."""

    bleu: Metric
    bleu_intl: Metric  # with mteval-v14's international tokens
    chrf: Metric
    ter: Metric  # an error rate: lower is better
    paper_bleu: Metric
    paper_bleu_quotes: Metric  # the same, with the reference's quotation marks in ASCII
    sentences: int

    def to_json(self) -> dict[str, Any]:
        """Plain values under the keys `bleu`, `bleu_signature`, ..., `sentences`."""
        values: dict[str, Any] = {}
        for name in self.metrics():
            values[name], values[f"{name}_signature"] = getattr(self, name)
        return values | {"sentences": self.sentences}

    @classmethod
    def metrics(cls) -> list[str]:
        """The names of the scores, in the order in which they are shown."""
        return [field.name for field in dataclasses.fields(cls) if field.type is Metric]


def score(
    hypotheses: Sequence[str],
    references: Sequence[str],
    tokenize: str = "13a",
    language: str = "de",
) -> Scores:
    """SacreBLEU's BLEU twice, chrF2 and TER, and `paper_tokenized_bleu` twice, of detokenised text.

    Args:
      hypotheses: one output a sentence.
      references: as many reference translations.
      tokenize: sacreBLEU's tokenizer for `bleu`; "none" for text that is already tokenised.
      language: of the text, for the Moses tokenizer of the paper's score, which knows English
        abbreviations only where it has none of the language.

    Raises:
      UserError: the two differ in number, or are empty; or `tokenize` is unknown, or needs a
        package or a download that is not there.
    """
    return Scores(
        bleu=corpus_bleu(hypotheses, references, tokenize),
        bleu_intl=corpus_bleu(hypotheses, references, "intl"),
        chrf=_measure(CHRF(), hypotheses, references),
        ter=_measure(TER(), hypotheses, references),
        paper_bleu=paper_tokenized_bleu(hypotheses, references, language),
        paper_bleu_quotes=paper_tokenized_bleu(
            hypotheses, references, language, ascii_reference_quotes=True
        ),
        sentences=len(hypotheses),
    )


def corpus_bleu(
    hypotheses: Sequence[str], references: Sequence[str], tokenize: str = "13a"
) -> Metric:
    """SacreBLEU's BLEU alone (Post 2018): the score that is followed while training.

    Raises:
      UserError: see `score`.
    """
    return _measure(bleu_metric(tokenize), hypotheses, references)


def bleu_metric(tokenize: str = "13a") -> BLEU:
    """SacreBLEU's BLEU with one of its tokenizers.

    Raises:
      UserError: `tokenize` is unknown, or needs a package or a download that is not there.
    """
    if tokenize not in BLEU.TOKENIZERS:
        known = ", ".join(sorted(BLEU.TOKENIZERS))
        raise UserError(f"sacreBLEU has no tokenizer {tokenize!r}; choose one of {known}.")
    try:
        # `force` only silences a warning about text that looks tokenised; it changes no score.
        return BLEU(tokenize=tokenize, force=True)
    except (ImportError, OSError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise UserError(
            f"sacreBLEU's tokenizer {tokenize!r} cannot be had here ({reason}); choose another."
        ) from error


def paper_tokenized_bleu(
    hypotheses: Sequence[str],
    references: Sequence[str],
    language: str = "de",
    ascii_reference_quotes: bool = False,
) -> Metric:
    """The tokenised, compound-split BLEU of the paper's Table 2; not comparable with sacreBLEU's.

    The pipeline of tensor2tensor's ``get_ende_bleu.sh``, on both sides: Moses'
    ``replace-unicode-punctuation.perl``, ``tokenizer.perl -l`` with its escapes, the split of
    hyphenated compounds, and the cased, unsmoothed ``multi-bleu.perl``. The Moses scripts are
    sacremoses' ports. Newer versions of the tokenizer always split off a line's last full stop; the
    port, like older ones, leaves it on an abbreviation or a number.

    That script turns “ and ” into the ASCII mark, but not the opening mark of German, „. A model
    that writes ASCII marks therefore loses each of them to a German reference.
    `ascii_reference_quotes` gives the variant behind tensor2tensor's published 29.02 (its issue
    317): all double quotation marks of the reference, “ ” „ ‟ « », become the ASCII mark first.
    The report says "all unicode quotes"; read here as the double ones, because single ones are also
    apostrophes. The hypotheses pass through the plain script only, so that a model which writes „
    loses by the variant.

    Raises:
      UserError: see `score`.
    """
    import sacremoses  # imported here: it takes longer than everything else in this module

    words = _paper_tokenizer(language)
    metric = BLEU(tokenize="none", smooth_method="none", force=True)
    if ascii_reference_quotes:
        references = [reference.translate(_ASCII_QUOTES) for reference in references]
    value = _measure(metric, [words(h) for h in hypotheses], [words(r) for r in references]).score
    signature = (
        f"tokenized-BLEU|nrefs:1|case:mixed|eff:no|punct:moses-unicode"
        f"{'|quotes:ref-ascii' if ascii_reference_quotes else ''}|tok:moses-{language}"
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


def check_sizes(hypotheses: Sequence[str], references: Sequence[str]) -> None:
    """Refuses what is not one output a reference.

    Raises:
      UserError: the two differ in number, or are empty.
    """
    if len(hypotheses) != len(references):
        raise UserError(
            f"There are {len(hypotheses)} translations but {len(references)} references; "
            "both files must have one line a sentence."
        )
    if not hypotheses:
        raise UserError("There is nothing to score: the translations and references are empty.")


@functools.cache
def _paper_tokenizer(language: str) -> Callable[[str], str]:
    from sacremoses import MosesPunctNormalizer, MosesTokenizer

    tokenizer, punctuation = MosesTokenizer(lang=language), MosesPunctNormalizer()

    @functools.lru_cache(maxsize=1 << 16)  # each text is scored twice, a reference more often
    def words(text: str) -> str:
        # Moses' script turns the full-width digit one into a quotation mark; sacremoses does not.
        text = punctuation.replace_unicode_punct(text.replace("\uff11", '"'))
        return split_compounds(tokenizer.tokenize(text, return_str=True))

    return words


def _measure(
    metric: BLEU | CHRF | TER, hypotheses: Sequence[str], references: Sequence[str]
) -> Metric:
    check_sizes(hypotheses, references)
    value = metric.corpus_score(list(hypotheses), [list(references)]).score
    return Metric(float(value), str(metric.get_signature()))
