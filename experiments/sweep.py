"""Trains rows of Table 3 with several seeds, and draws what the table says.

    python experiments/sweep.py --workdir=runs/table3_small
    python experiments/sweep.py --workdir=runs/heads --rows=base,A1,A2,A3,A4 --seeds=5 \
        --config.training.num_steps=500

Each run is what experiments/train.py makes of configs/table3_small.py:ROW, in WORKDIR/ROW-SEED.
What is done stays done: the same command goes on where it was stopped. It goes seed by seed, so
that an unfinished sweep has all rows of the first seeds. WORKDIR/sweep.json holds every score,
sweep.md the table, sweep.svg and sweep.png the figure: validation BLEU of each row minus that of
row "base" with the same seed, beside the paper's differences on newstest2013.
"""

import dataclasses
import json
import pathlib
import statistics
import sys
from collections.abc import Sequence
from typing import NamedTuple

from absl import flags

from experiments import cli, tables  # before JAX

import jax  # isort: skip

from configs import table3
from experiments.sweep_figure import Difference, draw, require_matplotlib
from transformer import files
from transformer.config import Config
from transformer.data.corpus import has_validation
from transformer.errors import UserError, choose
from transformer.reporting.run import read_run
from transformer.training.loop import train

WORKDIR = flags.DEFINE_string("workdir", None, "folder of the sweep's runs", required=True)
ROWS = flags.DEFINE_list("rows", list(table3.ROWS), "rows of Table 3, with commas between them")
SEEDS = flags.DEFINE_integer("seeds", 3, "runs a row, with seeds 0, 1, ...", lower_bound=1)
CONFIG = pathlib.Path(__file__).parents[1] / "configs" / "table3_small.py"
LOAD_CONFIG = cli.config_flag(default=str(CONFIG))


class Score(NamedTuple):
    """Of one run on its validation set, after its last step."""

    row: str
    seed: int
    bleu: float
    perplexity: float
    signature: str


def main() -> None:
    """See the module's docstring."""
    for row in ROWS.value:
        choose(table3.ROWS, row, "row of Table 3")
    if "base" not in ROWS.value:
        raise UserError("--rows lacks base, which the others are compared with; add it.")
    rows = list(dict.fromkeys(ROWS.value))  # each once
    for row in rows:
        _check(LOAD_CONFIG(row))
    require_matplotlib()
    workdir, scores = pathlib.Path(WORKDIR.value), []
    for seed in range(SEEDS.value):
        for row in rows:
            number = f"run {len(scores) + 1} of {SEEDS.value * len(rows)}"
            print(f"row {row}, seed {seed}: {number}", file=sys.stderr)
            scores.append(_run(row, seed, workdir / f"{row}-{seed}"))
            _write(workdir, scores)
            jax.clear_caches()  # the next row compiles programs of its own
    print((workdir / "sweep.md").read_text(), end="")


def _check(config: Config) -> None:
    """Finds out before the first run what would fail after it.

    Raises:
      UserError: there are no scores to compare, or not after equally many steps.
    """
    if not has_validation(config.data):
        raise UserError("A sweep compares validation BLEU; name text in config.data.validation.")
    if config.training.patience:
        raise UserError(
            "A sweep compares rows after equally many steps; set config.training.patience to 0."
        )


def _run(row: str, seed: int, workdir: pathlib.Path) -> Score:
    """Trains a run to its end, if it is not there yet."""
    config = dataclasses.replace(LOAD_CONFIG(row), seed=seed)
    train(config, workdir)
    final = read_run(workdir).validation[-1]
    return Score(row, seed, final["bleu"], final["perplexity"], final["bleu_signature"])


def _write(workdir: pathlib.Path, scores: Sequence[Score]) -> None:
    """Everything that the scores so far give."""
    records = [score._asdict() for score in scores]
    files.write(workdir / "sweep.json", json.dumps(records, indent=2) + "\n")
    found = differences(scores)
    head = ["row", "runs", "PPL", "BLEU", "against base", "the paper's BLEU", "against base"]
    rows = []
    for row in dict.fromkeys(score.row for score in scores):
        own = [score for score in scores if score.row == row]
        paper = table3.ROWS[row].bleu
        difference = found[row]
        rows.append(
            [
                row,
                str(len(own)),
                f"{statistics.mean(s.perplexity for s in own):.3f}",
                _with_deviation([s.bleu for s in own]),
                f"{difference.mean:+.2f} ± {difference.deviation:.2f}",
                f"{paper:.1f}",
                f"{paper - table3.ROWS['base'].bleu:+.1f}",
            ]
        )
    text = tables.table(head, rows, "markdown")
    files.write(workdir / "sweep.md", f"{text}\n\n{scores[0].signature}\n")
    draw(found, workdir)


def differences(scores: Sequence[Score]) -> dict[str, Difference]:
    """BLEU of each row minus that of base with the same seed: mean and deviation over seeds."""
    base = {score.seed: score.bleu for score in scores if score.row == "base"}
    result = {}
    for row in dict.fromkeys(score.row for score in scores):
        each = [s.bleu - base[s.seed] for s in scores if s.row == row and s.seed in base]
        result[row] = Difference(statistics.mean(each), _deviation(each), len(each))
    return result


def _with_deviation(values: Sequence[float]) -> str:
    return f"{statistics.mean(values):.2f} ± {_deviation(values):.2f}"


def _deviation(values: Sequence[float]) -> float:
    """Of a sample; 0 for a single value."""
    return statistics.stdev(values) if len(values) > 1 else 0.0


if __name__ == "__main__":
    cli.run(main)
