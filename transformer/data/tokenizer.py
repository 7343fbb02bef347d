"""Text to ids and back: SentencePiece, and the four reserved ids, which live here only."""

import dataclasses
import hashlib
import io
import os
import pathlib
import random
import re
from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple

import numpy as np
import sentencepiece
from jaxtyping import Int, Integer

from transformer.errors import UserError

PAD, BOS, EOS, UNK = 0, 1, 2, 3

_RESERVED = 4
_TRAINER_THREADS = 4  # unigram sums depend on it in the last bit: fixed, so models are repeatable
_TRAINER_SENTENCES = 4_000_000  # a larger corpus is sampled; more text changes no vocabulary
_MOST_PIECES = 10**8  # no text has so many; near 2^31 SentencePiece never ends
_TRAINER_BYTES = 4192  # SentencePiece skips longer sentences


class Tokenizer:
    """A SentencePiece model: one joint vocabulary for both languages (section 5.1).

    Text is taken as a sequence of words: any run of whitespace counts as one space and none is
    kept at the ends. Within words ``decode(encode([text])) == [text]`` for every character,
    because characters outside the vocabulary are spelt in bytes. (One exception: U+2581, the sign
    that SentencePiece itself writes for a space, is read as a space.)
    """

    def __init__(self, model_proto: bytes):
        """See `from_bytes`."""
        try:
            self._processor = sentencepiece.SentencePieceProcessor(model_proto=model_proto)
        except RuntimeError as error:
            raise UserError("These bytes are not a SentencePiece model.") from error
        if not model_proto:
            raise UserError("A SentencePiece model cannot be empty.")
        found = (
            self._processor.pad_id(),
            self._processor.bos_id(),
            self._processor.eos_id(),
            self._processor.unk_id(),
        )
        if found != (PAD, BOS, EOS, UNK):
            raise UserError(
                f"The SentencePiece model has the ids {found} for pad, bos, eos and unk; train it "
                f"with --pad_id={PAD} --bos_id={BOS} --eos_id={EOS} --unk_id={UNK}."
            )
        self.model_proto = model_proto

    @classmethod
    def from_bytes(cls, model_proto: bytes) -> "Tokenizer":
        """The tokenizer of a serialised SentencePiece model.

        Raises:
          UserError: the bytes are no such model, or its reserved ids are not PAD, BOS, EOS, UNK.
        """
        return cls(model_proto)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "Tokenizer":
        """Reads a model file. Raises UserError where `from_bytes` does, or without a file."""
        try:
            model_proto = pathlib.Path(path).read_bytes()
        except OSError as error:
            raise UserError(f"Cannot read the vocabulary {path}: {error.strerror}.") from error
        try:
            return cls(model_proto)
        except UserError as error:
            raise UserError(f"Cannot use the vocabulary {path}: {error}") from error

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the model file that `load` and SentencePiece's own tools read."""
        pathlib.Path(path).write_bytes(self.model_proto)

    @property
    def vocab_size(self) -> int:
        """Number of pieces, the reserved ones included."""
        return self._processor.vocab_size()

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the model: equal fingerprints give equal ids."""
        return hashlib.sha256(self.model_proto).hexdigest()

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Ids of each text, without BOS and EOS."""
        return self._processor.encode([" ".join(text.split()) for text in texts])

    def encode_target(self, texts: Sequence[str]) -> list[list[int]]:
        """The same for text in the target language, which need not be cut as the source is."""
        return self.encode(texts)

    def decode(
        self, ids: Sequence[Sequence[int]] | Integer[np.ndarray, "sentences length"]
    ) -> list[str]:
        """Text of each sequence, up to its first EOS; PAD and BOS are left out.

        Its whitespace is what `encode` makes of it: a model may put newlines together from byte
        pieces, and a text must stay one line of the file that it is written to.
        """
        sequences = ids.tolist() if isinstance(ids, np.ndarray) else ids
        words = [self._words_only(sequence) for sequence in sequences]
        texts = self._processor.decode(words) if words else []
        return [" ".join(text.split()) for text in texts]

    def pieces(self, ids: Sequence[int]) -> list[str]:
        """The pieces of one sequence as SentencePiece writes them, reserved ones included."""
        return [self._processor.id_to_piece(i) for i in ids]

    @staticmethod
    def _words_only(sequence: Sequence[int]) -> list[int]:
        kept = []
        for i in sequence:
            if i == EOS:
                break
            if i not in (PAD, BOS):
                kept.append(i)
        return kept


class Sentences(NamedTuple):
    """Token sequences laid end to end: sentence i is `ids[offsets[i]:offsets[i + 1]]`."""

    ids: Integer[np.ndarray, "tokens"]
    offsets: Int[np.ndarray, "sentences_plus_1"]

    @property
    def lengths(self) -> Int[np.ndarray, "sentences"]:
        """Number of tokens of each sentence."""
        return np.diff(self.offsets)

    def take(self, indices: Integer[np.ndarray, "chosen"]) -> "Sentences":
        """The chosen sentences, in the order of `indices`."""
        starts = self.offsets[indices]
        lengths = self.offsets[indices + 1] - starts
        return Sentences(self.ids[ranges(starts, lengths)], np.append(0, np.cumsum(lengths)))


