"""Where sentence pairs come from: two text files, TensorFlow Datasets, the built-in grammar."""

import gzip
import importlib.util
import io
import itertools
import pathlib
import zlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
from jaxtyping import Bool, Int

from transformer.config import DataConfig
from transformer.errors import UserError

Split = Literal["train", "validation", "test", "test_novel"]  # the last: "grammar" only

_GRAMMAR_TEST_PAIRS = 1000
_READ_AT_ONCE = 1024
_GZIP_MAGIC = b"\x1f\x8b"
_BOM = b"\xef\xbb\xbf"


class Corpus(NamedTuple):
    """Parallel text, of equal length: `target[i]` is the translation of `source[i]`."""

    source: Sequence[str]
    target: Sequence[str]


def load_corpus(config: DataConfig, split: Split, seed: int) -> Corpus:
    """The pairs of a split, in the order of `config.languages`.

    Args:
      config: `source` says where from; the text is held in memory.
      split: of "grammar" and "tfds", or the key that names the files. Of "validation" at most
        `config.validation_pairs` pairs are returned, the first ones. The training pairs of
        "prepared" are no text: `transformer.data.prepared` reads them.
      seed: of the grammar's sentences; text on disk does not depend on it.

    Raises:
      UserError: a file, data set, split or language is missing, a line is not UTF-8, two files
        have different numbers of lines, or there is no pair at all.
    """
    if config.source == "files":
        corpus = _from_files(config, split)
    elif config.source == "tfds":
        corpus = _from_tfds(config, split)
    elif config.source == "prepared":
        corpus = _from_prepared(config, split)
    else:
        corpus = _from_grammar(config, split, seed)
    if not len(corpus.source):
        raise UserError(f'The split "{split}" of config.data.source="{config.source}" is empty.')
    if split == "validation":
        return Corpus(*(side[: config.validation_pairs] for side in corpus))
    return corpus


def has_validation(config: DataConfig) -> bool:
    """Whether there is text to validate on; only own text may lack it. Raises as `load_corpus`."""
    if config.source == "prepared":
        return _held_out(config, "validation") is not None
    return config.source != "files" or bool(config.validation)


def read_lines(path: str | pathlib.Path) -> list[str]:
    """All lines of a text file, see `iter_lines`."""
    return list(iter_lines(path))


def iter_lines(path: str | pathlib.Path) -> Iterator[str]:
    r"""The lines of a UTF-8 text file, plain or gzip-compressed, without their line ends.

    It is read once, from its start to its end, so that it may be a pipe. A line ends at \n alone
    (or \r\n): characters such as U+2028, at which `str.splitlines` cuts too, occur inside sentences
    of web text and would shift all later pairs.

    Raises:
      UserError: the file cannot be read, or a line is not UTF-8 (its number is named).
    """
    try:
        with open(path, "rb") as file:
            compressed = file.peek(len(_GZIP_MAGIC)).startswith(_GZIP_MAGIC)
            text = gzip.GzipFile(fileobj=file) if compressed else file
            yield from _decoded(text, str(path))
    except (OSError, EOFError, zlib.error) as error:  # the last two: damaged gzip
        reason = getattr(error, "strerror", None) or str(error)
        raise UserError(f"Cannot read {path}: {reason.removesuffix('.')}.") from error


def split_lines(raw: bytes, name: str) -> list[str]:
    """The lines of UTF-8 text, see `iter_lines`; `name` says in an error where it is from.

    Raises:
      UserError: a line is not UTF-8 (its number is named).
    """
    return list(_decoded(io.BytesIO(raw), name))


def _decoded(file: io.BufferedIOBase, name: str) -> Iterator[str]:
    for number, line in enumerate(file, start=1):  # bytes: only \n ends a line
        if number == 1:
            line = line.removeprefix(_BOM)
            if not line:  # the mark is all there is
                return
        try:
            text = line.decode("utf-8")
        except UnicodeDecodeError as error:
            raise UserError(f"{name}, line {number}: not valid UTF-8; convert it.") from error
        yield text.removesuffix("\n").removesuffix("\r")


def keep_pairs(
    source_lengths: Int[np.ndarray, "pairs"],
    target_lengths: Int[np.ndarray, "pairs"],
    max_length: int,
    max_length_ratio: float,
) -> tuple[Bool[np.ndarray, "pairs"], dict[str, int]]:
    """Which pairs to keep, and how many are left out for each reason (the first that holds).

    Lengths count EOS, so a side of length 1 is empty.
    """
    shorter = np.minimum(source_lengths, target_lengths)
    longer = np.maximum(source_lengths, target_lengths)
    keep, dropped = np.ones(len(shorter), bool), {}
    for reason, failed in (
        ("empty", shorter <= 1),
        ("too long", longer > max_length),
        ("length ratio", longer > max_length_ratio * shorter),
    ):
        dropped[reason] = int((keep & failed).sum())
        keep &= ~failed
    return keep, dropped


def left_out(dropped: Mapping[str, int]) -> str:
    """The counts of `keep_pairs` with their reasons, in words; empty if nothing was left out."""
    return ", ".join(f"{count:,} {why}" for why, count in dropped.items() if count)


