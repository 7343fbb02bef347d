"""Table 3 of the paper: variations on the base model, English-German, scored on newstest2013.

    python experiments/train.py --config=configs/table3.py:C2 --workdir=runs/table3/C2

Rows: base, A1 to A4, B1, B2, C1 to C7, D1 to D4, E, big. Every row is the base model but for what
`changes` says; the last checkpoint is scored alone, for the table's caption has no averaging.
"""

from collections.abc import Mapping
from typing import NamedTuple

from ml_collections import ConfigDict

from configs import base
from transformer.errors import choose


class Row(NamedTuple):
    """What a row changes, by dotted key, and the paper's figures; None where a cell is blank."""

    changes: Mapping[str, str | int | float]
    perplexity: float  # per word piece, on newstest2013
    bleu: float
    parameters: int | None = None  # millions


ROWS = {
    "base": Row({}, 4.92, 25.8, 65),
    # d_k = d_v = d_model / h follows from h.
    "A1": Row({"model.num_heads": 1}, 5.29, 24.9),
    "A2": Row({"model.num_heads": 4}, 5.00, 25.5),
    "A3": Row({"model.num_heads": 16}, 4.91, 25.8),
    "A4": Row({"model.num_heads": 32}, 5.01, 25.4),
    # d_v stays 64.
    "B1": Row({"model.d_k": 16}, 5.16, 25.1, 58),
    "B2": Row({"model.d_k": 32}, 5.01, 25.4, 60),
    "C1": Row({"model.num_layers": 2}, 6.11, 23.7, 36),
    "C2": Row({"model.num_layers": 4}, 5.19, 25.3, 50),
    "C3": Row({"model.num_layers": 8}, 4.88, 25.5, 80),
    "C4": Row({"model.d_model": 256}, 5.75, 24.5, 28),  # d_k = d_v = 32 follow
    "C5": Row({"model.d_model": 1024}, 4.66, 26.0, 168),  # d_k = d_v = 128 follow
    "C6": Row({"model.d_ff": 1024}, 5.12, 25.4, 53),
    "C7": Row({"model.d_ff": 4096}, 4.75, 26.2, 90),
    "D1": Row({"model.dropout_rate": 0.0}, 5.77, 24.6),
    "D2": Row({"model.dropout_rate": 0.2}, 4.95, 25.5),
    "D3": Row({"training.label_smoothing": 0.0}, 4.67, 25.3),
    "D4": Row({"training.label_smoothing": 0.2}, 5.47, 25.7),
    "E": Row({"model.positions": "learned"}, 4.92, 25.7),
    "big": Row(
        {
            "model.d_model": 1024,
            "model.d_ff": 4096,
            "model.num_heads": 16,
            "model.dropout_rate": 0.3,
            "training.num_steps": 300_000,
        },
        4.33,
        26.4,
        213,
    ),
}


def get_config(row: str = "base") -> ConfigDict:
    """The base config with a row's changes; it remembers which row it is."""
    config = base.get_config()
    config.training.average_last = 1
    config.experiment = f"table3:{row}"
    for key, value in choose(ROWS, row, "row of Table 3").changes.items():
        section, name = key.split(".")
        config[section][name] = value
    return config
