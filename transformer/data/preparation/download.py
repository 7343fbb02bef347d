"""Files from the web, checked before they are used: downloads go on where they were cut off."""

import http.client
import pathlib
import posixpath
import shutil
import tarfile
import urllib.request
from collections.abc import Callable, Sequence
from typing import NamedTuple

import tqdm

from transformer import files
from transformer.errors import UserError

_READ_AT_ONCE = 2**20
_TIMEOUT = 60  # seconds without a byte


class Archive(NamedTuple):
    """A tar file on the web, plain or compressed, and what is known of it."""

    url: str
    size: int  # bytes
    sha256: str

    @property
    def name(self) -> str:
        """The file's name."""
        return posixpath.basename(self.url)


def fetch(archive: Archive, folder: pathlib.Path, say: Callable[[str], None]) -> pathlib.Path:
    """The archive in `folder`, checked; downloaded unless it is there.

    While it is incomplete its name ends in .part, and a further call asks the server for the rest.

    Raises:
      UserError: it cannot be downloaded; or its size or SHA-256 is not the known one: then it is
        set aside with a name that ends in .wrong, and not used.
    """
    path = folder / archive.name
    if path.exists():
        say(f"{archive.name}: checking {path}")
        _check(path, archive)
        return path
    folder.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    say(f"{archive.name}: downloading {archive.size:,} bytes from {archive.url}")
    _download(archive, part)
    _check(part, archive)
    part.replace(path)
    return path


def extract(
    path: pathlib.Path, members: Sequence[str], folder: pathlib.Path, say: Callable[[str], None]
) -> list[pathlib.Path]:
    """The members of a tar file as files in `folder`, each whole; what is there is not redone.

    Raises:
      UserError: the archive is damaged, or has no such member.
    """
    targets = {member: folder / posixpath.basename(member) for member in members}
    missing = {member for member, target in targets.items() if not target.exists()}
    if missing:
        say(f"{path.name}: extracting {', '.join(sorted(missing))}")
        folder.mkdir(parents=True, exist_ok=True)
    try:
        with (
            path.open("rb") as file,
            tqdm.tqdm.wrapattr(file, "read", path.stat().st_size, disable=None) as watched,
            tarfile.open(fileobj=watched, mode="r|*") as tar,
        ):
            while missing and (member := tar.next()):
                name = posixpath.normpath(member.name)
                if name in missing:
                    _copy(tar, member, targets[name])
                    missing.remove(name)
    except (tarfile.TarError, EOFError) as error:
        raise UserError(f"{path} is no whole tar file ({error}); download it anew.") from error
    if missing:
        raise UserError(f"{path} holds no {sorted(missing)[0]}.")
    return list(targets.values())


def _copy(tar: tarfile.TarFile, member: tarfile.TarInfo, target: pathlib.Path) -> None:
    temporary = target.with_name(target.name + ".tmp")
    with tar.extractfile(member) as source, temporary.open("wb") as copy:
        shutil.copyfileobj(source, copy, _READ_AT_ONCE)
    temporary.replace(target)


def _download(archive: Archive, part: pathlib.Path) -> None:
    """Downloads what `part` lacks of the archive."""
    done = part.stat().st_size if part.exists() else 0
    if done >= archive.size:
        return
    request = urllib.request.Request(archive.url)
    if done:
        request.add_header("Range", f"bytes={done}-")
    try:
        with urllib.request.urlopen(request, timeout=_TIMEOUT) as response:
            if response.status != http.client.PARTIAL_CONTENT:
                done = 0  # a server that knows no ranges sends everything
            coming = response.length
            if coming is not None and done + coming != archive.size:
                raise UserError(
                    f"{archive.url} has {done + coming} bytes now, not the {archive.size} that are "
                    f"known; get the known file elsewhere and put it into {part.parent}."
                )
            _receive(response, part, done, archive.size)
    except (OSError, http.client.HTTPException) as error:
        raise _cut_off(archive, part, str(getattr(error, "reason", "") or error)) from error
    if part.stat().st_size < archive.size:
        raise _cut_off(archive, part, "the connection was closed")


def _receive(response: http.client.HTTPResponse, part: pathlib.Path, done: int, size: int) -> None:
    options = {"unit": "B", "unit_scale": True, "disable": None}
    with (
        part.open("ab" if done else "wb") as file,
        tqdm.tqdm(total=size, initial=done, desc=part.stem, **options) as bar,
    ):
        while chunk := response.read1(_READ_AT_ONCE):
            file.write(chunk)
            bar.update(len(chunk))


def _cut_off(archive: Archive, part: pathlib.Path, reason: str) -> UserError:
    have = part.stat().st_size if part.exists() else 0
    return UserError(
        f"Cannot download {archive.url} ({reason}); {have} of {archive.size} bytes are there, and "
        f"the same command goes on from them. Or put the file into {part.parent} yourself."
    )


def _check(path: pathlib.Path, archive: Archive) -> None:
    """Compares size and SHA-256 with the known ones."""
    size = path.stat().st_size
    what, found, known = "bytes", size, archive.size
    if size == archive.size:
        what, found, known = "SHA-256", files.sha256(path), archive.sha256
    if found != known:
        aside = path.with_name(archive.name + ".wrong")
        path.replace(aside)
        raise UserError(
            f"{archive.name} has {what} {found}, not {known} as the known file: it is set aside "
            f"as {aside}; the same command downloads it anew."
        )
