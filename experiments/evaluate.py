"""Translates a file with a trained run and scores the result: one JSON object on stdout.

    python experiments/evaluate.py --workdir=runs/multi30k --source=val.en --reference=val.de

Scores are sacreBLEU's BLEU, chrF and TER with their signatures, and beside them the paper's
tokenised BLEU with compounds split, under its own name: the two are not comparable. See
docs/scores.md, and experiments/score_outputs.py for text that is translated already.
"""

import json
import time

from absl import flags

from experiments import cli
from transformer.data.corpus import read_pairs
from transformer.evaluation.bleu import bleu_metric, score
from transformer.training.load import load
from transformer.training.metrics import Progress

WORKDIRS = cli.workdirs_flag()
JOIN = cli.hosts_flags()
SOURCE = flags.DEFINE_string("source", None, "text to translate, a sentence a line", required=True)
REFERENCE = flags.DEFINE_string("reference", None, "its translation, line by line", required=True)
TOKENIZE = flags.DEFINE_string("tokenize", None, "sacreBLEU's tokenizer; default: the run's own")
WEIGHTS = cli.weights_flags()
APPLY_DECODING = cli.decoding_flags()


def main() -> None:
    """See the module's docstring."""
    JOIN()
    sources, references = cli.read_once(lambda: read_pairs(SOURCE.value, REFERENCE.value))
    model = load(WORKDIRS.value, WEIGHTS(), APPLY_DECODING)
    config = model.config
    tokenize = TOKENIZE.value or config.training.bleu_tokenize
    bleu_metric(tokenize)  # or its error, before anything is translated
    started = time.time()
    bar = Progress(len(sources), 0, unit="line")
    translations = model.translate(
        sources, warn=lambda sentence: bar.message(f"warning: {sentence}"), progress=bar.reach
    )
    bar.close()
    scores = score(
        [translation.text for translation in translations],
        references,
        tokenize=tokenize,
        language=config.data.languages[1],
    )
    result = scores.to_json() | {
        "checkpoints": model.steps if len(model.steps) > 1 else model.steps[0],
        "beam_size": config.decoding.beam_size,
        "alpha": config.decoding.alpha,
        "length_penalty": config.decoding.length_penalty,
        "dtype": config.decoding_model.dtype,
        "seconds": round(time.time() - started, 2),
    }
    cli.write_output(None, f"{json.dumps(result, indent=2)}\n")


if __name__ == "__main__":
    cli.run(main)
