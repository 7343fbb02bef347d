"""What the documentation names is there: files, functions, tests and scripts."""

import ast
import pathlib
import re

import pytest

ROOT = pathlib.Path(__file__).parents[1]
PAGES = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")]
LINK = re.compile(r"\]\(([^)#\s]+)[^)]*\)")


def names_of(path):
    """Functions, methods and classes that a file defines."""
    kinds = (ast.FunctionDef, ast.ClassDef)
    return {node.name for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, kinds)}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    for link in LINK.findall(page.read_text()):
        assert "://" in link or (page.parent / link).exists(), link


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_tests_and_scripts_that_are_named_exist(page):
    text = page.read_text()
    shown = re.findall(r"^# (configs/\w+\.py)$", text, re.M)  # as a file for the reader to write
    for name in re.findall(r"experiments/\w+\.py|configs/\w+\.py|tests/\w+\.py", text):
        assert name in shown or (ROOT / name).exists(), name
    for path, test in re.findall(r"(tests/[\w/]+\.py)::(\w+)", text):
        assert test in names_of(ROOT / path), (path, test)


def test_the_tour_names_what_the_files_beside_it_define():
    sections = (ROOT / "docs" / "tour.md").read_text().split("\n## ")
    named = 0
    for section in sections:
        files = [ROOT / "docs" / link for link in LINK.findall(section) if link.endswith(".py")]
        defined = set().union(*map(names_of, files))
        code = re.findall(r"`([a-z_]\w*)\(\)`|`([A-Z][a-z]\w+)`", section)
        missing = {a or b for a, b in code} - defined
        assert not missing, (section.splitlines()[0], missing)
        named += len(code)
    assert len(sections) == 11 and named > 40