@dataclasses.dataclass(frozen=True)
class Pairs:
    """Sentence pairs in memory: `target`'s sentence i is the translation of `source`'s."""

    source: Sentences
    target: Sentences

    def __len__(self) -> int:
        """Number of pairs."""
        return len(self.source.offsets) - 1

    @property
    def lengths(self) -> tuple[Int[np.ndarray, "pairs"], Int[np.ndarray, "pairs"]]:
        """Tokens of each source and of each target sentence, EOS included."""
        return self.source.lengths, self.target.lengths

    def take(self, indices: Integer[np.ndarray, "chosen"]) -> "Pairs":
        """The chosen pairs, in the order of `indices`."""
        return Pairs(self.source.take(indices), self.target.take(indices))

    select = take  # where pairs lie on disk, choosing some and reading them are two things


def train_tokenizer(
    sentences: Iterable[str], vocab_size: int, vocab_type: Literal["bpe", "unigram"] = "bpe"
) -> Tokenizer:
    """Learns a vocabulary of exactly `vocab_size` pieces from the sentences of both languages.

    Byte-pair encoding as in section 5.1, with 256 byte pieces for characters too rare for the
    vocabulary (so that nothing is ever unknown) and no normalisation of characters. The result
    depends on nothing but the arguments. Sentences beyond 4192 bytes are skipped, and of more
    than four million a fixed sample is used.

    Raises:
      UserError: `vocab_size` is beyond what the text yields, or too small for its characters and
        the reserved and byte pieces; the message names the bound. Or there is no text.
    """
    model = io.BytesIO()
    sample = _sampled(sentences, _TRAINER_SENTENCES)[::-1]
    try:
        sentencepiece.SentencePieceTrainer.train(
            # Each is let go as SentencePiece takes its copy.
            sentence_iterator=(" ".join(sample.pop().split()) for _ in range(len(sample))),
            model_writer=model,
            vocab_size=min(max(vocab_size, _RESERVED), _MOST_PIECES),
            model_type=vocab_type,
            pad_id=PAD,
            bos_id=BOS,
            eos_id=EOS,
            unk_id=UNK,
            byte_fallback=True,
            character_coverage=0.9995,
            normalization_rule_name="identity",
            input_sentence_size=_TRAINER_SENTENCES,  # never exceeded, but kept in the model file
            shuffle_input_sentence=True,
            num_threads=_TRAINER_THREADS,
            minloglevel=2,  # errors arrive as exceptions; the rest is a flood
        )
    except RuntimeError as error:
        raise _explained(error, vocab_size) from error
    return Tokenizer.from_bytes(model.getvalue())


def _sampled(sentences: Iterable[str], most: int) -> list[str]:
    """At most so many of the sentences that can be learnt from: each as likely, always the same.

    SentencePiece's own sample differs from process to process. The numbers drawn are those that
    every version of Python draws.
    """
    numbers, sample = random.Random(0), []
    for i, sentence in enumerate(filter(_learnable, sentences)):
        if i < most:
            sample.append(sentence)
        elif (place := int(numbers.random() * (i + 1))) < most:
            sample[place] = sentence
    return sample


def _learnable(sentence: str) -> bool:
    """Whether SentencePiece does not skip it, its whitespace reduced."""
    if 4 * len(sentence) > _TRAINER_BYTES:  # as UTF-8 it may be too long
        sentence = " ".join(sentence.split())
        return 0 < len(sentence.encode()) <= _TRAINER_BYTES
    return bool(sentence) and not sentence.isspace()


def ranges(starts: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """arange(start, start + length) of each, concatenated."""
    before = np.cumsum(lengths) - lengths
    return np.repeat(starts - before, lengths) + np.arange(lengths.sum())


def _explained(error: RuntimeError, vocab_size: int) -> Exception:
    """The UserError for a failure of the trainer that its message shows to be the user's."""
    message = str(error)
    if bound := re.search(r"too (?:high|large).*<= (\d+)", message):
        return UserError(
            f"config.data.vocab_size is {vocab_size}, but the training text yields at most "
            f"{bound[1]} pieces; set it to {bound[1]} or less, or train on more text."
        )
    if bound := re.search(r"smaller than required_chars\. \d+ vs (\d+)", message):
        return UserError(
            f"config.data.vocab_size is {vocab_size}, but {_RESERVED} reserved pieces, 256 bytes "
            f"and the characters of the training text need at least {bound[1]}."
        )
    if "sentences_.empty()" in message:
        return UserError("The training text holds no sentence to learn a vocabulary from.")
    return error
