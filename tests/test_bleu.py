"""BLEU worked out by hand, the paper's compound split, and what users get wrong."""

import json
import math
import pathlib

import pytest

from transformer.errors import UserError
from transformer.evaluation.bleu import (
    Scores,
    corpus_bleu,
    paper_tokenized_bleu,
    score,
    split_compounds,
)

HYPOTHESIS = "the cat sat on a mat today"
REFERENCE = "the cat sat on the mat"
# The hypothesis has 7 words, the reference 6: no brevity penalty.
# 1-grams: the cat sat on mat match ("the" once of two), 5 of 7.
# 2-grams: "the cat", "cat sat", "sat on", 3 of 6.
# 3-grams: "the cat sat", "cat sat on", 2 of 5.
# 4-grams: "the cat sat on", 1 of 4.
BY_HAND = 100 * (5 / 7 * 3 / 6 * 2 / 5 * 1 / 4) ** (1 / 4)


def test_bleu_of_one_sentence_by_hand():
    result = corpus_bleu([HYPOTHESIS], [REFERENCE])
    assert result.score == pytest.approx(BY_HAND, abs=1e-9)
    assert "tok:13a" in result.signature and "version:" in result.signature


def test_brevity_penalty_and_corpus_counts_by_hand():
    # A second sentence "a b c d" against "a b c d e f g h i": 4 words of 9, all n-grams match.
    # Words 11 against 15; 1-grams 9/11, 2-grams 6/9, 3-grams 4/7, 4-grams 2/5.
    expected = 100 * math.exp(1 - 15 / 11) * (9 / 11 * 6 / 9 * 4 / 7 * 2 / 5) ** (1 / 4)
    hypotheses, references = [HYPOTHESIS, "a b c d"], [REFERENCE, "a b c d e f g h i"]
    assert corpus_bleu(hypotheses, references).score == pytest.approx(expected, abs=1e-9)
    assert paper_tokenized_bleu(hypotheses, references).score == pytest.approx(expected, abs=1e-9)


def test_paper_bleu_with_a_split_compound_by_hand():
    # Hypothesis: ein Rich ##AT##-##AT## Text Format .   6 words
    # Reference:  ein Rich ##AT##-##AT## Text Modus .    6 words
    # 1-grams 5 of 6; 2-grams "ein Rich", "Rich -", "- Text" 3 of 5; 3-grams 2 of 4; 4-grams 1 of 3.
    expected = 100 * (5 / 6 * 3 / 5 * 2 / 4 * 1 / 3) ** (1 / 4)
    result = paper_tokenized_bleu(["ein Rich-Text Format."], ["ein Rich-Text Modus."])
    assert result.score == pytest.approx(expected, abs=1e-9)
    for part in ("compounds:atat", "tok:moses-de", "smooth:none", "sacremoses"):
        assert part in result.signature
    # sacreBLEU keeps the compound whole: ein Rich-Text Format . has no 4-gram in common.
    assert corpus_bleu(["ein Rich-Text Format."], ["ein Rich-Text Modus."]).score != result.score


def test_paper_bleu_is_unsmoothed_and_cased():
    assert paper_tokenized_bleu(["a b c"], ["a b c"]).score == 0  # there is no 4-gram
    assert paper_tokenized_bleu(["a b c d"], ["a b c d"]).score == pytest.approx(100)
    assert paper_tokenized_bleu(["A b c d"], ["a b c d"]).score == 0


def test_unicode_punctuation_counts_as_its_ascii_twin_on_both_sides():
    straight, curly = 'er sagt "ja" , oder ...', "er sagt “ja” ， oder …"
    for pair in ((straight, curly), (curly, straight)):
        assert paper_tokenized_bleu([pair[0]], [pair[1]]).score == pytest.approx(100)
        assert corpus_bleu([pair[0]], [pair[1]]).score < 100


def test_ascii_reference_quotes_by_hand():
    # Output:    Er sagt &quot; ja &quot; zu dem Plan .    9 words
    # Reference: Er sagt „      ja &quot; zu dem Plan .    9 words; Moses leaves the low mark alone
    # One word in third place differs: 8 of 9, 6 of 8, 4 of 7 and 3 of 6 n-grams match.
    one_mark = 100 * (8 / 9 * 6 / 8 * 4 / 7 * 3 / 6) ** (1 / 4)
    straight, german = 'Er sagt "ja" zu dem Plan.', "Er sagt „ja“ zu dem Plan."

    def both(output, reference):
        plain = paper_tokenized_bleu([output], [reference])
        quotes = paper_tokenized_bleu([output], [reference], ascii_reference_quotes=True)
        assert "quotes:ref-ascii" in quotes.signature and "quotes:" not in plain.signature
        return plain.score, quotes.score

    assert both(straight, german) == pytest.approx((one_mark, 100))
    assert both(straight, straight) == pytest.approx((100, 100))
    # The output's own marks stay: who writes German ones loses by the variant.
    assert both(german, german) == pytest.approx((100, one_mark))
    assert both(german, straight) == pytest.approx((one_mark, one_mark))


@pytest.mark.parametrize("mark", "“”„‟«»")
def test_ascii_reference_quotes_take_every_double_mark(mark):
    def variant(reference):
        output = ['a " b c d']
        return paper_tokenized_bleu(output, [reference], ascii_reference_quotes=True).score

    assert variant(f"a {mark} b c d") == pytest.approx(100)
    assert variant("a ‚ b c d") < 100  # a single mark is none of them


