"""Translates text with a trained run: stdin to stdout by default, one sentence a line.

    python experiments/translate.py --workdir=runs/demo < english.txt > german.txt
    echo "The old teacher reads a book." | python experiments/translate.py --workdir=runs/demo

The folder alone is enough: it holds config, vocabulary and weights. Blank lines stay blank. Several
--workdir are an ensemble. With --nbest=K each line of output is

    NUMBER ||| TEXT ||| LOG_PROBABILITY ||| SCORE

K lines a sentence, best first; SCORE is the log probability (in nats) over the length penalty.
With --tokens a last field has PIECE:LOG_PROBABILITY of each token.
"""

from absl import flags

from experiments import cli
from transformer.data.corpus import read_lines
from transformer.decoding.translate import Translation
from transformer.errors import UserError
from transformer.training.load import TrainedModel, load
from transformer.training.metrics import Progress

WORKDIRS = cli.workdirs_flag()
INPUT = flags.DEFINE_string("input", None, "file to translate (.gz too) instead of stdin")
OUTPUT = flags.DEFINE_string("output", None, "file to write instead of stdout")
NBEST = flags.DEFINE_integer("nbest", None, "write so many outputs a sentence, with scores")
TOKENS = flags.DEFINE_boolean("tokens", False, "with --nbest: print the pieces' log probabilities")
PREFIX = flags.DEFINE_string("prefix", None, "file of the words that each output must begin with")
WEIGHTS = cli.weights_flags()
APPLY_DECODING = cli.decoding_flags()


def main() -> None:
    """See the module's docstring."""
    if TOKENS.value and NBEST.value is None:
        raise UserError("--tokens is printed with --nbest only; add --nbest=1.")
    prefixes = read_lines(PREFIX.value) if PREFIX.value else None
    model = load(WORKDIRS.value, WEIGHTS(), APPLY_DECODING)
    lines = read_lines(INPUT.value) if INPUT.value else cli.stdin_lines()
    bar = Progress(len(lines), 0, unit="line")
    translations = model.translate(
        lines,
        nbest=NBEST.value or 1,
        prefixes=prefixes,
        warn=lambda sentence: bar.message(f"warning: {sentence}"),
        progress=bar.reach,
    )
    bar.close()
    text = "".join(_format(model, number, t) for number, t in enumerate(translations, 1))
    cli.write_output(OUTPUT.value, text)


def _format(model: TrainedModel, number: int, found: Translation) -> str:
    if NBEST.value is None:
        return f"{found.text}\n"
    text = ""
    for n, output in enumerate(found.texts):
        fields = [str(number), output, f"{found.log_probs[n]:.6f}", f"{found.scores[n]:.6f}"]
        if TOKENS.value:
            tokens = found.token_log_probs[n]
            fields.append(cli.token_scores(model.tokenizer, found.ids[n], tokens))
        text += " ||| ".join(fields) + "\n"
    return text


if __name__ == "__main__":
    cli.run(main)
