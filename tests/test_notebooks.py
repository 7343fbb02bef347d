"""Each notebook runs from its first cell to its last, and its .ipynb is what the text says."""

import os
import pathlib
import re
import subprocess
import sys

import nbclient
import pytest

from notebooks import build

ROOT = pathlib.Path(__file__).parents[1]
TEXTS = build.texts()
# Notebooks that train take as many steps as this says; what they claim of a model that has learnt,
# they check when it is not set.
STEPS = 30


@pytest.fixture(params=TEXTS, ids=lambda text: text.stem)
def text(request):
    return request.param


def cells(text, kind):
    return [cell.source for cell in build.notebook(text).cells if cell.cell_type == kind]


def test_runs_from_top_to_bottom(text, monkeypatch, tmp_path):
    monkeypatch.setenv("NOTEBOOK_STEPS", str(STEPS))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    notebook = build.notebook(text)
    here = {"metadata": {"path": str(text.parent)}}
    nbclient.NotebookClient(notebook, timeout=900, resources=here).execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    assert any("image/png" in output.get("data", {}) for output in outputs)
    # What a library says on stderr would be the first thing that a reader wonders about.
    assert [o.text for o in outputs if o.output_type == "stream" and o.name == "stderr"] == []


def test_ipynb_is_made_of_the_text(text):
    message = "`make notebooks` makes it of the text"
    assert text.with_suffix(".ipynb").read_text(encoding="utf-8") == build.ipynb(text), message


def test_there_is_no_ipynb_without_a_text():
    assert sorted(build.FOLDER.glob("*.ipynb")) == [t.with_suffix(".ipynb") for t in TEXTS]


def test_begins_with_title_and_badge(text):
    title, _, picture = cells(text, "markdown")[0].splitlines()[:3]
    assert title.startswith("# ")
    assert picture == build.badge(text.stem)


def test_setup_is_the_same_everywhere(text):
    setup = cells(text, "code")[0]
    assert setup == cells(TEXTS[0], "code")[0]
    assert f"https://github.com/{build.REPOSITORY}" in setup


def test_only_setup_opens_the_network(text):
    rest = "\n".join(cells(text, "code")[1:])
    assert not re.search(
        r"https?:|\b(pip|git|curl|wget|urllib|requests|socket)\b|^[!%]", rest, re.M
    )


def own_text(pairs="", files=()):
    """The sentence pairs that quickstart's cell makes of what a reader gives it."""
    names = {"OWN_PAIRS": pairs, "OWN_FILES": files}
    code = cells(build.FOLDER / "quickstart.py", "code")
    cell = next(cell for cell in code if "if OWN_PAIRS:" in cell)
    exec(cell, names)
    return names["parts"]


def test_quickstart_takes_pasted_pairs_and_files(tmp_path):
    rows = [(f"word {n}", f"Wort {n}") for n in range(60)]
    pasted = own_text(pairs="\n".join("\t".join(row) for row in rows))
    for side, name in enumerate(("a.en", "a.de")):
        (tmp_path / name).write_text("".join(f"{row[side]}\n" for row in rows))
    named = own_text(files=(tmp_path / "a.en", tmp_path / "a.de"))
    for parts in (pasted, named):
        assert {name: len(part) for name, part in parts.items()} == {
            "test": 3,
            "validation": 3,
            "train": 54,
        }
        assert sorted(tuple(row) for part in parts.values() for row in part) == sorted(rows)


def test_quickstart_names_the_line_without_a_tab():
    with pytest.raises(AssertionError, match=r"^Line 2 of OWN_PAIRS"):
        own_text(pairs="one\teins\ntwo zwei")


def run_setup(folder, before=""):
    """Runs the setup cell in `folder`: prints its commands, where it ends, what it has set."""
    script = f"""
import os, subprocess, sys
def note(command, check):
    print(*["python" if part == sys.executable else part for part in command])
    if command[0] == "git":
        os.symlink({str(ROOT)!r}, "transformer-jax")
subprocess.run = note
{before}
{cells(TEXTS[0], "code")[0]}
assert "jax" not in sys.modules
print(pathlib.Path.cwd().resolve())
print("JAX_COMPILATION_CACHE_DIR" in os.environ, sys.path[0])
"""
    environ = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "XLA_FLAGS")}
    environ.pop("JAX_COMPILATION_CACHE_DIR", None)
    return subprocess.run(
        [sys.executable, "-c", script],
        cwd=folder,
        env=environ,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("folder", ["", "notebooks"])
def test_setup_in_a_clone_finds_its_root_and_installs_nothing(folder):
    result = run_setup(ROOT / folder)
    assert result.stdout.splitlines() == [str(ROOT), f"True {ROOT}"], result.stderr


def test_setup_in_colab_clones_and_installs(tmp_path):
    pip = "python -m pip install --quiet --editable transformer-jax[plots]"
    clone = f"git clone --quiet --depth=1 https://github.com/{build.REPOSITORY}"
    colab = "sys.modules['google.colab'] = None"
    first, again = (run_setup(tmp_path, colab).stdout.splitlines() for _ in range(2))
    assert first[:3] == [clone, pip, str(ROOT)]
    assert again[:2] == [pip, str(ROOT)]  # of a restarted kernel


def test_setup_elsewhere_says_what_to_do(tmp_path):
    assert "Open this notebook in a clone of the repository" in run_setup(tmp_path).stderr
