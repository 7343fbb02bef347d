"""What averaging is worth: the same text scored with each kind of weights that runs offer.

    python experiments/averages.py --workdir=runs/a --source=val.en --reference=val.de
    python experiments/averages.py --workdir=runs/a --workdir=runs/b ... (an ensemble besides)

Rows: the last checkpoint alone, the mean of the last n (section 6.1; n is the run's average_last),
the best by validation BLEU, the mean of the best n where the run keeps several, and the moving
average (EMA) where it has one. Several runs get such rows each, the mean and the deviation of each
kind, and below them their ensembles.
"""

import json
import pathlib
import statistics
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from absl import flags

from experiments import cli, tables
from transformer.data.corpus import Corpus, read_pairs
from transformer.evaluation.bleu import bleu_metric, corpus_bleu
from transformer.training import workdir as workdir_lib
from transformer.training.checkpoint import averaged_steps, saved_steps
from transformer.training.load import TrainedModel, Weights, load
from transformer.training.metrics import Progress

WORKDIRS = cli.workdirs_flag()
JOIN = cli.hosts_flags()
SOURCE = flags.DEFINE_string("source", None, "text to translate, a sentence a line", required=True)
REFERENCE = flags.DEFINE_string("reference", None, "its translation, line by line", required=True)
FORMAT = tables.format_flag("text", "markdown", "json")
APPLY_DECODING = cli.decoding_flags()


def main() -> None:
    """See the module's docstring."""
    JOIN()
    workdirs = WORKDIRS.value
    pairs = Corpus(*cli.read_once(lambda: read_pairs(SOURCE.value, REFERENCE.value)))
    kinds = _kinds(workdirs)
    # The ensembles come first: runs that cannot be one are refused before each is scored alone.
    together = list(_scores(workdirs, kinds, pairs)) if len(workdirs) > 1 else []
    rows, scores = [], {name: [] for name in kinds}
    for workdir in workdirs:
        for row in _scores([workdir], kinds, pairs):
            rows.append(row)
            scores[row["weights"]].append(row["bleu"])
    if len(workdirs) > 1:
        for name, values in scores.items():
            mean, deviation = statistics.mean(values), statistics.stdev(values)
            rows.append({"run": f"mean of {len(values)}", "weights": name, "bleu": mean})
            rows[-1]["deviation"] = deviation
    _print(rows + together)


def _kinds(workdirs: Sequence[str]) -> dict[str, Weights]:
    """The kinds of weights that all the runs offer, by name.

    Raises:
      UserError: a folder holds no run; or what it is scored with cannot be had, see `bleu_metric`.
    """
    configs = [workdir_lib.load(pathlib.Path(workdir))[0] for workdir in workdirs]
    for config in configs:
        bleu_metric(config.training.bleu_tokenize)
    last = min(
        min(config.training.average_last, len(averaged_steps(pathlib.Path(workdir))))
        for config, workdir in zip(configs, workdirs, strict=True)
    )
    best = min(len(saved_steps(pathlib.Path(workdir), best=True)) for workdir in workdirs)
    ema = all(config.training.ema_decay > 0 for config in configs)
    kinds = {"last": Weights(average=1, ema=False)}
    if last > 1:
        kinds[f"mean of the last {last}"] = Weights(average=last, ema=False)
    if best:
        kinds["best"] = Weights(best=True)
    if best > 1:
        kinds[f"mean of the best {best}"] = Weights(average=best, best=True)
    if ema:
        kinds["moving average"] = Weights(average=1, ema=True)
    return kinds


def _scores(
    workdirs: Sequence[str], kinds: Mapping[str, Weights], pairs: Corpus
) -> Iterator[dict[str, Any]]:
    """A row for each kind of weights of one run, or of an ensemble."""
    translator = None  # of the first kind; the others use what it compiled
    for name, weights in kinds.items():
        model = load(workdirs, weights, APPLY_DECODING)
        translator = translator or model.translator
        yield _score(model._replace(translator=translator), workdirs, name, pairs)


def _score(
    model: TrainedModel, workdirs: Sequence[str], name: str, pairs: Corpus
) -> dict[str, Any]:
    run = workdirs[0] if len(workdirs) == 1 else f"ensemble of {len(workdirs)}"
    bar = Progress(len(pairs.source), 0, unit="line")
    bar.note(f"{run}, {name}")
    outputs = model.translate(pairs.source, warn=lambda sentence: None, progress=bar.reach)
    bar.close()
    bleu = corpus_bleu(
        [output.text for output in outputs], pairs.target, model.config.training.bleu_tokenize
    )
    return {
        "run": run,
        "weights": name,
        "bleu": bleu.score,
        "steps": model.steps,
        "signature": bleu.signature,
    }


def _print(rows: Sequence[dict[str, Any]]) -> None:
    if FORMAT.value == "json":
        cli.write_output(None, f"{json.dumps(rows, indent=2)}\n")
        return
    cells = []
    for row in rows:
        deviation = f" ± {row['deviation']:.2f}" if "deviation" in row else ""
        cells.append([row["run"], row["weights"], f"{row['bleu']:.2f}{deviation}"])
    table = tables.table(["run", "weights", "BLEU"], cells, FORMAT.value)
    cli.write_output(None, f"{table}\n\n{rows[0]['signature']}\n")


if __name__ == "__main__":
    cli.run(main)
