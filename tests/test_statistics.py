"""Each statistic counted by hand, and the length ratio against sacreBLEU's own."""

import pytest
from sacrebleu.metrics import BLEU

from transformer.errors import UserError
from transformer.evaluation.statistics import statistics, worst_sentences


def test_lengths_by_hand():
    # Words: 2 of 5 (less than half), 1 of 2 (just half), 5 of 2 (more than twice), 4 of 2, 0 of 1.
    outputs = ["a b", "a", "a b c d e", "a b c d", ""]
    references = ["a b c d .", "a b", "a b", "a b", "a"]
    result = statistics(outputs, references)
    assert result.length_ratio == pytest.approx(12 / 12)
    assert result.much_shorter == pytest.approx(2 / 5)
    assert result.much_longer == pytest.approx(1 / 5)
    assert result.untranslated is None


def test_length_ratio_is_that_of_bleu():
    outputs = ['Er sagt: "Ja, am 3. Mai".', "Nein!", "Das kostet 5,30 Euro (bar)."]
    references = ["Er sagte „Ja, am 3. Mai“.", "Oh nein, nicht schon wieder!", "5,30 Euro."]
    expected = BLEU().corpus_score(outputs, [references]).ratio
    assert statistics(outputs, references).length_ratio == pytest.approx(expected)


def test_repetition_by_hand():
    # Bigrams "the dog" x 3, "dog the" x 2; the reference has "the dog" twice: 1 + 1 beyond, of 5.
    # In the second, "no no" x 3, of which one needs no excuse: 2 of 3. The third repeats nothing.
    outputs = ["the dog the dog the dog", "no no no no", "a b c"]
    references = ["the dog sees the dog", "no", "a b c"]
    assert statistics(outputs, references).repeated == pytest.approx((2 + 2) / (5 + 3 + 2))
    assert statistics(references, references).repeated == 0


def test_untranslated_words_by_hand():
    # Of the six words with a letter, "children" twice and "Hello" are copies. "Peter" stands in
    # the reference, "Die" is not "die", and a number or a full stop is no word.
    sources = ["Peter , children die in 2010 .", "Hello ."]
    references = ["Peter , Kinder sterben .", "Hallo ."]
    outputs = ["Peter children Die children 2010 .", "Hello Welt ."]
    assert statistics(outputs, references, sources).untranslated == pytest.approx(3 / 6)
    assert statistics(references, references, sources).untranslated == 0


def test_nothing_to_count_is_no_division_by_zero():
    result = statistics(["", "."], ["", "."], ["", "."])
    assert (result.length_ratio, result.repeated, result.untranslated) == (1, 0, 0)
    assert statistics([""], [""], [""]).length_ratio == 0


def test_worst_sentences_come_first_and_equal_ones_in_order():
    references = ["guten Tag", "alles klar", "bis bald", "auf Wiedersehen"]
    outputs = ["guten Tag", "xyz", "bis dann", "xyz"]
    found = worst_sentences(outputs, references, 3)
    assert [sentence.line for sentence in found] == [2, 4, 3]
    assert found[0].chrf == found[1].chrf == 0
    assert 0 < found[2].chrf < 100
    everything = worst_sentences(outputs, references, 9)
    assert len(everything) == 4 and everything[-1] == (1, pytest.approx(100))
    assert worst_sentences(outputs, references, 0) == []


def test_sentence_chrf_by_hand():
    # "ab" against "abc": precision 2/2 of characters and 1/1 of pairs, recall 2/3 and 1/2; what
    # one side lacks, trigrams, is left out. chrF2 takes the means and weighs recall fourfold.
    precision, recall = (1 + 1) / 2, (2 / 3 + 1 / 2) / 2
    expected = 100 * 5 * precision * recall / (4 * precision + recall)
    (sentence,) = worst_sentences(["ab"], ["abc"], 1)
    assert sentence.chrf == pytest.approx(expected)


def test_different_numbers_of_lines_are_refused():
    with pytest.raises(UserError, match="1 translations but 2 references"):
        statistics(["a"], ["a", "b"])
    with pytest.raises(UserError, match="1 translations but 2 sources"):
        statistics(["a"], ["a"], ["a", "b"])
    with pytest.raises(UserError, match="nothing to score"):
        worst_sentences([], [], 1)
