"""Tables 2 and 3 of the paper, with this code's own figures beside the paper's.

    python experiments/paper_tables.py
    python experiments/paper_tables.py --format=markdown --runs=runs/table3/C1 --runs=runs/table3/C2

Parameters are counted on the real model with the vocabulary of the row's config; FLOPs are those of
its matrix products for the tokens of the whole training. With --runs, trained rows get their last
validation scores: a run knows its row by config.experiment, which configs/table2.py and table3.py
set. Smaller runs of a row count as well, and are marked.
"""

import dataclasses
import functools
import pathlib
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from absl import flags

from configs import table2, table3
from experiments import cli, tables
from transformer import config as config_lib
from transformer.config import Config, ModelConfig
from transformer.errors import UserError
from transformer.reporting.run import read_run

RUNS = flags.DEFINE_multi_string("runs", [], "folder of a trained row; may be given several times")
FORMAT = tables.format_flag("text", "markdown", "latex")

MEAN_LENGTH = 30  # tokens of a WMT14 sentence, about; attention's share of the FLOPs is small


class Measured(NamedTuple):
    """What a run reached, and on what terms."""

    experiment: str
    perplexity: float
    bleu: float
    signature: str
    same_size: bool  # as the row has it in the paper


def main() -> None:
    """See the module's docstring."""
    runs = [_measured(pathlib.Path(run)) for run in RUNS.value]
    style = FORMAT.value
    print(_heading("Table 2: newstest2014, the paper's tokenised BLEU", style))
    print(tables.table(*_filled(*_table2(runs)), style))
    print()
    print(_heading("Table 3: variations of the base model, newstest2013", style))
    print(tables.table(*_filled(*_table3(runs)), style))
    print()
    for note in _notes(runs):
        print(f"- {note}" if style == "markdown" else note)


def _heading(text: str, style: str) -> str:
    return {"text": f"{text}\n", "markdown": f"### {text}\n", "latex": f"% {text}"}[style]


def _table2(runs: Sequence[Measured]) -> tuple[list[str], list[list[str]]]:
    head = ["model", "pair", "BLEU", "FLOPs", "FLOPs here", "parameters here", "BLEU here"]
    rows = []
    for number, pair in enumerate(("En-De", "En-Fr")):
        for other in table2.OTHERS:
            row = other[number]
            name = other[0].model
            if row.bleu is not None:
                rows.append([name, pair, f"{row.bleu:.2f}", _flops(row.training_flops)] + [""] * 3)
        for name, row in table2.ROWS.items():
            if not name.endswith(pair[-2:].lower()):
                continue
            config = config_lib.from_dict(table2.get_config(name))
            paper = [row.model, pair, f"{row.bleu:.1f}", _flops(row.training_flops)]
            here = [_flops(flops(config)), f"{parameters(config):,}"]
            rows.append([*paper, *here, _scores(runs, f"table2:{name}")[1]])
    return head, rows


def _table3(runs: Sequence[Measured]) -> tuple[list[str], list[list[str]]]:
    head = "row N d_model d_ff h d_k d_v P_drop eps steps PPL BLEU params".split()
    head += ["params here", "FLOPs here", "PPL here", "BLEU here"]
    rows, base = [], None
    for name, row in table3.ROWS.items():
        config = config_lib.from_dict(table3.get_config(name))
        model, training = config.model, config.training
        cells = [str(model.num_layers), str(model.d_model), str(model.d_ff), str(model.num_heads)]
        cells += [str(model.d_k), str(model.d_v), str(model.dropout_rate)]
        cells += [str(training.label_smoothing), f"{training.num_steps // 1000}K"]
        base = base or cells
        # As in the paper, a cell that is the base model's stays blank.
        shown = [a if name == "base" or a != b else "" for a, b in zip(cells, base, strict=True)]
        label = f"{name} (learned positions)" if model.positions == "learned" else name
        paper = [f"{row.perplexity:.2f}", f"{row.bleu:.1f}"]
        paper.append("" if row.parameters is None else f"{row.parameters}M")
        here = [f"{parameters(config) / 1e6:.2f}M", _flops(flops(config))]
        rows.append([label, *shown, *paper, *here, *_scores(runs, f"table3:{name}")])
    return head, rows


def _filled(
    head: Sequence[str], rows: Sequence[Sequence[str]]
) -> tuple[list[str], list[list[str]]]:
    """The table without columns that hold nothing, as those of scores without --runs."""
    kept = [n for n in range(len(head)) if any(row[n] for row in rows)]
    return [head[n] for n in kept], [[row[n] for n in kept] for row in rows]


