"""From sentences of any length to arrays of few shapes: `Batch`, token budgets, length buckets.

A compiled training step is good for one shape. So the pairs are sorted into at most a dozen
buckets, each with its own source length, target length and number of rows, such that every batch
holds about the same number of tokens ("approximately 25000 source tokens and 25000 target tokens",
section 5.1) and few cells are padding.
"""

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from jaxtyping import Int, Int32, Integer, UInt8

from transformer.errors import UserError

_LEAST_FILL = 7 / 8  # a shape may leave the rest of the budget unused to fill more batches
_CANDIDATES = 64  # lengths a side that the first search for boundaries considers


class Batch(NamedTuple):
    """Arrays of one training or evaluation step; every padded cell is 0 in each of them.

    Source sentences end with EOS. `target_in` is BOS w1 ... wn and `target_out` w1 ... wn EOS.
    Segments number the sentences of a row from 1, the same on both sides. Positions count from 0
    in each sentence; they are None where each row holds one sentence (position = column).
    """

    source: Int32[np.ndarray, "B S"]
    source_segments: Int32[np.ndarray, "B S"]
    source_positions: Int32[np.ndarray, "B S"] | None
    target_in: Int32[np.ndarray, "B T"]
    target_out: Int32[np.ndarray, "B T"]
    target_segments: Int32[np.ndarray, "B T"]
    target_positions: Int32[np.ndarray, "B T"] | None


class Shape(NamedTuple):
    """Sizes of a batch: S, T and B."""

    source_length: int
    target_length: int
    rows: int


class Padding(NamedTuple):
    """How full an epoch's batches are, source and target cells together."""

    tokens: int
    cells: int

    @property
    def share(self) -> float:
        """Padded cells divided by all cells."""
        return 1 - self.tokens / self.cells


class BatchPlan(NamedTuple):
    """Which pair stands in which row; several pairs of one row stand one after the other."""

    shape: Shape
    pairs: Int[np.ndarray, "pairs"]
    rows: Int[np.ndarray, "pairs"]  # never decreasing


class EpochPlan(NamedTuple):
    """All batches of an epoch: batch i takes `pairs[starts[i]:stops[i]]`."""

    shapes: tuple[Shape, ...]
    shape_of: UInt8[np.ndarray, "batches"]
    starts: Int[np.ndarray, "batches"]
    stops: Int[np.ndarray, "batches"]
    pairs: Int[np.ndarray, "pairs"]
    rows: Int[np.ndarray, "pairs"] | None  # None: one pair a row

    def batch(self, index: int) -> BatchPlan:
        """The plan of one batch of the epoch."""
        part = slice(self.starts[index], self.stops[index])
        pairs = self.pairs[part]
        rows = np.arange(len(pairs)) if self.rows is None else self.rows[part]
        return BatchPlan(self.shapes[self.shape_of[index]], pairs, rows)


