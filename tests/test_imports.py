"""README's map is true: imports only point down, and the modules it names are there."""

import ast
import pathlib
import re

import pytest

ROOT = pathlib.Path(__file__).parents[1]
# README's floors from the top; packages of one floor do not know each other.
FLOORS = (
    ("reporting", "interop", "hardware"),
    ("training",),
    ("visualization", "evaluation"),
    ("decoding",),
    ("model", "data"),
    ("config", "sharding", "hosts"),
    ("errors", "files"),
)
FLOOR = {name: floor for floor, names in enumerate(FLOORS) for name in names}
MODULES = sorted((ROOT / "transformer").rglob("*.py"))


def imported(path):
    """The names of all modules that a file imports, wherever in it."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_only_point_down(path):
    own = path.relative_to(ROOT).with_suffix("").parts[1]
    if own == "__init__":
        return
    for name in imported(path):
        first, *rest = name.split(".")
        assert first not in ("configs", "experiments", "tests", "notebooks"), name
        if first == "transformer" and rest[0] != own:
            assert FLOOR[own] < FLOOR[rest[0]] or FLOOR[own] >= 5, name


def test_readme_names_every_floor_and_module():
    readme = (ROOT / "README.md").read_text()
    rule = re.search(r"Imports only point down: (.*?)\.\n", readme, re.S)[1]
    named = [re.findall(r"\w+", floor) for floor in rule.split("→")]
    assert named == [["experiments"], *map(list, FLOORS[:-1])]
    tree = readme.partition("\ntransformer/\n")[2].partition("```")[0]
    names = {path.name for path in MODULES if path.name != "__init__.py"}
    packages = ("grammar", "preparation", "interop", "hardware", "reporting", "visualization")
    listed = {p.name for p in MODULES if p.parent.name not in packages} - {"__init__.py"}
    assert set(re.findall(r"\w+\.py", tree)) <= names
    assert listed <= set(re.findall(r"\w+\.py", tree))
