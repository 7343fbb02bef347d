"""Makes notebooks/NAME.ipynb of every notebooks/NAME.py (jupytext's percent format).

    python notebooks/build.py

The text is what one edits and reviews. The .ipynb is what Colab and GitHub open: the same cells,
without outputs.
"""

import pathlib

import jupytext
import nbformat

FOLDER = pathlib.Path(__file__).parent
REPOSITORY = "transformer-jax/transformer-jax"  # owner and name on GitHub


def texts() -> list[pathlib.Path]:
    """The notebooks' texts, by name."""
    return sorted(path for path in FOLDER.glob("*.py") if path != pathlib.Path(__file__))


def badge(name: str) -> str:
    """The Markdown of the picture that opens notebook `name` in Colab."""
    address = f"https://colab.research.google.com/github/{REPOSITORY}/blob/main/notebooks"
    picture = "https://colab.research.google.com/assets/colab-badge.svg"
    return f"[![Open in Colab]({picture})]({address}/{name}.ipynb)"


def notebook(text: pathlib.Path) -> nbformat.NotebookNode:
    """The cells of a text as a notebook that is the same each time it is made."""
    cells = jupytext.reads(text.read_text(encoding="utf-8"), fmt="py:percent").cells
    for number, cell in enumerate(cells):
        cell.id = f"cell-{number}"  # nbformat draws random ones
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    metadata = {"kernelspec": kernel, "language_info": {"name": "python"}}
    return nbformat.v4.new_notebook(cells=cells, metadata=metadata)


def ipynb(text: pathlib.Path) -> str:
    """What the .ipynb beside `text` holds."""
    return nbformat.writes(notebook(text), version=4) + "\n"


if __name__ == "__main__":
    for path in texts():
        path.with_suffix(".ipynb").write_text(ipynb(path), encoding="utf-8")
