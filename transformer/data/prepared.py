"""A corpus that lies ready on disk, as experiments/prepare.py leaves it.

    manifest.json              what it was made from and how; counts; bytes and SHA-256 of each file
    vocabulary.model
    train/00000.array_record   pairs: ids of the source, EOS, ids of the target, EOS
    train/lengths.npy          tokens of every pair's two sides, EOS included
    validation.en  validation.de  test.en  test.de

Training reads pairs by their number when a batch needs them, so a host holds the lengths in memory
(from which batches are planned), never the text. Any host may read any pair: the files are as many
as is handy to copy, and stand for no host. Ids and not text, because then nothing is tokenised when
training starts, or twice; the vocabulary that they belong to lies beside them.
"""

import json
import pathlib
from typing import Any

import grain
import numpy as np
from array_record.python.array_record_module import ArrayRecordWriter
from jaxtyping import Int, Integer

from transformer.config import DataConfig
from transformer.data.tokenizer import EOS, Pairs, Sentences, Tokenizer
from transformer.errors import UserError

MANIFEST, VOCABULARY, TRAIN, LENGTHS = "manifest.json", "vocabulary.model", "train", "lengths.npy"
VOCABULARY_STAGE = "vocabulary"  # stages beside it: TRAIN and the held-out splits

_PAIRS_A_FILE = 2**18
_WRITER_OPTIONS = "group_size:1,uncompressed"  # one pair a group, since pairs are read one by one


class PreparedPairs:
    """Sentence pairs on disk, of which only the lengths are in memory."""

    def __init__(
        self,
        records: grain.sources.ArrayRecordDataSource,
        lengths: Integer[np.ndarray, "pairs 2"],
        dtype: np.dtype,
        order: tuple[int, int],
        numbers: Integer[np.ndarray, "pairs"] | None = None,
    ):
        """Pairs are `records[numbers]`, by default all; `order` (1, 0) exchanges their sides."""
        self._records, self._dtype, self._order = records, dtype, order
        self._lengths = lengths
        self._numbers = np.arange(len(lengths), dtype=np.int32) if numbers is None else numbers

    def __len__(self) -> int:
        """Number of pairs."""
        return len(self._numbers)

    @property
    def lengths(self) -> tuple[Int[np.ndarray, "pairs"], Int[np.ndarray, "pairs"]]:
        """Tokens of each source and of each target sentence, EOS included."""
        source, target = (self._lengths[:, side].astype(np.int64) for side in self._order)
        return source, target

    def select(self, indices: Integer[np.ndarray, "chosen"]) -> "PreparedPairs":
        """The chosen pairs, in the order of `indices`; nothing is read."""
        lengths, numbers = self._lengths[indices], self._numbers[indices]
        return PreparedPairs(self._records, lengths, self._dtype, self._order, numbers)

    def take(self, indices: Integer[np.ndarray, "chosen"]) -> Pairs:
        """Reads the chosen pairs, in the order of `indices`.

        Raises:
          UserError: a record does not hold what its lengths say.
        """
        numbers = self._numbers[indices].tolist()
        raw = b"".join(self._records.__getitems__(numbers)) if numbers else b""
        lengths = self._lengths[indices].astype(np.int64).ravel()
        sides = Sentences(np.frombuffer(raw, self._dtype), np.append(0, np.cumsum(lengths)))
        whole = len(sides.ids) == sides.offsets[-1]
        if not whole or (sides.ids[sides.offsets[1:] - 1] != EOS).any():
            raise UserError("The prepared training pairs are damaged; copy or prepare them anew.")
        first = np.arange(0, len(lengths), 2)
        source, target = (sides.take(first + side) for side in self._order)
        return Pairs(source, target)


class PairsWriter:
    """Writes pairs into a folder; after `close`, `lengths.npy` and every pair are there."""

    def __init__(self, folder: pathlib.Path, dtype: np.dtype):
        """Writes ids of `dtype` into `folder`, which exists and is empty."""
        self._folder, self._dtype = folder, dtype
        self._lengths: list[np.ndarray] = []
        self._file: ArrayRecordWriter | None = None
        self.count = 0

    def add(self, pairs: Pairs) -> None:
        """Appends pairs."""
        self._lengths.append(np.stack(pairs.lengths, axis=1).astype(np.uint32))
        sides = [
            (side.ids.astype(self._dtype).tobytes(), side.offsets * self._dtype.itemsize)
            for side in (pairs.source, pairs.target)
        ]
        for i in range(len(pairs)):
            if self.count % _PAIRS_A_FILE == 0:
                self._next_file()
            self._file.write(b"".join(raw[cut[i] : cut[i + 1]] for raw, cut in sides))
            self.count += 1

    def close(self) -> None:
        """Ends the last file."""
        if self._file is not None:
            self._file.close()
        lengths = np.concatenate([np.zeros((0, 2), np.uint32), *self._lengths])
        np.save(self._folder / LENGTHS, lengths.astype(np.min_scalar_type(lengths.max(initial=0))))

    def _next_file(self) -> None:
        if self._file is not None:
            self._file.close()
        name = f"{self.count // _PAIRS_A_FILE:05}.array_record"
        self._file = ArrayRecordWriter(str(self._folder / name), _WRITER_OPTIONS)


