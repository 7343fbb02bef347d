"""Attention weights as matplotlib figures, after Figures 3 to 5 of the paper.

Queries stand at the left and keys at the top, as the rows and columns of equation 1's softmax.
Nothing here touches pyplot: each function makes a `matplotlib.figure.Figure` of its own, or draws
on the axes that it is given.
"""

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float, UInt8

from transformer.errors import UserError
from transformer.visualization.labels import labels

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's palette, which the colour-blind can tell apart; black last.
HEAD_COLOURS = (
    "#0072B2",
    "#D55E00",
    "#009E73",
    "#CC79A7",
    "#E69F00",
    "#56B4E9",
    "#F0E442",
    "#000000",
)
_COLOURS = "Blues"  # one hue, ever darker: right for the colour-blind and in print
_CELL = 0.36  # inches a token, with its name
_SMALL_CELL = 0.11  # without


def new_figure(width: float, height: float) -> "Figure":
    """An empty figure of so many inches.

    Raises:
      UserError: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise UserError("The figures need matplotlib: pip install -e .[plots]") from error
    return Figure(figsize=(width, height), layout="constrained")


def attention_map(
    weights: Float[np.ndarray, "T S"],
    queries: Sequence[str],
    keys: Sequence[str],
    title: str = "",
    axes: "Axes | None" = None,
) -> "Figure":
    """The weights of one head (or of a mean of heads) as a map, white 0 and dark 1."""
    if axes is None:
        longest = max(map(len, [*queries, *keys])) * 0.07
        size = len(keys) * _CELL + longest + 1.2, len(queries) * _CELL + longest + 0.5
        axes = new_figure(*size).subplots()
        axes.figure.colorbar(_draw_map(axes, weights), ax=axes, shrink=0.8, label="weight")
    else:
        _draw_map(axes, weights)
    axes.set_xticks(range(len(keys)), labels(keys), rotation=60, ha="left", rotation_mode="anchor")
    axes.set_yticks(range(len(queries)), labels(queries))
    axes.tick_params(length=0, top=False, labeltop=True, bottom=False, labelbottom=False)
    axes.set_title(title)
    return axes.figure


def head_maps(
    weights: Float[np.ndarray, "H T S"],
    queries: Sequence[str],
    keys: Sequence[str],
    title: str = "",
    columns: int = 4,
    each: str = "head",
) -> "Figure":
    """All heads of a layer, a map each, `columns` beside one another; `each` is named so."""
    heads = len(weights)
    columns = min(columns, heads)
    rows = -(-heads // columns)
    longest = max(map(len, [*queries, *keys])) * 0.06
    width = columns * (len(keys) * 0.22 + 0.25) + longest + 0.8
    height = rows * (len(queries) * 0.22 + longest * 0.8 + 0.2) + 0.3
    figure = new_figure(width, height)
    figure.get_layout_engine().set(hspace=0.04)
    grid = figure.subplots(rows, columns, squeeze=False)
    for head, axes in enumerate(grid.flat):
        if head >= heads:
            axes.set_axis_off()
            continue
        attention_map(weights[head], queries, keys, axes=axes)
        axes.set_title(f"{each} {head + 1}", fontsize=10)
        axes.tick_params(labelsize=8)
        if head % columns:
            axes.set_yticks([])
    figure.colorbar(grid[0, 0].images[0], ax=grid, shrink=0.6, aspect=30, label="weight")
    figure.suptitle(title)
    return figure


def layer_maps(weights: Float[np.ndarray, "N H T S"], title: str = "") -> "Figure":
    """Small maps of every head of every layer: what each looks like, without words."""
    layers, heads, queries, keys = weights.shape
    width = heads * (max(keys * _SMALL_CELL, 0.8) + 0.1) + 1.3
    height = layers * (max(queries * _SMALL_CELL, 0.8) + 0.1) + 0.9
    figure = new_figure(width, height)
    grid = figure.subplots(layers, heads, squeeze=False)
    for layer in range(layers):
        for head in range(heads):
            axes = grid[layer, head]
            _draw_map(axes, weights[layer, head])
            axes.set_xticks([])
            axes.set_yticks([])
            if layer == 0:
                axes.set_title(f"head {head + 1}", fontsize=10)
            if head == 0:
                axes.set_ylabel(f"layer {layer + 1}", fontsize=10)
    figure.colorbar(grid[0, 0].images[0], ax=grid, shrink=0.7, aspect=30, label="weight")
    figure.suptitle(title)
    return figure


def attention_lines(
    weights: Float[np.ndarray, "H T S"],
    queries: Sequence[str],
    keys: Sequence[str],
    shown: Collection[int] | None = None,
    title: str = "",
    axes: "Axes | None" = None,
) -> "Figure":
    """Two columns of words, queries at the left, and a line where one looks at the other.

    As in the paper's Figures 3 to 5 a head has a colour of its own, and a line is as strong as the
    weight; up to eight heads can be told apart. `shown` are the queries whose lines are drawn
    (all); a map of a single head is `weights[head:head + 1]`.
    """
    shown = range(len(queries)) if shown is None else shown
    longest = max(map(len, [*queries, *keys]))
    if axes is None:
        height = max(len(queries), len(keys)) * 0.24 + 0.6
        axes = new_figure(2.2 + 2 * longest * 0.09, height).subplots()
    for head, own in enumerate(weights):
        colour = HEAD_COLOURS[head % len(HEAD_COLOURS)]
        aside = (head - (len(weights) - 1) / 2) * 0.5 / len(weights)  # lest heads hide one another
        for query in shown:
            for key in np.flatnonzero(own[query] > 0.01):
                weight, places = float(own[query, key]), (query + aside, key + aside)
                axes.plot((0, 1), places, color=colour, alpha=weight, lw=0.4 + 2 * weight)
    for x, side, texts in ((-0.04, "right", labels(queries)), (1.04, "left", labels(keys))):
        for y, text in enumerate(texts):
            faint = side == "right" and y not in shown
            axes.text(x, y, text, ha=side, va="center", color="0.6" if faint else "black")
    axes.set_xlim(-0.1, 1.1)
    axes.set_ylim(max(len(queries), len(keys)) - 0.4, -0.6)
    axes.set_axis_off()
    axes.set_title(title)
    if len(weights) > 1:
        for head in range(len(weights)):
            colour = HEAD_COLOURS[head % len(HEAD_COLOURS)]
            axes.plot([], [], color=colour, lw=3, label=f"head {head + 1}")
        axes.legend(
            loc="upper center",
            bbox_to_anchor=(0.5, 0),
            ncols=min(4, len(weights)),
            frameon=False,
            handlelength=1,
        )
    return axes.figure


def pixels(figure: "Figure") -> UInt8[np.ndarray, "height width 3"]:
    """The figure as an image, red, green and blue."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3]


def _draw_map(axes: "Axes", weights: np.ndarray):
    axes.spines[:].set_color("0.8")
    return axes.imshow(weights, cmap=_COLOURS, vmin=0, vmax=1, aspect="equal")
