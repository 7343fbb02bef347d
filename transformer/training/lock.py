"""One training at a time in a folder, and one sentence where that cannot be written."""

import contextlib
import fcntl
import os
import pathlib
from collections.abc import Iterator

from transformer import hosts
from transformer.errors import UserError
from transformer.files import disk_is_full


@contextlib.contextmanager
def taken(workdir: pathlib.Path) -> Iterator[None]:
    """Makes `workdir`, and keeps other trainings out of it; a new one that stays empty is removed.

    The first process does. On a file system without locks nobody is kept out.

    Raises:
      UserError: it cannot be written, is being trained in, or its disk is full.
    """
    with contextlib.ExitStack() as stack:
        if hosts.is_first():
            stack.enter_context(_held(workdir))
        try:
            yield
        except Exception as error:
            if not disk_is_full(error):
                raise
            raise UserError(
                f"the disk that {workdir} is on is full; make room, and the same command goes on "
                "from the last checkpoint."
            ) from error


@contextlib.contextmanager
def _held(workdir: pathlib.Path) -> Iterator[None]:
    new = not workdir.exists()
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        if not os.access(workdir, os.W_OK | os.X_OK):
            raise PermissionError(None, "it may not be written to")
        folder = os.open(workdir, os.O_RDONLY)
    except OSError as error:
        raise UserError(f"{workdir} cannot be written: {error.strerror}.") from error
    try:
        with contextlib.suppress(OSError):  # no locks here
            _lock(folder, workdir)
        try:
            yield
        finally:
            if new:
                with contextlib.suppress(OSError):  # it is not empty
                    workdir.rmdir()
    finally:
        os.close(folder)  # and with it the lock, as when the process ends


def _lock(folder: int, workdir: pathlib.Path) -> None:
    try:
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise UserError(
            f"another process is training in {workdir}; end it first, or name another --workdir."
        ) from error
