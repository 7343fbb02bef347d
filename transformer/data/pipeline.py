"""Grain: corpus -> ids -> batches, one shard a host, with a position that can be saved.

Batch i of training, for i = 0, 1, 2, ... without end, is a pure function of (seed, i): the i-th
batch of epoch 0, and so on, since all epochs have equally many batches. The position of the
stream is therefore the number of batches taken, whatever the number of hosts. (The order is numpy's
to draw: another version of numpy may shuffle differently.)
"""

import itertools
import sys
import threading
import zlib
from collections.abc import Iterator, Sequence

import grain
import numpy as np

from transformer.config import DataConfig
from transformer.data.batching import (
    Batch,
    BatchPlan,
    Buckets,
    EpochPlan,
    Padding,
    Shape,
)
from transformer.data.corpus import Corpus, keep_pairs
from transformer.data.packing import Packing
from transformer.data.prepared import PreparedPairs
from transformer.data.tokenizer import BOS, EOS, PAD, Pairs, Sentences, Tokenizer, ranges
from transformer.errors import UserError

# The rows of a batch are cut into n equal blocks: ((k, l, ...), n) stands for blocks k, l, ... in
# rising order, those that the devices of a host hold.
RowBlocks = tuple[tuple[int, ...], int]
ALL_ROWS: RowBlocks = ((0,), 1)

_EVAL_SHAPES = 4  # each is compiled, for a pass over a few thousand pairs
_ENCODE_AT_ONCE = 10_000
_READ_OPTIONS = grain.ReadOptions(num_threads=2, prefetch_buffer_size=16)


class TrainData:
    """Training pairs as batches: shuffled, sharded, resumable, without end.

    Attributes:
      shapes: of the batches; one train step is compiled for each.
      steps_per_epoch: batches in which every pair occurs exactly once.
      num_pairs: pairs kept.
      source_tokens, target_tokens: of these pairs, end tokens included.
      dropped: number of pairs left out, by reason.
      padding: tokens and cells of an epoch, the same for every epoch.
    """

    def __init__(
        self,
        pairs: Pairs | PreparedPairs,
        batcher: Buckets | Packing,
        seed: int,
        dropped: dict[str, int],
    ):
        """See `build_train_data`."""
        self._pairs, self._batcher, self._seed = pairs, batcher, seed
        self.shapes: tuple[Shape, ...] = batcher.shapes
        self.steps_per_epoch: int = batcher.num_batches
        self.num_pairs = len(pairs)
        self.source_tokens, self.target_tokens = (int(side.sum()) for side in pairs.lengths)
        self.dropped = dropped
        self.padding: Padding = batcher.padding

    def iterator(self, rows: RowBlocks = ALL_ROWS) -> grain.DatasetIterator[Batch]:
        """Batches from the first step on, of each those rows that this process is to supply.

        `get_state()` is a small JSON-able dict, the same on every host; `set_state` continues
        with exactly the batches that would have followed, on any number of hosts.

        Raises:
          ValueError: the rows of a shape cannot be cut into so many blocks.
        """
        for shape in self.shapes:
            _block_size(shape, rows)
        stream = _Stream(self, rows)
        return iter(grain.MapDataset.source(stream).to_iter_dataset(_READ_OPTIONS))

    def epoch_plan(self, epoch: int) -> EpochPlan:
        """The batches of an epoch, by number of pair: a pure function of (seed, epoch)."""
        return self._batcher.epoch(np.random.default_rng([self._seed, epoch]))

    def batch(self, plan: EpochPlan, index: int, rows: RowBlocks = ALL_ROWS) -> Batch:
        """The arrays of one batch of an epoch's plan, or of some of its rows."""
        packed = isinstance(self._batcher, Packing)
        return fill(plan.batch(index), self._pairs, packed, rows)

    @property
    def fingerprint(self) -> int:
        """Equal for pairs of the same lengths, on every host that has the same text."""
        return _fingerprint(self._pairs)


