"""Pieces of a vocabulary as a reader likes to see them."""

from collections.abc import Sequence

_WORD = "▁"  # what SentencePiece writes before a piece that begins a word


def labels(pieces: Sequence[str]) -> list[str]:
    """One label a piece: without the sign for a space, and with "·" where a word goes on.

    A space alone is "␣"; punctuation stays as it is. Tokens without a single such sign are words,
    and kept.
    """
    if not any(piece.startswith(_WORD) for piece in pieces):
        return list(pieces)
    return [_label(piece) for piece in pieces]


def _label(piece: str) -> str:
    if piece.startswith(_WORD):
        return piece.removeprefix(_WORD) or "␣"
    goes_on = any(map(str.isalnum, piece)) and not piece.startswith("<")
    return f"·{piece}" if goes_on else piece
