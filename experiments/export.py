"""Writes a trained run as a model of another program.

    python experiments/export.py --workdir=runs/demo --format=ctranslate2 --output=demo_ct2
    python experiments/export.py --workdir=runs/demo --format=marian-hf --output=demo_marian

"ctranslate2" is for CTranslate2's Translator, with the SentencePiece model beside it; "marian-hf"
for MarianMTModel and MarianTokenizer of Hugging Face's transformers. What the other program does
otherwise is said on stderr.
"""

import pathlib
import sys

from absl import flags

from experiments import cli
from transformer.interop.export import FORMATS, export
from transformer.training.load import load

WORKDIR = flags.DEFINE_string("workdir", None, "folder of the trained run", required=True)
FORMAT = flags.DEFINE_enum("format", None, list(FORMATS), "of the other program", required=True)
OUTPUT = flags.DEFINE_string("output", None, "folder to make", required=True)
WEIGHTS = cli.weights_flags()


def main() -> None:
    """See the module's docstring."""
    model = load([WORKDIR.value], WEIGHTS())
    output = pathlib.Path(OUTPUT.value)
    notes = export(output, FORMAT.value, model.config, model.params, model.tokenizer)
    for note in notes:
        print("note:", note, file=sys.stderr)


if __name__ == "__main__":
    cli.run(main)
