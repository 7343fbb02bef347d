"""Several pairs in one row, told apart by segment ids, so that hardly a cell is padding.

Which lengths share a row is settled once, from the histogram of length pairs; an epoch then deals
pairs of the same lengths out to the places anew. So an epoch's plan costs a shuffle, every epoch
has the same number of batches, and the padding is known beforehand.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Int

from transformer.data.batching import (
    EpochPlan,
    Padding,
    Shape,
    even_rows,
    length_kinds,
    most_rows,
)
from transformer.data.tokenizer import ranges

_TRIED = 4  # lengths of rows
_ALIGNED = 16  # what they are a multiple of: rows of 64 take 5 % less time a token than of 56
_LITTLE = 2  # tokens that the rows of the other side may become longer for that
# In rows of so many tokens attention would take as long as all else. Measured on a CPU: 300 with
# d_model 128, 1,200 with 512.
_ATTENTION = 500
_IMBALANCE = 2.0  # how much evenness of the room left on both sides counts against filling it


class Packing:
    """Batches of packed rows, all of one shape."""

    def __init__(
        self,
        source_lengths: Int[np.ndarray, "pairs"],
        target_lengths: Int[np.ndarray, "pairs"],
        batch_tokens: int,
        max_length: int,
        row_multiple: int = 1,
    ):
        """Chooses the shape and which lengths share rows.

        Rows as long as the longest sentence are often the best: longer ones pad less, but each
        position attends to a whole row. The side with fewer tokens in all gets shorter rows in
        proportion, so that neither runs out first (but not below its longest sentence).

        Args:
          source_lengths: tokens of each source sentence, at most `max_length`.
          target_lengths: tokens of each target sentence, at most `max_length`.
          batch_tokens: bound for rows x length, on each side of a batch.
          max_length: bound for the length of a row.
          row_multiple: the number of rows is a multiple of it.

        Raises:
          UserError: `batch_tokens` is too small for `row_multiple` rows of the longest sentence.
        """
        kinds, counts, self._kind = length_kinds(source_lengths, target_lengths)
        longest = int(kinds.max())
        most_rows(longest, longest, batch_tokens, row_multiple)
        best = _packed(
            kinds, counts, _row_lengths(longest, max_length, batch_tokens // row_multiple)
        )
        self._by_kind = np.argsort(best.places, kind="stable")  # places of kind 0, of kind 1, ...
        self._row_offsets = best.offsets
        num_rows = len(best.offsets) - 1
        most = most_rows(*best.room, batch_tokens, row_multiple)
        self.num_batches = -(-num_rows // most)
        rows = even_rows(num_rows, self.num_batches, row_multiple)
        self.shapes = (Shape(*best.room, rows),)
        cells = self.num_batches * rows * sum(best.room)
        self.padding = Padding(int((counts @ kinds).sum()), cells)

    def epoch(self, rng: np.random.Generator | None) -> EpochPlan:
        """An epoch's batches in an order drawn from `rng`, or without one in a fixed order."""
        pairs = np.arange(len(self._kind), dtype=np.int32)
        rows = np.arange(len(self._row_offsets) - 1)
        if rng is not None:
            rng.shuffle(pairs)
            rng.shuffle(rows)
        dealt = np.empty_like(pairs)
        dealt[self._by_kind] = pairs[np.argsort(self._kind[pairs], kind="stable")]
        starts = self._row_offsets[rows]
        sizes = self._row_offsets[rows + 1] - starts
        ends = np.cumsum(sizes)
        per_batch = self.shapes[0].rows
        row_in_batch = np.arange(len(rows), dtype=np.int32) % per_batch
        stops = ends[np.minimum(np.arange(1, self.num_batches + 1) * per_batch, len(rows)) - 1]
        return EpochPlan(
            self.shapes,
            np.zeros(self.num_batches, np.uint8),
            np.concatenate([[0], stops[:-1]]),
            stops,
            dealt[ranges(starts, sizes)],
            np.repeat(row_in_batch, sizes),
        )


