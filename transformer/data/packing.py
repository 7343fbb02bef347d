"""Several pairs in one row, told apart by segment ids, so that hardly a cell is padding.

Which lengths share a row is settled once, from the histogram of length pairs; an epoch then deals
pairs of the same lengths out to the places anew. So an epoch's plan costs a shuffle, every epoch
has the same number of batches, and the padding is known beforehand.
"""

import numpy as np
from jaxtyping import Int

from transformer.data.batching import (
    EpochPlan,
    Padding,
    Shape,
    fewest_empty,
    length_kinds,
    most_rows,
)
from transformer.data.tokenizer import ranges

_IMBALANCE = 2.0  # how much evenness of the room left on both sides counts against filling it


class Packing:
    """Batches of packed rows, all of one shape."""

    def __init__(
        self,
        source_lengths: Int[np.ndarray, "pairs"],
        target_lengths: Int[np.ndarray, "pairs"],
        batch_tokens: int,
        row_length: int,
        row_multiple: int = 1,
    ):
        """Chooses the shape and which lengths share rows.

        Args:
          source_lengths: tokens of each source sentence, at most `row_length`.
          target_lengths: tokens of each target sentence, at most `row_length`.
          batch_tokens: bound for rows x length, on each side of a batch.
          row_length: length of a row on the side with more tokens in all. The other side gets
            rows in proportion, so that neither runs out first (but not below its longest
            sentence).
          row_multiple: the number of rows is a multiple of it.

        Raises:
          UserError: `batch_tokens` is too small for `row_multiple` rows.
        """
        kinds, counts, self._kind = length_kinds(source_lengths, target_lengths)
        totals = counts @ kinds
        room = np.maximum(np.ceil(row_length * totals / totals.max()), kinds.max(axis=0))
        source_length, target_length = room.astype(int).tolist()
        places, self._row_offsets = _places(kinds, counts, (source_length, target_length))
        self._by_kind = np.argsort(places, kind="stable")  # places of kind 0, of kind 1, ...
        num_rows = len(self._row_offsets) - 1
        most = most_rows(source_length, target_length, batch_tokens, row_multiple)
        rows = fewest_empty(num_rows, most, row_multiple)
        self.shapes = (Shape(source_length, target_length, rows),)
        self.num_batches = -(-num_rows // rows)
        cells = self.num_batches * rows * (source_length + target_length)
        self.padding = Padding(int(totals.sum()), cells)

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


def _places(kinds: np.ndarray, counts: np.ndarray, room: tuple[int, int]):
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


def _fill_row(kinds: np.ndarray, counts: np.ndarray, room: tuple[int, int]) -> list[int]:
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