def test_paper_bleu_counts_moses_tokens_with_german_abbreviations():
    # Hypothesis: &quot; Dr. Ott &quot; zahlt am 3. Mai 5,30 Euro ( bar ) .    14 words
    # Reference:  ( Dr. Ott ( am 3. Mai 5,30                                    8 words
    # 1-grams: all of the reference but one "(", 7 of 14. 2-grams: "Dr. Ott", "am 3.", "3. Mai",
    # "Mai 5,30", 4 of 13. 3-grams: "am 3. Mai", "3. Mai 5,30", 2 of 12. 4-grams: 1 of 11.
    expected = 100 * (7 / 14 * 4 / 13 * 2 / 12 * 1 / 11) ** (1 / 4)
    result = paper_tokenized_bleu(
        ['"Dr. Ott" zahlt am 3. Mai 5,30 Euro (bar).'], ["( Dr. Ott ( am 3. Mai 5,30"]
    )
    assert result.score == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("rich-text format", "rich ##AT##-##AT## text format"),
        ("a - b", "a - b"),  # no compound
        ("-a b-", "-a b-"),
        ("links-rechts-links", "links ##AT##-##AT## rechts ##AT##-##AT## links"),
        # The first match takes "a-b"; nothing is left before the second hyphen.
        ("a-b-c", "a ##AT##-##AT## b-c"),
        ("a-b-c-d", "a ##AT##-##AT## b-c ##AT##-##AT## d"),
        # Perl takes "x-" and one more character, here the second hyphen.
        ("x--y", "x ##AT##-##AT## -y"),
    ],
)
def test_compounds_are_split_as_perl_does(text, expected):
    assert split_compounds(text) == expected


def test_score_gives_every_metric_with_its_signature():
    values = score([REFERENCE, HYPOTHESIS], [REFERENCE, REFERENCE]).to_json()
    names = {"bleu", "bleu_intl", "chrf", "ter", "paper_bleu", "paper_bleu_quotes"}
    assert set(Scores.metrics()) == names
    assert set(values) == names | {f"{name}_signature" for name in names} | {"sentences"}
    assert json.loads(json.dumps(values)) == values
    assert values["sentences"] == 2
    # "today" deleted and "a" replaced: 2 edits in 12 reference words.
    assert values["ter"] == pytest.approx(100 * 2 / 12)
    assert 0 < values["chrf"] < 100
    assert values["bleu_signature"].startswith("nrefs:1|case:mixed")


def test_tokenize_is_passed_on():
    hypotheses, references = ["ein Hund ."], ["ein Hund ."]
    assert "tok:none" in corpus_bleu(hypotheses, references, tokenize="none").signature
    with pytest.raises(UserError, match=r"'13b'.*13a"):
        corpus_bleu(hypotheses, references, tokenize="13b")


def test_international_tokens_split_what_13a_keeps():
    # 13a keeps „ja“ one word, which then differs from that of the output in both of its marks.
    output, reference = 'a b c d "ja"', "a b c d „ja“"
    result = score([output], [reference])
    assert "tok:intl" in result.bleu_intl.signature
    assert result.bleu_intl.score == corpus_bleu([output], [reference], "intl").score
    # intl: 5 of 7, 3 of 6, 2 of 5, 1 of 4 n-grams; 13a splits the ASCII marks, not the others.
    by_hand = 100 * (5 / 7 * 3 / 6 * 2 / 5 * 1 / 4) ** (1 / 4)
    assert result.bleu_intl.score == pytest.approx(by_hand)
    # 13a: 4 of 7, 3 of 6, 2 of 5, 1 of 4.
    assert result.bleu.score == pytest.approx(100 * (4 / 7 * 3 / 6 * 2 / 5 * 1 / 4) ** (1 / 4))


def test_the_examples_of_the_docs_have_the_scores_they_are_given():
    page = (pathlib.Path(__file__).parents[1] / "docs" / "scores.md").read_text(encoding="utf-8")
    table = page[page.index("| output | reference |") :].split("\n\n")[0]
    rows = [row.strip("| ").split(" | ") for row in table.splitlines()[2:]]
    assert len(rows) == 5
    for output, reference, *given in rows:
        scores = score([output], [reference])
        names = ("bleu", "bleu_intl", "paper_bleu", "paper_bleu_quotes")
        assert given == [f"{getattr(scores, name).score:.1f}" for name in names], output


def test_a_tokenizer_that_needs_a_package_is_refused(monkeypatch):
    def missing(**options):
        raise RuntimeError("\nMeCab is\nmissing")

    missing.TOKENIZERS = ["ja-mecab"]
    monkeypatch.setattr("transformer.evaluation.bleu.BLEU", missing)
    with pytest.raises(UserError, match=r"'ja-mecab' .*\(MeCab is missing\); choose another"):
        corpus_bleu(["a"], ["a"], tokenize="ja-mecab")


def test_different_numbers_of_lines_are_refused():
    for metric in (score, corpus_bleu, paper_tokenized_bleu):
        with pytest.raises(UserError, match="2 translations but 1 references"):
            metric(["a", "b"], ["a"])
        with pytest.raises(UserError, match="nothing to score"):
            metric([], [])