class _Packed(NamedTuple):
    """Rows of one shape: what stands in them, and what they cost."""

    places: np.ndarray  # the kind of pair at each
    offsets: np.ndarray  # of the rows in them
    room: tuple[int, int]  # of a row, source and target
    cost: float  # time, in cells without attention


def _row_lengths(longest: int, max_length: int, share: int) -> list[int]:
    """Lengths to try, from the longest sentence's on; whole rows of each nearly fill `share`."""
    first = -(-longest // _ALIGNED) * _ALIGNED
    lengths, rows = set(), share // first
    while rows:
        length = share // rows
        lengths.add(min(length - length % _ALIGNED, max_length))
        if length > 2 * first:
            break
        rows = share // (length + 1)  # as many as can be longer
    if not lengths:
        return [min(share, max_length)]
    tried = np.linspace(0, len(lengths) - 1, min(len(lengths), _TRIED)).astype(int)
    return np.array(sorted(lengths))[tried].tolist()


def _packed(kinds: np.ndarray, counts: np.ndarray, lengths: list[int]) -> _Packed:
    """The cheapest rows of these lengths, which rise."""
    totals = counts @ kinds
    best = None
    for length in lengths:
        room = length * totals / totals.max()
        if best and totals @ _costs(room) >= best.cost:  # even without padding
            break
        room = np.maximum(np.ceil(room), kinds.max(axis=0)).astype(int)
        aligned = -(-room // _ALIGNED) * _ALIGNED
        room = np.where(aligned <= np.minimum(room + _LITTLE, length), aligned, room)
        places, offsets = _places(kinds, counts, room)
        cost = (len(offsets) - 1) * (room @ _costs(room))
        if not best or cost < best.cost:
            best = _Packed(places, offsets, tuple(room.tolist()), cost)
    return best


def _costs(room: np.ndarray) -> np.ndarray:
    """Time of a cell in rows of such lengths; 1 without attention."""
    return 1 + room / _ATTENTION


def _places(kinds: np.ndarray, counts: np.ndarray, room: np.ndarray):
    """(kind at each place, offsets of the rows in it) with every pair placed.

    A row is filled greedily: always the kind that takes most of the room while it leaves the
    two sides evenly free. The row is then repeated for as long as its kinds last, so the work
    grows with the number of kinds, not of pairs.
    """
    alive, counts = np.arange(len(kinds)), counts.copy()
    places, sizes = [], []
    while len(alive):
        row = _fill_row(kinds[alive], counts[alive], room)
        used, times = np.unique(alive[row], return_counts=True)
        repeats = (counts[used] // times).min()
        counts[used] -= repeats * times
        places.append(np.tile(alive[row], repeats))
        sizes.append(np.full(repeats, len(row)))
        alive = alive[counts[alive] > 0]
    dtype = np.min_scalar_type(len(kinds))  # small keys sort fast
    offsets = np.concatenate([[0], np.cumsum(np.concatenate(sizes))])
    return np.concatenate(places).astype(dtype), offsets


def _fill_row(kinds: np.ndarray, counts: np.ndarray, room: np.ndarray) -> list[int]:
    """The kinds of one row, each at most as often as it is left."""
    source, target = kinds.T
    part_source, part_target = source / room[0], target / room[1]
    size, slant = part_source + part_target, part_source - part_target
    free_source, free_target = room
    left, row = counts.copy(), []
    while True:
        uneven = np.abs(free_source / room[0] - free_target / room[1] - slant)
        score = size - _IMBALANCE * uneven
        score[(left == 0) | (source > free_source) | (target > free_target)] = -np.inf
        chosen = int(score.argmax())
        if score[chosen] == -np.inf:
            return row
        row.append(chosen)
        left[chosen] -= 1
        free_source -= source[chosen]
        free_target -= target[chosen]
