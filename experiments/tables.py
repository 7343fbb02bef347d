"""Tables on the terminal, in Markdown and in LaTeX."""

from collections.abc import Sequence

from absl import flags
from tabulate import tabulate

_STYLES = {"text": "simple", "markdown": "github", "latex": "latex_booktabs"}


def format_flag(*formats: str) -> flags.FlagHolder[str]:
    """Defines --format, whose values are `formats`, the first by default."""
    return flags.DEFINE_enum("format", formats[0], formats, "of what is printed")


def table(head: Sequence[str], rows: Sequence[Sequence[str]], style: str) -> str:
    """Rows of text under a head, columns of numbers flush right.

    `style` is "text", "markdown" or "latex".
    """
    if style == "markdown":
        head, *rows = ([cell.replace("|", "\\|") for cell in row] for row in (head, *rows))
    columns = zip(*rows, strict=True)
    align = ["right" if any(map(_is_number, column)) else "left" for column in columns]
    return tabulate(rows, head, _STYLES[style], disable_numparse=True, colalign=align or None)


def _is_number(cell: str) -> bool:
    return cell.lstrip("+-")[:1].isdigit()
