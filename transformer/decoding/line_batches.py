"""Lines cut into batches of a few fixed shapes, each of which decoding compiles once."""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Int

from transformer.data.tokenizer import EOS, PAD

_SHORTEST = 16  # the smallest source length that is compiled for


class LineBatch(NamedTuple):
    """Rows past the last line are padding: one EOS, with a length limit of 0."""

    count: int  # of rows that hold a line
    slots: int  # how many rows are decoded at a time, B; the others wait
    source: Int[np.ndarray, "N S"]
    limits: Int[np.ndarray, "N"]
    numbers: Int[np.ndarray, "N"]  # of the rows' lines, from 0
    prefixes: Int[np.ndarray, "N P"] | None

    @property
    def lines(self) -> list[int]:
        """The numbers of the lines there are."""
        return self.numbers[: self.count].tolist()


def source_lengths(max_length: int) -> list[int]:
    """The source lengths that are compiled for: 16, 24, 32, 48, 64, ..., `max_length`."""
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
    max_length: int,
    max_extra_length: int,
    slots_for: Callable[[int], int],
    queue: int = 1,
    row_multiple: int = 1,
    one_shape: bool = False,
) -> Iterator[LineBatch]:
    """Cuts the lines `order` into batches; only the last may lack lines.

    Args:
      order: numbers of lines, longest first.
      sources: ids of every line there is, with EOS.
      prefixes: ids that each line's outputs begin with, or None.
      max_length: most ids of a source.
      max_extra_length: how many tokens longer an output may be than its source.
      slots_for: how many lines may be decoded at a time whose sources have so many ids.
      queue: how many lines a batch may hold for each that is decoded at a time.
      row_multiple: what the number of rows is to be a multiple of.
      one_shape: all batches have the shape of the first, at the price of padding.
    """
    lengths = source_lengths(max_length)
    start = 0
    while start < len(order):
        longest = sources[order[0 if one_shape else start]]
        length = next(n for n in lengths if n >= len(longest))
        slots = _at_most(slots_for(length))
        lines = order[start : start + queue * slots]
        if queue > 1 and not one_shape:
            shorter = max((n for n in lengths if n < length), default=0)
            lines = [line for line in lines if len(sources[line]) > shorter]
        start += len(lines)
        rows = queue * slots
        if not one_shape or len(order) <= slots:
            rows = len(lines)
            slots = min(slots, 1 << (rows - 1).bit_length())
        elif len(order) <= rows:
            rows = min(rows, slots << ((len(order) - 1) // slots).bit_length())
        slots += -slots % row_multiple
        rows += -rows % slots
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
            limits[row] = len(sources[line]) + max_extra_length
            numbers[row] = line
        yield LineBatch(len(lines), slots, source, limits, numbers, begun)


def _at_most(rows: int) -> int:
    """A multiple of 8, or below 8 a power of two; at least 1."""
    return rows - rows % 8 or 1 << (max(rows, 1).bit_length() - 1)