class Buckets:
    """Batches of one pair a row, in at most `max_shapes` shapes chosen from the pairs' lengths.

    The shapes form a chain: each is at least as long as the one before on both sides. A pair
    belongs to the first shape that holds it. Pairs that do not fill a last batch of their shape
    are promoted to the next, so only one batch of an epoch may have empty rows, and the number
    of batches of each shape, and so of an epoch, is the same in every epoch.
    """

    def __init__(
        self,
        source_lengths: Int[np.ndarray, "pairs"],
        target_lengths: Int[np.ndarray, "pairs"],
        batch_tokens: int,
        row_multiple: int = 1,
        max_shapes: int = 12,
    ):
        """Chooses the shapes.

        Args:
          source_lengths: tokens of each source sentence.
          target_lengths: tokens of each target sentence.
          batch_tokens: bound for rows x length, on each side of a batch.
          row_multiple: the rows of every shape are a multiple of it.
          max_shapes: the most shapes, up to 255; fewer are taken where that pads less.

        Raises:
          UserError: `batch_tokens` is too small for `row_multiple` rows of the longest sentence.
        """
        kinds, counts, kind_of = length_kinds(source_lengths, target_lengths)
        budget = (batch_tokens, row_multiple)
        chains = _chains(kinds, counts, max_shapes)
        best = min((_planned(chain, kinds, counts, budget) for chain in chains), key=_costs)
        best = _refined(best, kinds, counts, budget)
        self.shapes, self.num_batches = best.shapes, best.batches
        self.padding = Padding(int((kinds.sum(axis=1) * counts).sum()), best.cells)
        self._bucket = _first_fit(_lengths(best.shapes), kinds).astype(np.uint8)[kind_of]
        self._counts = np.bincount(self._bucket, minlength=len(best.shapes))

    def epoch(self, rng: np.random.Generator | None) -> EpochPlan:
        """An epoch's batches in an order drawn from `rng`, or without one in a fixed order."""
        order = np.arange(len(self._bucket), dtype=np.int32)
        if rng is not None:
            rng.shuffle(order)
        order = order[np.argsort(self._bucket[order], kind="stable")]
        pairs, starts, stops, shape_of = [], [], [], []
        promoted, total = order[:0], 0
        for i, own in enumerate(np.split(order, np.cumsum(self._counts)[:-1])):
            waiting = np.concatenate([promoted, own])
            rows = self.shapes[i].rows
            last = i == len(self.shapes) - 1
            used = len(waiting) if last else len(waiting) // rows * rows
            cuts = np.arange(0, used, rows)
            starts.append(total + cuts)
            stops.append(total + np.minimum(cuts + rows, used))
            shape_of.append(np.full(len(cuts), i, np.uint8))
            pairs.append(waiting[:used])
            promoted, total = waiting[used:], total + used
        batches = np.arange(sum(map(len, starts)))
        if rng is not None:
            rng.shuffle(batches)
        shape_of, starts, stops = (np.concatenate(x)[batches] for x in (shape_of, starts, stops))
        return EpochPlan(self.shapes, shape_of, starts, stops, np.concatenate(pairs), None)


