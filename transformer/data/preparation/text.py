"""Where text to prepare comes from: the user's files, archives on the web, sacreBLEU's test sets.

Each is asked for `identity()`, what decides its content, before anything is downloaded, and for
`paths(place)`, pairs of text files.
"""

import pathlib
import tarfile
from collections.abc import Callable
from typing import NamedTuple

import sacrebleu

from transformer import files
from transformer.data.preparation.download import Archive, extract, fetch
from transformer.errors import UserError

PathPair = tuple[str, str]


class Place(NamedTuple):
    """Where files that are got on the way are put."""

    downloads: pathlib.Path
    extracted: pathlib.Path
    say: Callable[[str], None]


class TextFiles(NamedTuple):
    """Two files of the user, plain or .gz."""

    source: str
    target: str

    def identity(self) -> list[str]:
        """Name, size and SHA-256 of each file. Raises UserError if one cannot be read."""
        return [_identity(path) for path in self]

    def paths(self, place: Place) -> list[PathPair]:
        """The files as they lie."""
        return [tuple(self)]


class Part(NamedTuple):
    """Two members of an archive that are each other's translation."""

    archive: Archive
    members: tuple[str, str]


class Archives(NamedTuple):
    """Parts of a corpus, one after the other."""

    parts: tuple[Part, ...]

    def identity(self) -> list[str]:
        """Members and the SHA-256 of their archive."""
        return [f"{', '.join(part.members)}, sha256 {part.archive.sha256}" for part in self.parts]

    def paths(self, place: Place) -> list[PathPair]:
        """Downloads, checks and extracts what is not there yet. Raises UserError as these do."""
        found = []
        for archive, members in self.parts:
            paths = [place.extracted / pathlib.Path(member).name for member in members]
            if not all(path.exists() for path in paths):
                extract(
                    fetch(archive, place.downloads, place.say), members, place.extracted, place.say
                )
            found.append(tuple(map(str, paths)))
        return found


class SacrebleuSet(NamedTuple):
    """A test set that sacreBLEU downloads, checks and keeps in ~/.sacrebleu or $SACREBLEU."""

    name: str
    languages: tuple[str, str]

    def identity(self) -> list[str]:
        """The set's name."""
        return [f"{self.name} {'-'.join(self.languages)} of sacreBLEU"]

    def paths(self, place: Place) -> list[PathPair]:
        """Its source and its one reference. Raises UserError if they cannot be downloaded."""
        pair = "-".join(self.languages)
        try:
            source = sacrebleu.get_source_file(self.name, pair)
            (reference,) = sacrebleu.get_reference_files(self.name, pair)
        # sacreBLEU ends the process (SystemExit) where a checksum is wrong.
        except (OSError, tarfile.TarError, SystemExit) as error:
            raise UserError(
                f"Cannot get {self.identity()[0]} ({error}); try again, or give text files with "
                "--validation and --test."
            ) from error
        return [(source, reference)]


def _identity(path: str) -> str:
    if files.is_special(path):
        raise UserError(f"{path} is no file; it is read more than once, as no pipe can be.")
    try:
        size, digest = pathlib.Path(path).stat().st_size, files.sha256(path)
    except OSError as error:
        raise UserError(f"Cannot read {path}: {error.strerror}.") from error
    return f"{pathlib.Path(path).name}, {size} bytes, sha256 {digest}"
