"""The tokenizer of Marian's models: a SentencePiece model for each language, one table of ids.

Models such as OPUS-MT's come with `source.spm` and `target.spm`, which cut text into pieces, and
`vocab.json`, which gives the pieces of both their ids.
"""

import io
import json
import os
import re
import zipfile
from collections.abc import Mapping, Sequence

import numpy as np
import sentencepiece
from jaxtyping import Integer

from transformer.data.tokenizer import UNK, Tokenizer
from transformer.errors import UserError

SOURCE, TARGET, TABLE = FILES = "source.spm", "target.spm", "vocab.json"
PAD_PIECE, EOS_PIECE, UNK_PIECE = "<pad>", "</s>", "<unk>"  # as Hugging Face's tables name them

_LANGUAGE = re.compile(r">>[^<>]+<<")


class MarianTokenizer(Tokenizer):
    """Marian's pieces, numbered so that the reserved ids are this project's.

    Marian's decoder begins with its padding, whose row of the embedding is therefore BOS's here;
    PAD has no counterpart there. All other pieces follow in Marian's order. Some models translate
    into several languages: the source then begins with a piece such as >>deu<<, which is taken
    from the text whole.

    Attributes:
      files: content of each of `FILES`.
      marian_ids: for every id the one that vocab.json has, and -1 for PAD.
    """

    def __init__(self, model_proto: bytes):
        """See `from_bytes`; the bytes are those that `from_files` packs."""
        self.model_proto = model_proto
        self.files = _unpack(model_proto)
        self._source, self._target = (_processor(self.files[name], name) for name in FILES[:2])
        table = _table(self.files[TABLE])
        by_id = sorted(table, key=table.__getitem__)
        reserved = [table[piece] for piece in (PAD_PIECE, EOS_PIECE, UNK_PIECE)]
        rest = [i for i in range(len(table)) if i not in reserved]
        self.marian_ids = np.array([-1, *reserved, *rest])
        self._pieces = [PAD_PIECE, "<s>", EOS_PIECE, UNK_PIECE, *(by_id[i] for i in rest)]
        self._ids = {piece: i for i, piece in enumerate(self._pieces)}

    @classmethod
    def from_files(cls, files: Mapping[str, bytes]) -> "MarianTokenizer":
        """The tokenizer of the contents of `FILES`.

        Raises:
          UserError: one of them is not what its name says, or the table cannot work.
        """
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w") as archive:  # no compression: equal files, equal bytes
            for name in FILES:
                archive.writestr(zipfile.ZipInfo(name), files[name])
        return cls(packed.getvalue())

    @property
    def vocab_size(self) -> int:
        """Number of pieces, PAD included, which Marian's table does not have."""
        return len(self._pieces)

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Ids of each text in the source language, without BOS and EOS."""
        return self._encode(self._source, texts)

    def encode_target(self, texts: Sequence[str]) -> list[list[int]]:
        """Ids of each text in the target language, without BOS and EOS."""
        return self._encode(self._target, texts)

    def _encode(
        self, processor: sentencepiece.SentencePieceProcessor, texts: Sequence[str]
    ) -> list[list[int]]:
        encoded = []
        for text in texts:
            text = " ".join(text.split())
            language = _LANGUAGE.match(text)
            if language and language[0] in self._ids:
                pieces = [language[0], *processor.encode(text[language.end() :], out_type=str)]
            else:
                pieces = processor.encode(text, out_type=str)
            encoded.append([self._ids.get(piece, UNK) for piece in pieces])
        return encoded

    def decode(
        self, ids: Sequence[Sequence[int]] | Integer[np.ndarray, "sentences length"]
    ) -> list[str]:
        """Text of each sequence, see `Tokenizer.decode`; its whitespace, too, is reduced."""
        sequences = ids.tolist() if isinstance(ids, np.ndarray) else ids
        words = [self.pieces(self._words_only(sequence)) for sequence in sequences]
        # The source's pieces, which the target's model does not know, keep their sign for a space.
        texts = (self._target.decode_pieces(row).replace("▁", " ") for row in words)
        return [" ".join(text.split()) for text in texts]

    def pieces(self, ids: Sequence[int]) -> list[str]:
        """The pieces of one sequence as SentencePiece writes them, reserved ones included."""
        return [self._pieces[i] for i in ids]


def load_tokenizer(path: str | os.PathLike[str]) -> Tokenizer:
    """Reads a vocabulary of either kind. Raises UserError where `Tokenizer.load` does."""
    return (MarianTokenizer if zipfile.is_zipfile(path) else Tokenizer).load(path)


def _unpack(packed: bytes) -> dict[str, bytes]:
    try:
        with zipfile.ZipFile(io.BytesIO(packed)) as archive:
            return {name: archive.read(name) for name in FILES}
    except (zipfile.BadZipFile, KeyError) as error:
        raise UserError(f"These bytes do not hold {', '.join(FILES)}.") from error


def _processor(model: bytes, name: str) -> sentencepiece.SentencePieceProcessor:
    try:
        if model:
            return sentencepiece.SentencePieceProcessor(model_proto=model)
    except RuntimeError:
        pass
    raise UserError(f"{name} is not a SentencePiece model.")


def _table(content: bytes) -> dict[str, int]:
    """Ids by piece: 0, 1, 2, ... without a gap, the reserved pieces among them."""
    try:
        table = json.loads(content)
    except ValueError as error:
        raise UserError(f"{TABLE} is not valid JSON.") from error
    if not isinstance(table, dict) or sorted(map(str, table.values())) != sorted(
        map(str, range(len(table)))
    ):
        raise UserError(f"{TABLE} must give each piece an id of its own, from 0 on without a gap.")
    for piece in (PAD_PIECE, EOS_PIECE, UNK_PIECE):
        if piece not in table:
            raise UserError(f"{TABLE} has no piece {piece}.")
    return table