def fewest_empty(items: int, most: int, row_multiple: int) -> int:
    """The number of rows, near `most` or dividing `items` evenly, that leaves fewest empty."""
    choices = _rows_near(most, row_multiple, items)
    batches = -(-items // most)
    choices.append(even_rows(items, batches, row_multiple))
    return min(choices, key=lambda rows: -items % rows)


def even_rows(items: int, batches: int, row_multiple: int) -> int:
    """The rows of each of so many batches that share `items` evenly."""
    return -(-items // (batches * row_multiple)) * row_multiple


def most_rows(source_length: int, target_length: int, batch_tokens: int, row_multiple: int) -> int:
    """The most rows within the budget. Raises UserError if even `row_multiple` are too many."""
    longest = max(source_length, target_length)
    rows = batch_tokens // longest // row_multiple * row_multiple
    if not rows:
        raise UserError(
            f"config.data.batch_tokens is {batch_tokens}, but {row_multiple} rows (what the "
            f"devices share evenly) of {longest} tokens need {row_multiple * longest}; raise it "
            "or lower config.data.max_length."
        )
    return rows


class _Planned(NamedTuple):
    """The shapes made of a chain of (source, target) lengths, and what an epoch takes."""

    cells: int
    batches: int
    shapes: tuple[Shape, ...]


def _costs(planned: _Planned) -> tuple[int, int]:
    return planned.cells, len(planned.shapes)


def _lengths(shapes: tuple[Shape, ...]) -> np.ndarray:
    return np.array([(shape.source_length, shape.target_length) for shape in shapes])


def _first_fit(chain: np.ndarray, kinds: np.ndarray) -> np.ndarray:
    """Index of the first element of the chain that holds each length pair."""
    fits = [np.searchsorted(chain[:, side], kinds[:, side]) for side in (0, 1)]
    return np.maximum(*fits)


def _rows_near(most: int, row_multiple: int, items: int) -> list[int]:
    """Numbers of rows that nearly fill the budget, and that so many items fill."""
    least = max(row_multiple, math.ceil(_LEAST_FILL * most))
    filled = min(most, items // row_multiple * row_multiple)
    return list(range(filled, least - 1, -row_multiple))


def _planned(chain: np.ndarray, kinds: np.ndarray, counts: np.ndarray, budget) -> _Planned:
    """Gives each element of the chain its rows: those that leave the fewest pairs to promote.

    An element that fills no batch becomes no shape, nor does the last if no pair is left for it.
    """
    counts = np.bincount(_first_fit(chain, kinds), counts, len(chain)).astype(int).tolist()
    shapes, cells, total, waiting = [], 0, 0, 0
    for i, (source_length, target_length) in enumerate(chain.tolist()):
        waiting += counts[i]
        most = most_rows(source_length, target_length, *budget)
        if i == len(chain) - 1:
            rows = fewest_empty(waiting, most, budget[1]) if waiting else most
            batches, waiting = -(-waiting // rows), 0
        else:
            choices = _rows_near(most, budget[1], waiting)
            rows = min(choices, key=lambda rows: waiting % rows, default=most)
            batches, waiting = divmod(waiting, rows)
        if batches:
            shapes.append(Shape(source_length, target_length, rows))
            cells += batches * rows * (source_length + target_length)
            total += batches
    return _Planned(cells, total, tuple(shapes))


def _refined(best: _Planned, kinds: np.ndarray, counts: np.ndarray, budget) -> _Planned:
    """Moves lengths by one as long as that saves cells, promotions and empty rows included."""
    while True:
        neighbours = (_planned(x, kinds, counts, budget) for x in _neighbours(best.shapes))
        moved = min(neighbours, key=_costs, default=best)
        if _costs(moved) >= _costs(best):
            return best
        best = moved


def _neighbours(shapes: tuple[Shape, ...]) -> Iterator[np.ndarray]:
    """The chains that differ by one in the lengths of one shape, the last excepted."""
    for i in range(len(shapes) - 1):
        for source, target in np.ndindex(3, 3):
            chain = _lengths(shapes)
            chain[i] += source - 1, target - 1
            if chain.min() > 0 and (np.diff(chain, axis=0) >= 0).all():
                yield chain


def _chains(kinds: np.ndarray, counts: np.ndarray, most: int) -> list[np.ndarray]:
    """For k = 1 to `most`, the chain of k (source, target) lengths that pads least.

    Dynamic programming over the last element of the chain: with n(x) pairs that fit into x, a
    chain x1 <= x2 <= ... costs the sum of (n(xi) - n(xi-1)) * (S(xi) + T(xi)) cells.
    """
    sources, targets = (_candidates(kinds[:, side], counts) for side in (0, 1))
    grid = np.zeros((len(sources), len(targets)))
    cell = np.searchsorted(sources, kinds[:, 0]), np.searchsorted(targets, kinds[:, 1])
    np.add.at(grid, cell, counts)
    fitting = grid.cumsum(0).cumsum(1).ravel()
    source, target = (x.ravel() for x in np.meshgrid(sources, targets, indexing="ij"))
    size = source + target
    cost, before = np.empty((most, len(size))), np.empty((most, len(size)), int)
    cost[0] = fitting * size
    for end in range(len(targets), len(size) + 1, len(targets)):  # one source length at a time
        now, smaller = slice(end - len(targets), end), slice(end)
        added = (fitting[now, None] - fitting[smaller]) * size[now, None]
        added[target[smaller] > target[now, None]] = np.inf
        for k in range(1, most):
            total = cost[k - 1, smaller] + added
            before[k, now], cost[k, now] = total.argmin(1), total.min(1)
    chains = []
    for last in range(most):
        elements = [len(size) - 1]
        for k in range(last, 0, -1):
            elements.append(before[k, elements[-1]])
        chains.append(np.stack([source, target], axis=1)[elements[::-1]])
    return chains


def _candidates(lengths: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """All lengths that occur, or if they are many, those at even steps of the token mass."""
    mass = np.cumsum(np.bincount(lengths, counts * lengths))
    occurring = np.unique(lengths)
    if len(occurring) <= _CANDIDATES:
        return occurring
    steps = mass[-1] * np.arange(1, _CANDIDATES) / _CANDIDATES
    return np.unique([*np.searchsorted(mass, steps), occurring[-1]])


def length_kinds(
    source_lengths: Int[np.ndarray, "pairs"], target_lengths: Int[np.ndarray, "pairs"]
) -> tuple[Int[np.ndarray, "kinds 2"], Int[np.ndarray, "kinds"], Integer[np.ndarray, "pairs"]]:
    """The distinct (source, target) lengths, how often each occurs, and which of them each pair is.

    There are thousands of kinds where there are millions of pairs.
    """
    base = int(target_lengths.max()) + 1
    key = source_lengths * base + target_lengths
    counts = np.bincount(key)
    keys = np.flatnonzero(counts)
    kind_of_key = np.zeros(len(counts), np.min_scalar_type(len(keys)))  # small keys sort fast
    kind_of_key[keys] = np.arange(len(keys))
    return np.stack([keys // base, keys % base], axis=1), counts[keys], kind_of_key[key]
