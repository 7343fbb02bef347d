"""manifest.json of a prepared folder: what it is made from, and which stages of that are done."""

import json
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

from transformer import files
from transformer.data.prepared import MANIFEST, read_manifest
from transformer.errors import UserError

Made = tuple[dict[str, Any], list[str]]


class Manifest:
    """Runs stages, each once: a stage counts as done when all its files are there.

    The file is {"recipe": ..., "stages": {name: {"inputs": ..., "files": {file: {"bytes": ...,
    "sha256": ...}}, and the stage's own counts}}}.
    """

    def __init__(self, folder: pathlib.Path, recipe: Mapping[str, Any], say: Callable[[str], None]):
        """Begins the folder, or goes on with it.

        Raises:
          UserError: it was begun with another recipe (what differs is named).
        """
        self._folder, self._say = folder, say
        recipe = json.loads(json.dumps(recipe))  # tuples become the lists that are read back
        self._values = {"recipe": recipe, "stages": {}}
        if (folder / MANIFEST).exists():
            self._values = read_manifest(folder)
            old = self._values["recipe"]
            changed = [key for key in recipe if recipe[key] != old.get(key)]
            if changed:
                what = "; ".join(f"{k} was {old.get(k)!r}, is {recipe[k]!r}" for k in changed)
                raise UserError(
                    f"{folder} is prepared from other text or otherwise ({what}); name another "
                    "--output, or give the old values."
                )

    def stage(
        self, name: str, make: Callable[[], Made], inputs: Mapping[str, str] | None = None
    ) -> dict[str, Any]:
        """The record of a stage, which `make` runs unless it was done with the same inputs.

        Args:
          name: of the stage.
          make: leaves files in the folder, each whole; returns the stage's own counts and the
            files' names.
          inputs: what the stage depends on beside the recipe.
        """
        record = self._values["stages"].get(name)
        if record and record["inputs"] == dict(inputs or {}) and self._is_whole(record):
            self._say(f"{name}: there already")
            return record
        counts, names = make()
        record = {"inputs": dict(inputs or {}), **counts, "files": {}}
        for file in names:
            path = self._folder / file
            facts = {"bytes": path.stat().st_size, "sha256": files.sha256(path)}
            record["files"][file] = facts
        self._values["stages"][name] = record
        files.write(self._folder / MANIFEST, json.dumps(self._values, indent=2) + "\n")
        return record

    def _is_whole(self, record: dict[str, Any]) -> bool:
        return all(
            (self._folder / name).is_file()
            and (self._folder / name).stat().st_size == facts["bytes"]
            for name, facts in record["files"].items()
        )
