"""Translates text with a trained run: stdin to stdout by default, one sentence a line.

    python experiments/translate.py --workdir=runs/demo < english.txt > german.txt
    echo "The old teacher reads a book." | python experiments/translate.py --workdir=runs/demo

The folder alone is enough: it holds config, vocabulary and weights. Blank lines stay blank. Several
--workdir are an ensemble. With --nbest=K each line of output is

    NUMBER ||| TEXT ||| LOG_PROBABILITY ||| SCORE

K lines a sentence, best first; SCORE is the log probability (in nats) over the length penalty.
With --tokens a last field has PIECE:LOG_PROBABILITY of each token.

With --attention=FILE.html the attention weights of the first 50 translations are written, too: one
page to look into with a browser, which needs nothing else.
"""

import os

from absl import flags

from experiments import cli
from transformer import files
from transformer.data.corpus import read_lines
from transformer.decoding.translate import Translation
from transformer.errors import UserError
from transformer.training.load import TrainedModel, load
from transformer.training.metrics import Progress, say_line
from transformer.visualization import attention_html

WORKDIRS = cli.workdirs_flag()
JOIN = cli.hosts_flags()
INPUT = flags.DEFINE_string("input", None, "file to translate (.gz too) instead of stdin")
OUTPUT = flags.DEFINE_string("output", None, "file to write instead of stdout")
NBEST = flags.DEFINE_integer(
    "nbest", None, "write so many outputs a sentence, with scores", lower_bound=1
)
TOKENS = flags.DEFINE_boolean("tokens", False, "with --nbest: print the pieces' log probabilities")
PREFIX = flags.DEFINE_string("prefix", None, "file of the words that each output must begin with")
ATTENTION = flags.DEFINE_string("attention", None, "HTML file to write the attention weights to")
WEIGHTS = cli.weights_flags()
APPLY_DECODING = cli.decoding_flags()

_SHOWN = 50  # of 20 tokens each a base model's page has 8 MB


def main() -> None:
    """See the module's docstring."""
    if TOKENS.value and NBEST.value is None:
        raise UserError("--tokens is printed with --nbest only; add --nbest=1.")
    if ATTENTION.value and len(WORKDIRS.value) > 1:
        raise UserError("--attention shows a single model; name one --workdir.")
    if OUTPUT.value and ATTENTION.value and _same_file(OUTPUT.value, ATTENTION.value):
        raise UserError("--output and --attention name the same file; give each its own.")
    JOIN()
    for path in (OUTPUT.value, ATTENTION.value or None):
        cli.check_output(path)
    lines, prefixes = cli.read_once(_read)
    model = load(WORKDIRS.value, WEIGHTS(), APPLY_DECODING)
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
    if ATTENTION.value:
        _write_attention(model, lines, translations)


def _same_file(one: str, other: str) -> bool:
    """Whether what is written to one takes the place of what was written to the other."""
    return os.path.realpath(one) == os.path.realpath(other) and not files.is_special(one)


def _read() -> tuple[list[str], list[str] | None]:
    """The lines to translate, and the words that each output must begin with."""
    prefixes = read_lines(PREFIX.value) if PREFIX.value else None
    return read_lines(INPUT.value) if INPUT.value else cli.stdin_lines(), prefixes


def _write_attention(
    model: TrainedModel, lines: list[str], translations: list[Translation]
) -> None:
    """The page of the first lines that are not blank."""
    pairs = [pair for pair in zip(lines, translations, strict=True) if pair[1].ids[0]]
    if not pairs:
        say_line(f"{ATTENTION.value} is not written: there is no translation to show.")
        return
    if len(pairs) > _SHOWN:
        say_line(f"{ATTENTION.value} shows the first {_SHOWN} of {len(pairs)} translations.")
    shown = [[pair[side] for pair in pairs[:_SHOWN]] for side in (0, 1)]
    page = attention_html.render(model.inspect(*shown), f"Attention of {WORKDIRS.value[0]}")
    cli.write_output(ATTENTION.value, page)


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