def read_pairs(source_path: str, target_path: str) -> Corpus:
    """All pairs of two text files, see `iter_pairs`."""
    corpus = Corpus([], [])
    for pair in iter_pairs(source_path, target_path):
        for texts, text in zip(corpus, pair, strict=True):
            texts.append(text)
    return corpus


def iter_pairs(source_path: str, target_path: str) -> Iterator[tuple[str, str]]:
    """The pairs of two text files: line n of one is the translation of line n of the other.

    Raises:
      UserError: where `iter_lines` does; or, after the shorter file's last line, because the
        files have different numbers of lines.
    """
    sides = iter_lines(source_path), iter_lines(target_path)
    for count, pair in enumerate(itertools.zip_longest(*sides)):
        if None in pair:  # the rest is counted from here on: a pipe cannot be read again
            source_lines, target_lines = (
                count + (text is not None) + sum(1 for _ in side)
                for text, side in zip(pair, sides, strict=True)
            )
            raise UserError(
                f"{source_path} has {source_lines} lines and {target_path} has {target_lines}; "
                "line n of one must be the translation of line n of the other."
            )
        yield pair


def _from_files(config: DataConfig, split: Split) -> Corpus:
    paths = getattr(config, split)
    if not paths:
        raise UserError(
            f"config.data.{split} names no files; "
            f"set it to \"('{split}.{config.languages[0]}','{split}.{config.languages[1]}')\"."
        )
    return read_pairs(*paths)


def _held_out(config: DataConfig, split: Split) -> tuple[str, str] | None:
    from transformer.data import prepared  # brings JAX, which scripts first have to set up

    return prepared.held_out(config, split)


def _from_prepared(config: DataConfig, split: Split) -> Corpus:
    paths = _held_out(config, split)
    if paths is None:
        raise UserError(
            f"{config.prepared_dir} holds no {split} text; prepare a folder with --{split}."
        )
    return read_pairs(*paths)


def _from_grammar(config: DataConfig, split: Split, seed: int) -> Corpus:
    from transformer.data import grammar

    if set(config.languages) != {"en", "de"}:
        raise UserError(
            "The built-in grammar speaks en and de: set config.data.languages to \"('en','de')\" "
            f"or \"('de','en')\", not {config.languages!r}."
        )
    sizes = {"train": config.grammar_pairs, "validation": config.validation_pairs}
    english, german = grammar.pairs(split, sizes.get(split, _GRAMMAR_TEST_PAIRS), seed)
    return Corpus(english, german) if config.languages[0] == "en" else Corpus(german, english)


def _from_tfds(config: DataConfig, split: Split) -> Corpus:
    builder = _prepared_builder(config)
    if split not in builder.info.splits:
        have = ", ".join(sorted(builder.info.splits))
        raise UserError(f'{config.tfds_name} has no split "{split}", only: {have}.')
    known = list(builder.info.features)
    for language in config.languages:
        if language not in known:
            raise UserError(
                f"{config.tfds_name} has the languages {known}; config.data.languages asks for "
                f'"{language}".'
            )
    corpus = Corpus([], [])
    for record in _records(builder, split):
        for texts, language in zip(corpus, config.languages, strict=True):
            texts.append(record[language].decode("utf-8"))
    return corpus


def _prepared_builder(config: DataConfig) -> Any:
    """The TFDS builder with its data on disk, downloaded if that is not so yet."""
    import tensorflow_datasets as tfds
    import tensorflow_datasets.translate  # WMT is known to tfds.builder only after this

    name = config.tfds_name
    try:
        builder = tfds.builder(name, data_dir=config.tfds_data_dir or None)
    except ValueError as error:  # DatasetNotFoundError is one, too
        raise UserError(
            f"config.data.tfds_name={name!r} is no data set that TensorFlow Datasets knows or "
            "finds in config.data.tfds_data_dir."
        ) from error
    try:
        if not builder.is_prepared():
            builder.download_and_prepare(file_format="array_record")
    except ImportError as error:
        raise UserError(
            f"Preparing {name} needs more packages ({error}): pip install -e .[wmt]"
        ) from error
    except OSError as error:
        raise UserError(
            f"Cannot download and prepare {name} ({error}); text files serve as well, with "
            'config.data.source="files".'
        ) from error
    return builder


def _records(builder: Any, split: Split) -> Iterator[Mapping[str, bytes]]:
    """The records of a split in the order they lie on disk."""
    try:
        source = builder.as_data_source(split=split)
    except NotImplementedError:  # TFDS's older tfrecord format, which only TensorFlow reads
        if importlib.util.find_spec("tensorflow") is None:
            raise UserError(
                f"{builder.info.full_name} was prepared as tfrecord, which takes TensorFlow to "
                "read: pip install -e .[wmt]"
            ) from None
        import tensorflow_datasets as tfds

        yield from tfds.as_numpy(builder.as_dataset(split=split, shuffle_files=False))
        return
    for start in range(0, len(source), _READ_AT_ONCE):
        yield from source.__getitems__(range(start, min(start + _READ_AT_ONCE, len(source))))
