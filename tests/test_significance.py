"""sacreBLEU's two tests against enumeration of all that they sample from, and their seed."""

import itertools

import numpy as np
import pytest

from transformer.errors import UserError
from transformer.evaluation.bleu import corpus_bleu
from transformer.evaluation.significance import Comparison, compare

REFERENCES = [
    "the cat sat on the mat today",
    "a dog ran over the long bridge",
    "we saw three ships come sailing in",
    "nobody knows what the morning will bring",
    "she gave him an old brown book",
    "the train to the north is late",
]
BASELINE = [
    "the cat sat on a mat today",
    "a dog ran over the short bridge",
    "we saw three ships come in",
    "nobody knows what the morning brings",
    "she gave him an old book",
    "the train to north is late",
]
OUTPUT = [
    "the cat sat on the mat now",
    "a dog walked over the long bridge",
    "we saw the ships come sailing in",
    "nobody knows what the morning will bring",
    "she gave him a brown book",
    "the train to the north was late",
]


def bleu(outputs, references):
    return corpus_bleu(outputs, references).score


def test_difference_is_that_of_corpus_bleu():
    result = compare(BASELINE, [OUTPUT, REFERENCES], REFERENCES)
    for comparison, output in zip(result.comparisons, (OUTPUT, REFERENCES), strict=True):
        expected = bleu(output, REFERENCES) - bleu(BASELINE, REFERENCES)
        assert comparison.difference == pytest.approx(expected, abs=1e-9)


def test_randomization_samples_all_exchanges_of_sentences():
    measured = abs(bleu(OUTPUT, REFERENCES) - bleu(BASELINE, REFERENCES))
    larger = 0
    for exchanged in itertools.product([False, True], repeat=len(REFERENCES)):
        pairs = [
            pair[::-1] if e else pair
            for e, pair in zip(exchanged, zip(BASELINE, OUTPUT, strict=True), strict=True)
        ]
        first, second = map(list, zip(*pairs, strict=True))
        larger += abs(bleu(first, REFERENCES) - bleu(second, REFERENCES)) > measured + 1e-9
    exact = larger / 2 ** len(REFERENCES)
    assert 0.05 < exact < 0.95
    (comparison,) = compare(BASELINE, [OUTPUT], REFERENCES).comparisons
    assert comparison.randomization_p == pytest.approx(exact, abs=0.03)


def test_bootstrap_samples_all_draws_of_sentences():
    baseline, output, references = BASELINE[2:5], OUTPUT[2:5], REFERENCES[2:5]
    differences = []
    for draw in itertools.product(range(3), repeat=3):
        drawn = [[text[i] for i in draw] for text in (baseline, output, references)]
        differences.append(abs(bleu(drawn[1], drawn[2]) - bleu(drawn[0], drawn[2])))
    centred = np.array(differences) - np.mean(differences)
    exact = np.mean(centred > abs(bleu(output, references) - bleu(baseline, references)))
    assert 0.02 < exact < 0.95
    (comparison,) = compare(baseline, [output], references).comparisons
    assert comparison.bootstrap_p == pytest.approx(exact, abs=0.05)


def test_a_difference_in_every_sentence_has_the_smallest_p_values():
    (comparison,) = compare(["x y z u"] * 6, [REFERENCES], REFERENCES).comparisons
    assert comparison.bootstrap_p == pytest.approx(1 / 1001)
    assert comparison.randomization_p == pytest.approx(1 / 10001)


def test_equal_outputs_do_not_differ():
    assert compare(OUTPUT, [list(OUTPUT)], REFERENCES).comparisons == [Comparison(0.0, 1.0, 1.0)]


def test_the_seed_is_fixed_and_named(monkeypatch):
    monkeypatch.delenv("SACREBLEU_SEED", raising=False)
    first, again = (compare(BASELINE, [OUTPUT], REFERENCES, "intl") for _ in range(2))
    assert first == again
    for part in ("seed:12345", "tok:intl"):
        assert part in first.bootstrap_signature and part in first.randomization_signature
    assert "bs:1000" in first.bootstrap_signature and "ar:10000" in first.randomization_signature
    monkeypatch.setenv("SACREBLEU_SEED", "7")
    other = compare(BASELINE, [OUTPUT], REFERENCES, "intl")
    assert "seed:7" in other.bootstrap_signature
    assert other.comparisons != first.comparisons


@pytest.mark.parametrize("seed", ["none", "0", "-1", "x"])
def test_a_seed_that_would_not_repeat_is_refused(monkeypatch, seed):
    monkeypatch.setenv("SACREBLEU_SEED", seed)
    with pytest.raises(UserError, match=r"SACREBLEU_SEED is .* whole number above 0"):
        compare(BASELINE, [OUTPUT], REFERENCES)


def test_different_numbers_of_lines_are_refused():
    for baseline, output in ((BASELINE[1:], OUTPUT), (BASELINE, OUTPUT[1:])):
        with pytest.raises(UserError, match="5 translations but 6 references"):
            compare(baseline, [output], REFERENCES)
