"""Lines cut into batches of a few fixed shapes, each of which decoding compiles once."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Int

from transformer.config import DecodingConfig
from transformer.data.tokenizer import EOS, PAD

_SHORTEST = 8  # the smallest source length that is compiled for


class LineBatch(NamedTuple):
    """Rows past the last line are padding: one EOS, with a length limit of 0."""

    count: int  # of rows that hold a line
    source: Int[np.ndarray, "B S"]
    limits: Int[np.ndarray, "B"]
    numbers: Int[np.ndarray, "B"]  # of the rows' lines, from 0
    prefixes: Int[np.ndarray, "B P"] | None


def source_lengths(max_length: int) -> list[int]:
    """The source lengths that are compiled for: 8, 12, 16, 24, 32, 48, ..., `max_length`."""
    lengths, step = [], _SHORTEST
    while step < max_length:
        lengths += [step, step + step // 2]
        step *= 2
    return [n for n in lengths if n < max_length] + [max_length]


def cut_lines(
    order: Sequence[int],
    sources: Sequence[Sequence[int]],
    prefixes: Sequence[Sequence[int]] | None,
    *,
    beams: int,
    decoding: DecodingConfig,
    max_length: int,
    row_multiple: int = 1,
    one_shape: bool = False,
) -> Iterator[LineBatch]:
    """Cuts the lines `order` into batches; only the last may lack lines.

    Args:
      order: numbers of lines, longest first.
      sources: ids of every line there is, with EOS.
      prefixes: ids that each line's outputs begin with, or None.
      beams: hypotheses or samples a line.
      decoding: its `batch_tokens` are the budget of a batch, its `max_extra_length` the limit.
      max_length: most ids of a source.
      row_multiple: what the number of rows is to be a multiple of.
      one_shape: all batches have the shape of the first, at the price of padding.
    """
    lengths = source_lengths(max_length)
    start = 0
    while start < len(order):
        longest = sources[order[0 if one_shape else start]]
        length = next(n for n in lengths if n >= len(longest))
        cells = beams * (length + decoding.max_extra_length)  # of one row
        fitting = max(1, decoding.batch_tokens // cells)
        rows = 1 << (fitting.bit_length() - 1)  # the power of two at or below
        lines = order[start : start + rows]
        start += rows
        if not one_shape:
            rows = 1 << (len(lines) - 1).bit_length()  # the power of two at or above
        rows += -rows % row_multiple
        source = np.full((rows, length), PAD, np.int32)
        source[:, 0] = EOS
        limits = np.zeros(rows, np.int32)
        numbers = np.zeros(rows, np.int32)
        begun = None
        if prefixes is not None:
            widest = max((len(prefixes[line]) for line in lines), default=0)
            begun = np.full((rows, 1 << (max(widest, 1) - 1).bit_length()), PAD, np.int32)
        for row, line in enumerate(lines):
            if begun is not None:
                begun[row, : len(prefixes[line])] = prefixes[line]
            source[row, : len(sources[line])] = sources[line]
            limits[row] = len(sources[line]) + decoding.max_extra_length
            numbers[row] = line
        yield LineBatch(len(lines), source, limits, numbers, begun)
