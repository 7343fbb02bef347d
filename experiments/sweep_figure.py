"""The figure of a sweep: what Table 3 varies against what it does to BLEU, the paper's and here."""

import importlib.util
import pathlib
from collections.abc import Mapping
from typing import NamedTuple

from configs import table3
from transformer.errors import UserError

# For each panel the rows in the order of the values that the paper gives them.
PANELS = {
    "(A) heads h, with h d_k kept": {"A1": "1", "A2": "4", "base": "8", "A3": "16", "A4": "32"},
    "(B) size of a key d_k": {"B1": "16", "B2": "32", "base": "64"},
    "(C) layers N": {"C1": "2", "C2": "4", "base": "6", "C3": "8"},
    "(C) width d_model": {"C4": "256", "base": "512", "C5": "1024"},
    "(C) feed-forward d_ff": {"C6": "1024", "base": "2048", "C7": "4096"},
    "(D) dropout P_drop": {"D1": "0.0", "base": "0.1", "D2": "0.2"},
    "(D) label smoothing": {"D3": "0.0", "base": "0.1", "D4": "0.2"},
    "(E) positions, and big": {"base": "base", "E": "learned", "big": "big"},
}


class Difference(NamedTuple):
    """BLEU of a row minus that of base with the same seed."""

    mean: float
    deviation: float  # over seeds, of a sample
    runs: int


def require_matplotlib() -> None:
    """Raises UserError where it is missing."""
    if importlib.util.find_spec("matplotlib") is None:
        raise UserError("Drawing needs matplotlib: pip install -e .[plots]")


def draw(found: Mapping[str, Difference], folder: pathlib.Path) -> None:
    """Writes sweep.svg and sweep.png; rows that are not there yet are left out."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 6), layout="constrained")
    axes = figure.subplots(2, 4)
    for axis, (title, rows) in zip(axes.flat, PANELS.items(), strict=True):
        here = {row: value for row, value in rows.items() if row in found}
        base = table3.ROWS["base"].bleu
        paper = [table3.ROWS[row].bleu - base for row in rows]
        labels = list(rows.values())
        places = [labels.index(value) for value in here.values()]
        axis.axhline(0, color="0.8", linewidth=1)
        axis.plot(range(len(rows)), paper, "s--", color="0.5", markersize=5, label="the paper")
        axis.errorbar(
            places,
            [found[row].mean for row in here],
            [found[row].deviation for row in here],
            fmt="o-",
            color="tab:blue",
            capsize=3,
            label="here",
        )
        axis.set_title(title, fontsize=10)
        axis.set_xticks(range(len(rows)), labels)
        axis.spines[["top", "right"]].set_visible(False)
    for axis in axes[:, 0]:
        axis.set_ylabel("BLEU against base")
    axes[0, 0].legend(frameon=False, fontsize=9)
    runs = sorted({difference.runs for difference in found.values()})
    seeds = str(runs[0]) if len(runs) == 1 else f"{runs[0]} to {runs[-1]}"
    bars = "one seed" if runs == [1] else f"bars are deviations over {seeds} seeds"
    figure.suptitle(f"Rows of Table 3 against base; values of the paper's models; {bars}")
    for name in ("sweep.svg", "sweep.png"):
        figure.savefig(folder / name, dpi=120)
