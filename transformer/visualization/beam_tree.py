"""A beam search as a picture: what it kept, what it dropped, and which hypothesis won."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from transformer.decoding.beam_tree import BeamTree
from transformer.visualization.figures import new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's colours, which colour-blind readers tell apart.
_LIVE, _FINISHED, _BEST, _DROPPED = "#0072B2", "#009E73", "#D55E00", "0.55"
_COLUMN, _ROW = 1.25, 0.62  # inches of a node
_LETTERS = 11  # of a token, that fit into a column


def draw_beam_tree(tree: BeamTree, pieces: Callable[[Sequence[int]], list[str]]) -> "Figure":
    """The tree from the top down: a row a step, the continuations that were looked at side by side.

    Each shows its token and its log probability so far (nats). Those of one parent stand together,
    better ones first, and so no lines cross. A finished hypothesis shows its score, too; those that
    are returned are numbered, and the path to the first of them is drawn in another colour.

    Args:
      tree: from `transformer.decoding.beam_tree`.
      pieces: from token ids to what is shown, `Tokenizer.pieces` say.

    Raises:
      UserError: matplotlib is not installed.
    """
    places = _places(tree)
    columns = max(x for x, _ in places) + 1
    rows = tree.nodes[-1].length + 1
    figure = new_figure(columns * _COLUMN + 0.6, rows * _ROW + 0.6)
    axes = figure.subplots()
    best_path = {0, *tree.path(tree.hypotheses[0])} if tree.hypotheses else {0}
    for number, node in enumerate(tree.nodes):
        if node.parent >= 0:
            _draw_line(axes, places[node.parent], places[number], _colour(tree, number, best_path))
    for number in range(len(tree.nodes)):
        _draw_node(axes, tree, number, places[number], pieces, _colour(tree, number, best_path))
    axes.set(xlim=(-0.55, columns - 0.45), ylim=(rows - 0.5, -0.5), yticks=range(rows))
    axes.set_ylabel("step")
    axes.set_xticks([])
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    _draw_legend(axes)
    return figure


def _places(tree: BeamTree) -> list[tuple[int, int]]:
    """(column, row) of every node: rows keep the order of the parents, so that no lines cross."""
    steps = defaultdict(list)
    for number, node in enumerate(tree.nodes):
        steps[node.length].append(number)
    column = {}
    for row in sorted(steps):
        ordered = sorted(steps[row], key=lambda n: (column.get(tree.nodes[n].parent, 0), n))
        column |= {number: place for place, number in enumerate(ordered)}
    return [(column[number], node.length) for number, node in enumerate(tree.nodes)]


def _colour(tree: BeamTree, number: int, best_path: set[int]) -> str:
    if number in best_path:
        return _BEST
    return {"live": _LIVE, "finished": _FINISHED, "dropped": _DROPPED}[tree.nodes[number].fate]


def _draw_line(axes: "Axes", start: tuple[int, int], end: tuple[int, int], colour: str) -> None:
    dropped = colour == _DROPPED
    axes.plot(
        [start[0], end[0]],
        [start[1] + 0.28, end[1] - 0.28],
        color=colour,
        linewidth=0.8 if dropped else 2.5 if colour == _BEST else 1.5,
        linestyle=":" if dropped else "-",
        zorder=2 if colour == _BEST else 1,
    )


def _draw_node(
    axes: "Axes",
    tree: BeamTree,
    number: int,
    place: tuple[int, int],
    pieces: Callable[[Sequence[int]], list[str]],
    colour: str,
) -> None:
    node = tree.nodes[number]
    token = pieces([node.token])[0]
    token = token if len(token) <= _LETTERS else f"{token[: _LETTERS - 1]}…"
    text = f"{token}\n{_signed(node.total)}"
    if node.fate == "finished":
        rank = f"{tree.hypotheses.index(number) + 1}: " if number in tree.hypotheses else ""
        text = f"{token} {_signed(node.total)}\n{rank}score {_signed(node.score)}"
    box, returned = None, number in tree.hypotheses and node.fate == "finished"
    if node.fate != "dropped":
        fill = colour if returned else "white"
        box = {"boxstyle": "round,pad=0.25", "edgecolor": colour, "facecolor": fill}
    axes.text(
        *place,
        text,
        ha="center",
        va="center",
        fontsize=9,
        linespacing=1.1,
        color="white" if returned else "black" if box else "0.35",
        bbox=box,
        zorder=3,
    )


def _signed(value: float) -> str:
    return f"{value:.2f}".replace("-", "−")


def _draw_legend(axes: "Axes") -> None:
    from matplotlib.lines import Line2D

    kinds = {
        "best hypothesis": {"color": _BEST, "linewidth": 2.5},
        "kept": {"color": _LIVE, "linewidth": 1.5},
        "dropped": {"color": _DROPPED, "linewidth": 0.8, "linestyle": ":"},
        "finished": {"color": _FINISHED, "linewidth": 1.5},
    }
    axes.legend(
        [Line2D([], [], **style) for style in kinds.values()],
        kinds,
        loc="lower center",
        bbox_to_anchor=(0.5, 1.0),
        ncols=len(kinds),
        frameon=False,
        fontsize=9,
    )
