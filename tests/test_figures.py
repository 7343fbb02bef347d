"""Attention maps: what is drawn is what was given."""

import sys

import numpy as np
import pytest

from transformer.errors import UserError
from transformer.visualization import figures
from transformer.visualization.labels import labels

QUERIES, KEYS = ["▁Der", "▁Bahn", "hof", ".", "</s>"], ["▁The", "▁station", ".", "</s>"]


@pytest.fixture
def weights():
    random = np.random.default_rng(0).random((2, 3, 5, 4), np.float32)
    return random / random.sum(-1, keepdims=True)


def texts(ticks):
    return [tick.get_text() for tick in ticks]


def test_labels_of_pieces():
    assert labels(["<s>", "▁The", "▁", "<0xE2>", "s", "."]) == [
        "<s>",
        "The",
        "␣",
        "<0xE2>",
        "·s",
        ".",
    ]
    assert labels(["a", "b"]) == ["a", "b"]


def test_a_map_has_the_weights_and_the_words(weights):
    (axes, _) = figures.attention_map(weights[0, 0], QUERIES, KEYS, title="Title").axes
    np.testing.assert_array_equal(axes.images[0].get_array(), weights[0, 0])
    assert texts(axes.get_yticklabels()) == ["Der", "Bahn", "·hof", ".", "</s>"]
    assert texts(axes.get_xticklabels()) == ["The", "station", ".", "</s>"]
    assert axes.get_title() == "Title"
    assert axes.images[0].get_clim() == (0, 1)


def test_a_map_goes_where_it_is_told(weights):
    axes = figures.new_figure(3.0, 3.0).subplots()
    assert figures.attention_map(weights[0, 0], QUERIES, KEYS, axes=axes) is axes.figure
    assert len(axes.figure.axes) == 1


def test_each_head_and_layer_has_a_map_of_its_own(weights):
    heads = figures.head_maps(weights[0], QUERIES, KEYS, columns=2, each="layer").axes
    for axes, own in zip(heads[:3], weights[0], strict=True):
        np.testing.assert_array_equal(axes.images[0].get_array(), own)
    assert [axes.get_title() for axes in heads[:3]] == ["layer 1", "layer 2", "layer 3"]
    assert not heads[3].images and not heads[3].axison
    layers = figures.layer_maps(weights, "Title").axes[:6]
    for axes, own in zip(layers, weights.reshape(6, 5, 4), strict=True):
        np.testing.assert_array_equal(axes.images[0].get_array(), own)
    assert [axes.get_title() for axes in layers[:3]] == ["head 1", "head 2", "head 3"]
    assert [axes.get_ylabel() for axes in layers[::3]] == ["layer 1", "layer 2"]


def test_a_line_is_as_strong_as_its_weight(weights):
    (axes,) = figures.attention_lines(weights[0, :1], QUERIES, KEYS, shown=[1]).axes
    lines = axes.lines
    assert [line.get_alpha() for line in lines] == pytest.approx(weights[0, 0, 1].tolist())
    assert [tuple(line.get_ydata()) for line in lines] == [(1, key) for key in range(4)]
    assert [t.get_text() for t in axes.texts] == labels(QUERIES) + labels(KEYS)


def test_a_figure_as_pixels(weights):
    image = figures.pixels(figures.layer_maps(weights))
    assert image.ndim == 3 and image.shape[2] == 3 and image.dtype == np.uint8
    assert (image == 255).all(-1).any() and len(np.unique(image.reshape(-1, 3), axis=0)) > 20


def test_pyplot_is_left_alone(weights, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    figures.head_maps(weights[0], QUERIES, KEYS)


def test_without_matplotlib_it_says_what_is_missing(weights, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(UserError, match=r"pip install -e \.\[plots\]"):
        figures.layer_maps(weights)
