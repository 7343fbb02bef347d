"""Alignments read off attention, and their error rate by hand."""

import numpy as np
import pytest

from transformer.data.grammar import derivations
from transformer.evaluation.alignment import align, alignment_error_rate, pieces_of_words

SOURCE = ["▁The", "▁sta", "tion", ".", "</s>"]
TARGET = ["▁Der", "▁Bahn", "hof", ".", "</s>"]


def test_error_rate_by_hand():
    """Of three links found one is sure and one more is possible; two are sure in all."""
    found, sure, possible = [[(0, 0), (1, 2), (3, 3)]], [[(0, 0), (1, 1)]], [[(0, 0), (1, 2)]]
    assert alignment_error_rate(found, sure, possible) == pytest.approx(1 - (1 + 2) / (3 + 2))
    assert alignment_error_rate(found, sure) == pytest.approx(1 - (1 + 1) / (3 + 2))
    assert alignment_error_rate(sure, sure) == 0
    assert alignment_error_rate([[(0, 1)]], sure) == 1
    assert alignment_error_rate([[]], [[]]) == 0
    # Over a corpus links are counted, sentences are not averaged.
    assert alignment_error_rate(found + sure, sure * 2) == pytest.approx(1 - (2 + 4) / (5 + 4))


def test_pieces_of_words():
    found = pieces_of_words(SOURCE, ["the", "station", "."])
    np.testing.assert_array_equal(found, [[1, 0, 0, 0, 0], [0, 1, 1, 0, 0], [0, 0, 0, 1, 0]])
    # A piece may have to do with two words, and a word be missing.
    found = pieces_of_words(["▁a,", "▁b", "</s>"], ["a", ",", "x", "b"])
    np.testing.assert_array_equal(found, [[1, 0, 0], [1, 0, 0], [0, 0, 0], [0, 1, 0]])
    assert pieces_of_words([], ["a"]).shape == (1, 0)
    assert pieces_of_words(["a"], []).shape == (0, 1)


def test_words_attend_by_the_sum_over_keys_and_the_mean_over_queries():
    source = pieces_of_words(SOURCE, ["The", "station", "."])
    target = pieces_of_words(TARGET, ["Der", "Bahnhof", "."])
    weights = np.array(
        [
            [0.1, 0.0, 0.0, 0.2, 0.7],  # Der: to the end, so no link
            [0.5, 0.3, 0.1, 0.1, 0.0],  # Bahn + hof: 0.7 to The, but 0.4 + 0.7 to station
            [0.2, 0.3, 0.4, 0.1, 0.0],
            [0.3, 0.0, 0.0, 0.6, 0.1],
            [1.0, 0.0, 0.0, 0.0, 0.0],  # </s> is no word
        ],
        np.float32,
    )
    assert align(weights, source, target) == {(1, 1), (2, 2)}


def test_the_grammars_own_links_can_be_found():
    """Each of its words is in its text, so that attention along the links has no error."""
    drawn = derivations("test", 200)
    found = []
    for one in drawn:
        sides = (one.english, one.english_words), (one.german, one.german_words)
        pieces = [[f"▁{word}" for word in text.split()] for text, _ in sides]
        source, target = (
            pieces_of_words(p, words) for p, (_, words) in zip(pieces, sides, strict=True)
        )
        assert source.any(1).all() and target.any(1).all()
        # Letters as pieces: attention that is 1 on the first link of each word.
        letters = [["▁" + c if c == " " else c for c in text] for text, _ in sides]
        source, target = (
            pieces_of_words(p, words) for p, (_, words) in zip(letters, sides, strict=True)
        )
        weights = np.zeros((target.shape[1], source.shape[1] + 1), np.float32)
        weights[:, -1] = 0.5
        for s, t in one.alignment:
            weights[np.ix_(target[t], [int(source[s].argmax())])] = 1
        source = np.pad(source, ((0, 0), (0, 1)))
        found.append(align(weights, source, target))
    assert all(links <= set(one.alignment) for links, one in zip(found, drawn, strict=True))
    linked = [{t for _, t in one.alignment} for one in drawn]
    assert [{t for _, t in links} for links in found] == linked
