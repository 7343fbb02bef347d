"""Scores given translations with a trained run: what the model thinks of them, a line a pair.

    python experiments/score.py --workdir=runs/demo --source=a.en --target=a.de

Each line of output is LOG_PROBABILITY, TOKENS and their quotient, with tabs between them, in nats
and over all tokens of the target, the end token included; with --tokens a fourth field has
PIECE:LOG_PROBABILITY of each. The sum of all log probabilities is minus the loss that training
reports for these pairs (`nll` times their tokens). A summary goes to stderr. Several --workdir are
an ensemble.
"""

import math

from absl import flags

from experiments import cli
from transformer.data.corpus import read_pairs
from transformer.training.load import TrainedModel, load
from transformer.training.metrics import say_line

WORKDIRS = cli.workdirs_flag()
JOIN = cli.hosts_flags()
SOURCE = flags.DEFINE_string("source", None, "source text, a sentence a line", required=True)
TARGET = flags.DEFINE_string("target", None, "translations to score, line by line", required=True)
OUTPUT = flags.DEFINE_string("output", None, "file to write instead of stdout")
TOKENS = flags.DEFINE_boolean("tokens", False, "print the pieces with their log probabilities")
WEIGHTS = cli.weights_flags()


def main() -> None:
    """See the module's docstring."""
    JOIN()
    cli.check_output(OUTPUT.value)
    sources, targets = cli.read_once(lambda: read_pairs(SOURCE.value, TARGET.value))
    model = load(WORKDIRS.value, WEIGHTS())
    scored = model.score(sources, targets)
    total = sum(float(log_probs.sum()) for _, log_probs in scored)
    tokens = sum(len(ids) for ids, _ in scored)
    cli.write_output(OUTPUT.value, "".join(_line(model, *pair) for pair in scored))
    if tokens:
        say_line(
            f"{len(scored):,} pairs, {tokens:,} target tokens, log probability {total:.4f}, "
            f"perplexity {math.exp(min(-total / tokens, 700)):.4f} a token"
        )


def _line(model: TrainedModel, ids: list[int], log_probs) -> str:
    total = float(log_probs.sum())
    fields = [f"{total:.6f}", str(len(ids)), f"{total / len(ids):.6f}"]
    if TOKENS.value:
        fields.append(cli.token_scores(model.tokenizer, ids, log_probs))
    return "\t".join(fields) + "\n"


if __name__ == "__main__":
    cli.run(main)