class EvalData:
    """Validation pairs as batches: every pair exactly once, always in the same order.

    Attributes:
      shapes: of the batches; one evaluation step is compiled for each.
      num_pairs: pairs in the batches.
      dropped: number of pairs left out, by reason.
      padding: tokens and cells of one pass.
    """

    def __init__(self, pairs: Pairs, batcher: Buckets, dropped: dict[str, int]):
        """See `build_eval_data`."""
        self._pairs, self._plan = pairs, batcher.epoch(None)
        self.shapes: tuple[Shape, ...] = batcher.shapes
        self.num_pairs = len(pairs)
        self.dropped = dropped
        self.padding: Padding = batcher.padding

    def __len__(self) -> int:
        """Number of batches."""
        return len(self._plan.starts)

    def batches(self, rows: RowBlocks = ALL_ROWS) -> Iterator[Batch]:
        """One pass over all batches, or some rows of each."""
        for i in range(len(self)):
            yield fill(self._plan.batch(i), self._pairs, False, rows)

    @property
    def fingerprint(self) -> int:
        """See `TrainData.fingerprint`."""
        return _fingerprint(self._pairs)


def build_train_data(
    config: DataConfig, tokenizer: Tokenizer, corpus: Corpus, seed: int, row_multiple: int = 8
) -> TrainData:
    """Tokenises the training text and plans its batches, see `plan_train_data`."""
    return plan_train_data(config, encode_pairs(tokenizer, corpus), seed, row_multiple)


def plan_train_data(
    config: DataConfig, pairs: Pairs | PreparedPairs, seed: int, row_multiple: int = 8
) -> TrainData:
    """Filters and plans the training pairs.

    Args:
      config: `max_length`, `max_length_ratio`, `batch_tokens`, `packing` and `max_shapes` are read.
      pairs: as ids, in memory or on disk.
      seed: of the order.
      row_multiple: the rows of every batch are a multiple of it, so that devices, hosts and
        accumulated micro-batches can share them.

    Raises:
      UserError: no pair passes the filters, or `batch_tokens` is too small for the longest.
    """
    pairs, dropped = _filtered("training", pairs, config.max_length, config.max_length_ratio)
    if config.packing:
        batcher = Packing(*pairs.lengths, config.batch_tokens, config.max_length, row_multiple)
    else:
        batcher = Buckets(*pairs.lengths, config.batch_tokens, row_multiple, config.max_shapes)
    return TrainData(pairs, batcher, seed, dropped)


def build_eval_data(
    config: DataConfig, tokenizer: Tokenizer, corpus: Corpus, row_multiple: int = 8
) -> EvalData:
    """Tokenises and plans validation pairs, never packed, in at most four shapes.

    Pairs with an empty side or more than `max_length` tokens have no part in the loss; `dropped`
    counts them. They still are translated for BLEU, which does not go through here.

    Raises:
      UserError: no pair is left, or `batch_tokens` is too small for the longest.
    """
    pairs = encode_pairs(tokenizer, corpus)
    pairs, dropped = _filtered("validation", pairs, config.max_length, float("inf"))
    batcher = Buckets(*pairs.lengths, config.batch_tokens, row_multiple, _EVAL_SHAPES)
    return EvalData(pairs, batcher, dropped)


def encode_pairs(tokenizer: Tokenizer, corpus: Corpus) -> Pairs:
    """Ids of both sides, see `encode`."""
    target = encode(tokenizer, corpus.target, target=True)
    return Pairs(encode(tokenizer, corpus.source), target)


def encode(tokenizer: Tokenizer, texts: Sequence[str], target: bool = False) -> Sentences:
    """Ids of all texts, each ended by EOS, in the smallest unsigned type that holds them.

    They are in the source language, or with `target` in the target language.
    """
    ids_of = tokenizer.encode_target if target else tokenizer.encode
    dtype = np.min_scalar_type(tokenizer.vocab_size - 1)
    ids, lengths = [], [0]
    stream = iter(texts)
    while chunk := list(itertools.islice(stream, _ENCODE_AT_ONCE)):
        encoded = [[*sentence, EOS] for sentence in ids_of(chunk)]
        lengths.extend(map(len, encoded))
        ids.append(np.fromiter(itertools.chain.from_iterable(encoded), dtype))
    return Sentences(np.concatenate(ids), np.cumsum(lengths))


