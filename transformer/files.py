"""Files on disk: written whole or not at all, and told apart by their SHA-256."""

import hashlib
import os
import pathlib


def write(path: pathlib.Path, content: str | bytes) -> None:
    """Writes a file whole or not at all."""
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_bytes(content.encode() if isinstance(content, str) else content)
    temporary.replace(path)


def sha256(path: str | os.PathLike[str]) -> str:
    """SHA-256 of what a file holds, in hexadecimal; the file is not held in memory."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
