"""Files and folders on disk: written whole or not at all, and told apart by their SHA-256."""

import contextlib
import errno
import hashlib
import os
import pathlib
import shutil
from collections.abc import Iterator

from transformer.errors import UserError


def is_special(path: str | os.PathLike[str]) -> bool:
    """Whether `path` is there and no regular file: a pipe, a device, a folder."""
    return os.path.exists(path) and not os.path.isfile(path)


def disk_is_full(error: BaseException | None) -> bool:
    """Whether `error`, or what it came from, says that there is no room for more.

    Libraries that write by themselves keep the system's words, but not its exception.
    """
    while error is not None:
        if any(os.strerror(number) in str(error) for number in (errno.ENOSPC, errno.EDQUOT)):
            return True
        error = error.__cause__ or error.__context__
    return False


def write(path: pathlib.Path, content: str | bytes) -> None:
    """Writes a file whole or not at all.

    Of a link it is the file that the link leads to. What is there and is no regular file, a pipe or
    a device, is opened and written as it is.
    """
    data = content.encode() if isinstance(content, str) else content
    if is_special(path):
        path.write_bytes(data)
        return
    path = pathlib.Path(os.path.realpath(path))
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_bytes(data)
    temporary.replace(path)


@contextlib.contextmanager
def new_folder(path: pathlib.Path) -> Iterator[pathlib.Path]:
    """A folder to fill, which becomes `path` if all goes well and is removed if not.

    Raises:
      UserError: `path` exists and is not an empty folder, or cannot be written.
    """
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise UserError(f"{path} exists and is not an empty folder; name a new one.")
    temporary = path.absolute().with_name(f"{path.absolute().name}.tmp")
    try:
        temporary.mkdir(parents=True)
    except OSError as error:
        raise UserError(f"{temporary} cannot be made: {error.strerror}.") from error
    try:
        yield temporary
        temporary.replace(path)
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error.strerror}.") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def sha256(path: str | os.PathLike[str]) -> str:
    """SHA-256 of what a file holds, in hexadecimal; the file is not held in memory."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