def read_manifest(folder: pathlib.Path) -> dict[str, Any]:
    """What manifest.json of a prepared folder says.

    Raises:
      UserError: there is none, or it is not valid JSON.
    """
    path = folder / MANIFEST
    try:
        return json.loads(path.read_text())
    except OSError as error:
        raise UserError(
            f"Cannot read {path} ({error.strerror}); experiments/prepare.py makes such folders."
        ) from error
    except ValueError as error:
        raise UserError(f"{path} is not valid JSON; prepare the folder anew.") from error


def open_prepared(
    config: DataConfig, tokenizer: Tokenizer | None
) -> tuple[PreparedPairs, Tokenizer]:
    """The training pairs of `config.prepared_dir`, in the order of `config.languages`.

    Args:
      config: also `max_length` and `max_length_ratio` are read: what they leave out beyond the
        folder's own bounds, `plan_train_data` does.
      tokenizer: of the run that goes on with them, None for a new one.

    Returns:
      The pairs, and the vocabulary that their ids belong to.

    Raises:
      UserError: the folder is unfinished or lacks a file; it is of other languages, of another
        vocabulary than `tokenizer` or `config.vocab_path`, or of tighter bounds than the config's.
    """
    folder, manifest = pathlib.Path(config.prepared_dir), read_manifest(_folder(config))
    recipe, stages = manifest["recipe"], manifest["stages"]
    if not {VOCABULARY_STAGE, TRAIN} <= set(stages):
        raise UserError(f"{folder} is not finished; the command that began it goes on with it.")
    files = stages[VOCABULARY_STAGE]["files"] | stages[TRAIN]["files"]
    for name, facts in files.items():
        path = folder / name
        if not path.is_file() or path.stat().st_size != facts["bytes"]:
            raise UserError(f"{path} is missing or damaged; copy or prepare the folder anew.")
    for key in ("max_length", "max_length_ratio"):
        if getattr(config, key) > recipe[key]:
            raise UserError(
                f"config.data.{key} is {getattr(config, key)}, but {folder} holds pairs up to "
                f"{recipe[key]}; lower it, or prepare another folder with --{key}."
            )
    order = _order(config, manifest)
    stored = Tokenizer.load(folder / VOCABULARY)
    wanted = tokenizer or (Tokenizer.load(config.vocab_path) if config.vocab_path else stored)
    if wanted.fingerprint != stored.fingerprint:
        raise UserError(
            f"{folder} was prepared with another vocabulary than "
            + ("the run's." if tokenizer else f"{config.vocab_path} (config.data.vocab_path).")
        )
    records = [str(folder / name) for name in sorted(files) if name.endswith(".array_record")]
    pairs = PreparedPairs(
        grain.sources.ArrayRecordDataSource(records),
        np.load(folder / TRAIN / LENGTHS),
        np.dtype(stages[TRAIN]["dtype"]),
        order,
    )
    return pairs, stored


def held_out(config: DataConfig, split: str) -> tuple[str, str] | None:
    """The source file and the target file of "validation" or "test"; None if there are none.

    Raises:
      UserError: the folder is not a prepared one, or of other languages than the config's.
    """
    manifest = read_manifest(_folder(config))
    if split not in manifest["stages"]:
        return None
    _order(config, manifest)
    source, target = (str(_folder(config) / f"{split}.{name}") for name in config.languages)
    return source, target


def _folder(config: DataConfig) -> pathlib.Path:
    return pathlib.Path(config.prepared_dir)


def _order(config: DataConfig, manifest: dict[str, Any]) -> tuple[int, int]:
    """Which sides of the records are source and target."""
    languages = tuple(manifest["recipe"]["languages"])
    if sorted(languages) != sorted(config.languages):
        raise UserError(
            f"{config.prepared_dir} is of the languages {languages}; config.data.languages asks "
            f"for {config.languages}."
        )
    first = languages.index(config.languages[0])
    return first, 1 - first
