"""From downloads or text files to the folder that training reads: the stages, top to bottom.

validation, test -> text -> vocabulary -> train. Each stage leaves its result whole and is skipped
once it has; a killed preparation goes on with the same call.

Text is taken as it is, but for pairs with an empty side, beyond `max_length` tokens or more than
`max_length_ratio` times as long on one side. Duplicates stay: neither the paper nor the systems it
is compared with take them out, and they would be no longer the corpus that it names.
"""

import collections
import dataclasses
import functools
import itertools
import pathlib
import shutil
from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import tqdm

from transformer.data.corpus import Corpus, iter_lines, iter_pairs, keep_pairs, left_out, read_pairs
from transformer.data.pipeline import encode_pairs
from transformer.data.preparation.manifest import Made, Manifest
from transformer.data.preparation.text import (
    Archives,
    PathPair,
    Place,
    SacrebleuSet,
    TextFiles,
)
from transformer.data.prepared import TRAIN, VOCABULARY, VOCABULARY_STAGE, PairsWriter
from transformer.data.tokenizer import Tokenizer, train_tokenizer
from transformer.errors import UserError
from transformer.files import write

_ENCODE_AT_ONCE = 10_000
_BAR = {"unit": " lines", "unit_scale": True, "disable": None}


@dataclasses.dataclass(frozen=True)
class Recipe:
    """What decides the content of a prepared folder; lengths count tokens with EOS."""

    languages: tuple[str, str]
    train: TextFiles | Archives
    validation: TextFiles | SacrebleuSet | None
    test: TextFiles | SacrebleuSet | None
    vocab_size: int
    vocab_type: Literal["bpe", "unigram"]
    max_length: int
    max_length_ratio: float

    def identity(self) -> dict[str, Any]:
        """The values, with text named by its content. Raises UserError if it cannot be read."""
        values = dict(vars(self))
        for key in ("train", "validation", "test"):
            values[key] = values[key] and values[key].identity()
        return values


def prepare(
    recipe: Recipe, output: pathlib.Path, downloads: pathlib.Path, say: Callable[[str], None]
) -> dict[str, Any]:
    """Makes `output` the folder that `transformer.data.prepared` describes, or finishes it.

    Returns:
      The record of the training pairs: "pairs", "dropped" by reason, "tokens" of each side.

    Raises:
      UserError: a text cannot be had or is broken; `output` holds another preparation, or cannot
        be written; the vocabulary cannot have the wanted size; no pair is left.
    """
    place = Place(downloads, output / "text", say)
    try:
        manifest = Manifest(output, recipe.identity(), say)
        for split in ("validation", "test"):
            if text := getattr(recipe, split):
                copy = functools.partial(_copy_held_out, split, text, recipe, output, place)
                manifest.stage(split, copy)

        @functools.cache
        def train_text() -> tuple[list[PathPair], int]:
            paths = recipe.train.paths(place)
            return paths, _checked(paths, say)

        vocabulary = manifest.stage(
            VOCABULARY_STAGE, lambda: _learn_vocabulary(*train_text(), recipe, output, say)
        )
        train = manifest.stage(
            TRAIN,
            lambda: _write_train(*train_text(), recipe, output, say),
            {VOCABULARY_STAGE: vocabulary["files"][VOCABULARY]["sha256"]},
        )
        shutil.rmtree(place.extracted, ignore_errors=True)
    except OSError as error:
        raise UserError(f"{output} cannot be written: {error.strerror or error}.") from error
    return train


def _copy_held_out(
    split: str,
    text: TextFiles | SacrebleuSet,
    recipe: Recipe,
    output: pathlib.Path,
    place: Place,
) -> Made:
    (paths,) = text.paths(place)
    corpus = read_pairs(*paths)
    output.mkdir(parents=True, exist_ok=True)
    names = [f"{split}.{language}" for language in recipe.languages]
    for name, lines in zip(names, corpus, strict=True):
        write(output / name, "".join(f"{line}\n" for line in lines))
    place.say(f"{split}: {len(corpus.source):,} pairs")
    return {"pairs": len(corpus.source)}, names


def _checked(paths: list[PathPair], say: Callable[[str], None]) -> int:
    """The number of pairs; sides that do not fit each other are refused before hours of work."""
    count = 0
    for pair in paths:
        before = count
        for _ in tqdm.tqdm(iter_pairs(*pair), "checking", **_BAR):
            count += 1
        say(f"{pathlib.Path(pair[0]).name}: {count - before:,} pairs")
    return count


def _learn_vocabulary(
    paths: list[PathPair],
    total: int,
    recipe: Recipe,
    output: pathlib.Path,
    say: Callable[[str], None],
) -> Made:
    say(f"{VOCABULARY_STAGE}: learning {recipe.vocab_size:,} pieces from {total:,} pairs")
    lines = itertools.chain.from_iterable(iter_lines(pair[s]) for s in (0, 1) for pair in paths)
    with tqdm.tqdm(lines, "reading", total=2 * total, **_BAR) as watched:
        tokenizer = train_tokenizer(iter(watched), recipe.vocab_size, recipe.vocab_type)
    output.mkdir(parents=True, exist_ok=True)
    write(output / VOCABULARY, tokenizer.model_proto)
    return {"pieces": tokenizer.vocab_size}, [VOCABULARY]


def _write_train(
    paths: list[PathPair],
    total: int,
    recipe: Recipe,
    output: pathlib.Path,
    say: Callable[[str], None],
) -> Made:
    """Writes the pairs that are kept, in the order of the text."""
    tokenizer = Tokenizer.load(output / VOCABULARY)
    dtype = np.min_scalar_type(tokenizer.vocab_size - 1).newbyteorder("<")
    folder, temporary = output / TRAIN, output / f"{TRAIN}.tmp"
    for leftover in (folder, temporary):
        shutil.rmtree(leftover, ignore_errors=True)
    temporary.mkdir()
    writer, dropped, tokens = PairsWriter(temporary, dtype), collections.Counter(), np.zeros(2, int)
    lines = itertools.chain.from_iterable(iter_pairs(*pair) for pair in paths)
    with tqdm.tqdm(total=total, desc="encoding", **_BAR) as bar:
        while chunk := list(itertools.islice(lines, _ENCODE_AT_ONCE)):
            pairs = encode_pairs(tokenizer, Corpus(*map(list, zip(*chunk, strict=True))))
            keep, reasons = keep_pairs(*pairs.lengths, recipe.max_length, recipe.max_length_ratio)
            kept = pairs.take(np.flatnonzero(keep))
            writer.add(kept)
            dropped.update(reasons)
            tokens += [side.sum() for side in kept.lengths]
            bar.update(len(chunk))
    writer.close()
    reasons = left_out(dropped)
    if not writer.count:
        raise UserError(
            f"No sentence pair is left ({reasons}); raise --max_length or check the text."
        )
    temporary.replace(folder)
    say(f"{TRAIN}: {writer.count:,} pairs" + (f" (left out: {reasons})" if reasons else ""))
    counts = {"pairs": writer.count, "dropped": dict(dropped), "tokens": tokens.tolist()}
    names = sorted(f"{TRAIN}/{path.name}" for path in folder.iterdir())
    return counts | {"dtype": dtype.str}, names