def _filtered(what: str, pairs: Pairs | PreparedPairs, max_length: int, max_length_ratio: float):
    keep, dropped = keep_pairs(*pairs.lengths, max_length, max_length_ratio)
    if not keep.any():
        reasons = ", ".join(f"{count} {reason}" for reason, count in dropped.items() if count)
        raise UserError(
            f"No sentence pair of the {what} text is left ({reasons}); "
            f"raise config.data.max_length ({max_length}) or check the text."
        )
    return pairs.select(np.flatnonzero(keep)), dropped


def fill(
    plan: BatchPlan,
    pairs: Pairs | PreparedPairs,
    packed: bool,
    blocks: RowBlocks = ALL_ROWS,
) -> Batch:
    """The arrays of a planned batch, or some blocks of its rows, one after the other."""
    size = _block_size(plan.shape, blocks)
    rows = len(blocks[0]) * size
    place = np.full(blocks[1], -1)  # of each block among those that are filled
    place[list(blocks[0])] = np.arange(len(blocks[0]))
    own = place[plan.rows // size] >= 0
    taken, row_of = pairs.take(plan.pairs[own]), plan.rows[own]
    row_of = place[row_of // size] * size + row_of % size
    ids, segments, positions, _ = _fill_side(taken.source, row_of, (rows, plan.shape.source_length))
    out, target_segments, target_positions, cells = _fill_side(
        taken.target, row_of, (rows, plan.shape.target_length)
    )
    target_in = np.zeros_like(out)
    target_in.flat[cells[1:]] = out.flat[cells[:-1]]
    target_in[(target_positions == 0) & (target_segments > 0)] = BOS
    return Batch(
        source=ids,
        source_segments=segments,
        source_positions=positions if packed else None,
        target_in=target_in,
        target_out=out,
        target_segments=target_segments,
        target_positions=target_positions if packed else None,
    )


def _block_size(shape: Shape, blocks: RowBlocks) -> int:
    if shape.rows % blocks[1]:
        raise ValueError(f"{shape.rows} rows cannot be cut into {blocks[1]} blocks.")
    return shape.rows // blocks[1]


def _fingerprint(pairs: Pairs | PreparedPairs) -> int:
    return zlib.crc32(np.stack(pairs.lengths))


def _fill_side(sentences: Sentences, row_of: np.ndarray, shape: tuple[int, int]):
    """(ids, segments, positions) of `shape`, and the flat cells taken, in order."""
    lengths = sentences.lengths
    first = np.searchsorted(row_of, row_of)  # of the pairs in the same row
    before = np.cumsum(lengths) - lengths
    cells = ranges(row_of * shape[1] + before - before[first], lengths)
    ids, segments, positions = (np.full(shape, PAD, np.int32) for _ in range(3))
    ids.flat[cells] = sentences.ids
    segments.flat[cells] = np.repeat(np.arange(len(row_of)) - first + 1, lengths)
    positions.flat[cells] = ranges(np.zeros_like(lengths), lengths)
    return ids, segments, positions, cells


class _Stream:
    """Grain's random-access source: batch i of an endless training."""

    def __init__(self, data: TrainData, rows: RowBlocks):
        self._data, self._rows = data, rows
        self._plans: dict[int, EpochPlan] = {}
        self._lock = threading.Lock()  # of prefetching threads, one makes an epoch's plan

    def __len__(self) -> int:
        return sys.maxsize

    def __getitem__(self, index: int) -> Batch:
        epoch, offset = divmod(index, self._data.steps_per_epoch)
        return self._data.batch(self._plan(epoch), offset, self._rows)

    def _plan(self, epoch: int) -> EpochPlan:
        with self._lock:
            if epoch not in self._plans:
                recent = {e: p for e, p in self._plans.items() if e == epoch - 1}
                self._plans = recent | {epoch: self._data.epoch_plan(epoch)}
            return self._plans[epoch]
