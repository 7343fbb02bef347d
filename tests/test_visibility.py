"""Masks, from what they stand for."""

import jax.numpy as jnp
import numpy as np

from transformer.model.visibility import Visibility

SEGMENTS = jnp.array([[1, 1, 2, 0]])


def mask(*arguments, **options):
    return Visibility(*arguments, **options).mask(4)


def test_padding_is_never_seen():
    np.testing.assert_array_equal(mask(SEGMENTS)[0, 0], [[1, 1, 1, 0]])


def test_sentences_of_a_row_do_not_see_each_other():
    np.testing.assert_array_equal(
        mask(SEGMENTS, SEGMENTS)[0, 0],
        [[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 0]],
    )


def test_later_positions_are_not_seen():
    np.testing.assert_array_equal(mask(causal=True)[0, 0], np.tri(4))
    np.testing.assert_array_equal(
        mask(SEGMENTS, SEGMENTS, causal=True)[0, 0],
        [[1, 0, 0, 0], [1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 0]],
    )


def test_without_restrictions_there_is_no_mask():
    assert mask() is None