def parameters(config: Config, vocab_size: int | None = None) -> int:
    """Parameters of the model, by default with the config's own vocabulary size."""
    word, rest = _counts(config)
    return rest + word * (vocab_size or config.data.vocab_size)


def _counts(config: Config) -> tuple[int, int]:
    """Parameters for each word of the vocabulary, and all others."""
    return _count(dataclasses.replace(config.model, dropout_rate=0.0))  # which has none


@functools.cache
def _count(model: ModelConfig) -> tuple[int, int]:
    """`_counts`, on the real model."""
    import jax

    from transformer.model.encoder_decoder import logical_axes, split
    from transformer.training.step import abstract_model

    real = abstract_model(model, 1)
    sizes = jax.tree.map(lambda leaf: leaf.size, split(real)[1])
    by_word = jax.tree.map(
        lambda size, axes: size if "vocab" in axes else 0, sizes, logical_axes(real)
    )
    word, total = (sum(jax.tree.leaves(counts)) for counts in (by_word, sizes))
    return word, total - word


def flops(config: Config) -> float:
    """FLOPs of the matrix products of a whole training, at `MEAN_LENGTH` tokens a sentence."""
    from transformer.model.flops import training_flops

    pair = training_flops(config.model, config.data.vocab_size, MEAN_LENGTH, MEAN_LENGTH)
    return pair * config.training.num_steps * config.data.batch_tokens / MEAN_LENGTH


def fitting_vocabularies(names: Iterable[str]) -> tuple[int, int]:
    """The least and the greatest vocabulary with which rows of Table 3 round to its column.

    The first is above the second where no vocabulary fits them all.
    """
    least, greatest = 0, 10**9
    for name in names:
        millions = table3.ROWS[name].parameters
        if millions is None:
            continue
        config = config_lib.from_dict(table3.get_config(name))
        word, rest = _counts(config)
        low, high = (millions - 0.5) * 1e6 - rest, (millions + 0.5) * 1e6 - rest
        least = max(least, -int(-low // word))
        greatest = min(greatest, int(high // word))
    return least, greatest


def _flops(value: float | None) -> str:
    return "" if value is None else f"{value:.1e}".replace("e+", "e")


def _scores(runs: Sequence[Measured], experiment: str) -> list[str]:
    """Perplexity and BLEU of a row's run; the last one given, where there are several."""
    for run in reversed(runs):
        if run.experiment == experiment:
            mark = "" if run.same_size else "*"
            return [f"{run.perplexity:.2f}{mark}", f"{run.bleu:.2f}{mark}"]
    return ["", ""]


def _measured(workdir: pathlib.Path) -> Measured:
    run = read_run(workdir)
    config, last = run.config, run.final
    table, _, row = config.experiment.partition(":")
    rows = {"table2": table2, "table3": table3}
    if table not in rows or row not in rows[table].ROWS:
        raise UserError(
            f"{workdir} is no row of the paper's tables: its config.experiment is "
            f"{config.experiment!r}; train one with --config=configs/table3.py:ROW."
        )
    if last is None:
        raise UserError(f"{workdir} has no validation scores yet; train it on.")
    paper = config_lib.from_dict(rows[table].get_config(row))
    same = config.model == paper.model and config.training.num_steps == paper.training.num_steps
    return Measured(
        config.experiment, last["perplexity"], last["bleu"], last["bleu_signature"], same
    )


def _notes(runs: Sequence[Measured]) -> list[str]:
    small = [name for name in table3.ROWS if name != "big"]
    (least, greatest), big = fitting_vocabularies(small), fitting_vocabularies(["big"])
    notes = [
        "Parameters here are those of a vocabulary of exactly 37,000 (En-Fr 32,000). The paper's "
        f'column, "about 37,000", fits {least:,} to {greatest:,} rows of the matrix in all rows '
        f"of Table 3 but big, which fits {big[0]:,} to {big[1]:,}: the differences are the "
        "vocabulary's.",
        "FLOPs of the paper: time x GPUs x 9.5 TFLOPS, what a P100 sustains; FLOPs here: the "
        "matrix products that the tokens of all steps ask for, forward and backward, in sentences "
        f"of {MEAN_LENGTH} tokens.",
    ]
    if runs:
        signatures = ", ".join(sorted({run.signature for run in runs}))
        notes.append(
            f"BLEU here is sacreBLEU's on the run's validation set ({signatures}), not the paper's "
            "tokenised BLEU: evaluate.py prints that. PPL is per piece of the run's vocabulary."
        )
    if not all(run.same_size for run in runs):
        notes.append("* at another size or number of steps than the row has in the paper.")
    return notes


if __name__ == "__main__":
    cli.run(main)
