"""Attention as one interactive page of HTML that needs nothing else: no network, no server.

The reader chooses sentence, kind of attention, layer and head, and points at a token (or tabs to
it, or taps it) to see what it attends: as lines, as shading and in numbers.
"""

import base64
import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from transformer.decoding.inspection import Inspection
from transformer.visualization.attention_page import SCRIPT, STYLE
from transformer.visualization.html import Element, document, element, paragraph
from transformer.visualization.labels import labels

_KINDS = {
    "cross": ("Cross-attention", "output token", "source token"),
    "encoder": ("Encoder", "source token", "source token"),
    "decoder": ("Decoder", "token read so far", "earlier token"),
}
_STEPS = 255  # weights are kept in a byte each: in steps of 0.4 %


def render(inspections: Sequence[Inspection], title: str = "Attention") -> str:
    """The page as one string; pairs without tokens (blank lines) are left out.

    A weight takes 4/3 bytes: a pair of 20 and 20 tokens 154 kB with 6 layers of 8 heads.
    """
    shown = [one for one in inspections if one.target_tokens]
    body = [element("style", STYLE), *_skeleton(title), _data(shown), element("script", SCRIPT)]
    return document(title, "en", body)


def _skeleton(title: str) -> list[Element]:
    kinds = [
        element(
            "label",
            element("input", type="radio", name="kind", value=kind),
            element("span", name),
        )
        for kind, (name, _, _) in _KINDS.items()
    ]
    columns = [
        element("span", id="looks"),
        element("span", "attends to", id="arrow"),
        element("span", id="seen"),
        element("div", id="left", class_="column", role="group"),
        element("svg", id="lines", preserveAspectRatio="none", **{"aria-hidden": "true"}),
        element("div", id="right", class_="column", role="group"),
    ]
    return [
        element("h1", title),
        paragraph(
            "Point at a token, tab to it or tap it, to see its weights. Lines and shading are as "
            "strong as the weight; in numbers it is per cent of the looking token's attention.",
            class_="note",
        ),
        element(
            "div",
            element("label", element("span", "Sentence"), element("select", id="sentence")),
            element("fieldset", element("legend", "Attention"), *kinds),
            class_="controls",
        ),
        element(
            "div",
            element(
                "section",
                element("h2", "Layers and heads"),
                element("div", id="heads", tabindex="-1"),
                class_="picker",
            ),
            element(
                "section",
                element("h2", id="chosen"),
                element("p", id="summary", **{"aria-live": "polite"}),
                element("div", *columns, id="view"),
            ),
            class_="panes",
        ),
        element("noscript", "This page needs JavaScript."),
    ]


def _data(inspections: Sequence[Inspection]) -> Element:
    data = {
        "kinds": _KINDS,
        "steps": _STEPS,
        "sentences": [_pair(inspection) for inspection in inspections],
    }
    # In JSON "<" stands in strings only; without it nothing can end the element.
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")
    return element("script", text, type="application/json", id="data")


def _pair(inspection: Inspection) -> dict[str, Any]:
    layers, heads = inspection.cross_attention.shape[:2]
    return {
        "text": _text(inspection.source_tokens),
        "layers": layers,
        "heads": heads,
        "attention": {
            kind: {
                "tokens": [labels(side) for side in inspection.tokens(kind)],
                "weights": _packed(inspection.attention(kind)),
            }
            for kind in _KINDS
        },
    }


def _packed(weights: np.ndarray) -> str:
    return base64.b64encode(np.rint(weights * _STEPS).astype(np.uint8).tobytes()).decode()


def _text(pieces: Sequence[str]) -> str:
    words = [piece for piece in pieces if piece != "</s>"]
    subwords = any(piece.startswith("▁") for piece in words)
    return "".join(words).replace("▁", " ").strip() if subwords else " ".join(words)
