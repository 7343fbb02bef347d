"""The curves of a run as SVG that is part of the page: its colours, its fonts, its dark mode."""

import io
import math
import re
from typing import Any, NamedTuple
from xml.etree import ElementTree

from transformer.errors import UserError
from transformer.reporting.run import Record, Run

# matplotlib writes these colours, and the page's own stand in their place.
_COLOURS = {
    "#000001": "var(--ink)",
    "#000002": "var(--muted)",
    "#000003": "var(--rule)",
    "#000004": "var(--first)",
    "#000005": "var(--second)",
    "#000006": "var(--third)",
}
_INK, _MUTED, _RULE, *_LINES = _COLOURS
_STYLE = {
    "svg.fonttype": "none",  # text stays text: it can be read out, searched and copied
    "font.size": 11,
    "text.color": _INK,
    "axes.labelcolor": _INK,
    "axes.edgecolor": _MUTED,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "grid.color": _RULE,
    "xtick.color": _MUTED,
    "ytick.color": _MUTED,
    "xtick.labelcolor": _INK,
    "ytick.labelcolor": _INK,
    "legend.frameon": False,
    "lines.linewidth": 1.6,
    "lines.markersize": 4,
}
_INCHES = (5.0, 3.0)  # so small that its text can still be read on a telephone
_FEW_POINTS = 25  # of which each is marked


class Line(NamedTuple):
    """One curve: `values[i]` at optimizer step `steps[i]`."""

    label: str
    steps: list[int]
    values: list[float]


class Figure(NamedTuple):
    """Curves that share their axes."""

    title: str
    unit: str  # of the values
    lines: list[Line]
    in_nats: bool = False  # values are nats a token: an axis at the right tells the perplexity

    @property
    def description(self) -> str:
        """What a reader who cannot see the figure should know of it."""
        return " ".join(f"{_told(line)}." for line in self.lines)


def figures(run: Run) -> list[Figure]:
    """The figures that the records of a run give; those without a point are left out."""
    averages = {record["kind"]: [record] for record in run.averages}
    made = [
        Figure(
            "Loss",
            "nats a token",
            [
                _line("training, with label smoothing", run.train, "loss"),
                _line("training", run.train, "nll"),
                _line("validation", run.validation, "loss"),
            ],
            in_nats=True,
        ),
        Figure(
            "Validation BLEU",
            "BLEU",
            [
                _line("single checkpoint", run.validation, "bleu"),
                *(_line(kind, records, "bleu") for kind, records in averages.items()),
            ],
        ),
        Figure("Learning rate", "", [_line("learning rate", run.train, "learning_rate")]),
        Figure(
            "Throughput",
            "real target tokens a second",
            [_line("training", run.train, "tokens_per_second")],
        ),
    ]
    made = [f._replace(lines=[line for line in f.lines if line.steps]) for f in made]
    return [figure for figure in made if figure.lines]


def draw(figure: Figure, name: str) -> ElementTree.Element:
    """The figure as an <svg> element without namespaces, to stand in a page of HTML.

    `name` must be its own on the page: ids are made of it.

    Raises:
      UserError: matplotlib is not installed.
    """
    try:
        import matplotlib
        from matplotlib.figure import Figure as Canvas
    except ImportError as error:
        raise UserError("The curves need matplotlib: pip install -e .[plots]") from error

    with matplotlib.rc_context(_STYLE | {"svg.hashsalt": name}):
        canvas = Canvas(figsize=_INCHES, layout="constrained")
        axes = canvas.subplots()
        for line, colour in zip(figure.lines, _LINES * len(figure.lines), strict=False):
            marker = "o" if len(line.steps) <= _FEW_POINTS else None
            axes.plot(line.steps, line.values, color=colour, marker=marker, label=line.label)
        _label(axes, figure)
        written = io.StringIO()
        canvas.savefig(written, format="svg", metadata={"Date": None}, transparent=True)
    return _part_of_the_page(written.getvalue(), figure, name)


def _line(label: str, records: list[Record], key: str) -> Line:
    return Line(label, [r["step"] for r in records], [float(r[key]) for r in records])


def _told(line: Line) -> str:
    first, last = (f"{line.values[i]:.4g} at step {line.steps[i]:,}" for i in (0, -1))
    if len(line.steps) == 1:
        return f"{line.label}: {last}"
    low, high = min(line.values), max(line.values)
    return f"{line.label}: from {first} to {last}, between {low:.4g} and {high:.4g}"


def _label(axes: Any, figure: Figure) -> None:
    """Names and numbers of the axes."""
    from matplotlib.ticker import MaxNLocator

    axes.set_xlabel("step")
    axes.set_ylabel(figure.unit)
    axes.set_xlim(left=0)
    axes.xaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10], integer=True))
    axes.xaxis.set_major_formatter(lambda step, _: f"{step:,.0f}")
    axes.yaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
    axes.yaxis.set_major_formatter(lambda value, _: _number(value))
    if len(figure.lines) > 1:
        axes.legend()
    if figure.in_nats:
        right = axes.secondary_yaxis("right")
        low, high = axes.get_ylim()
        perplexities = [p for p in _one_two_five() if low <= math.log(p) <= high]
        right.set_yticks([math.log(p) for p in perplexities], [_number(p) for p in perplexities])
        right.set_ylabel("perplexity")


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def _one_two_five() -> list[float]:
    """1, 2, 5, 10, ... up to half a million, far beyond any vocabulary's perplexity."""
    return [leading * 10.0**exponent for exponent in range(6) for leading in (1, 2, 5)]


def _part_of_the_page(svg: str, figure: Figure, name: str) -> ElementTree.Element:
    """Takes out of matplotlib's document what has no place in a page, and names the rest."""
    for written, own in _COLOURS.items():
        svg = svg.replace(written, own)
    # The page decides on the font; its rules would not win over those of an element itself.
    svg = re.sub(r"font-family: [^;\"]*;? ?", "", svg)
    root = ElementTree.fromstring(svg)
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2]
        element.attrib = {key.rpartition("}")[2]: v for key, v in element.attrib.items()}
        if element.tag == "g":
            element.attrib.pop("id", None)  # the same in every figure, and nothing refers to it
    for unwanted in ("metadata", "defs"):  # the latter has rules that would hold for all the page
        root.remove(root.find(unwanted))
    for attribute in ("width", "height", "version"):
        del root.attrib[attribute]
    root.attrib |= {"role": "img", "aria-labelledby": f"{name}-title {name}-description"}
    for position, (tag, text) in enumerate([("title", figure.title), ("desc", figure.description)]):
        ending = "title" if tag == "title" else "description"
        element = ElementTree.Element(tag, {"id": f"{name}-{ending}"})
        element.text = text
        root.insert(position, element)
    return root
