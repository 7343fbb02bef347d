"""Translates text with a trained run: stdin to stdout by default, one sentence a line.

    python experiments/translate.py --workdir=runs/demo < english.txt > german.txt
    echo "The old teacher reads a book." | python experiments/translate.py --workdir=runs/demo

The folder alone is enough: it holds config, vocabulary and weights. Blank lines stay blank. With
--nbest=K each line of output is NUMBER ||| TEXT ||| SCORE, K lines a sentence, best first.
"""

import pathlib
import sys

from absl import flags

from experiments import cli
from transformer.data.corpus import read_lines
from transformer.decoding.translate import Translation
from transformer.errors import UserError
from transformer.training import workdir as workdir_lib
from transformer.training.load import load
from transformer.training.metrics import Progress

WORKDIR = flags.DEFINE_string("workdir", None, "folder of the trained run", required=True)
INPUT = flags.DEFINE_string("input", None, "file to translate (.gz too) instead of stdin")
OUTPUT = flags.DEFINE_string("output", None, "file to write instead of stdout")
NBEST = flags.DEFINE_integer("nbest", None, "write so many outputs a sentence, with scores")
WEIGHTS = cli.weights_flags()
APPLY_DECODING = cli.decoding_flags()


def main() -> None:
    """See the module's docstring."""
    workdir = pathlib.Path(WORKDIR.value)
    config = APPLY_DECODING(workdir_lib.load(workdir)[0])
    lines = read_lines(INPUT.value) if INPUT.value else cli.stdin_lines()
    model = load(workdir, config, **WEIGHTS())
    bar = Progress(len(lines), 0, unit="line")
    translations = model.translate(
        lines,
        nbest=NBEST.value or 1,
        warn=lambda sentence: bar.message(f"warning: {sentence}"),
        progress=bar.reach,
    )
    bar.close()
    text = "".join(_format(number, t) for number, t in enumerate(translations, 1))
    if OUTPUT.value is None:
        sys.stdout.write(text)
        return
    try:
        workdir_lib.write(pathlib.Path(OUTPUT.value), text)
    except OSError as error:
        raise UserError(f"Cannot write {OUTPUT.value}: {error.strerror}.") from error


def _format(number: int, translation: Translation) -> str:
    if NBEST.value is None:
        return f"{translation.text}\n"
    pairs = zip(translation.texts, translation.scores, strict=True)
    return "".join(f"{number} ||| {text} ||| {score:.6f}\n" for text, score in pairs)


if __name__ == "__main__":
    cli.run(main)
