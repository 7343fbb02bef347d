r"""Makes a corpus ready on disk: downloads, checks, cleans, learns the vocabulary, writes ids.

    python experiments/prepare.py --corpus=wmt14_en_de --output=data/wmt14_en_de
    python experiments/prepare.py --corpus=files --output=data/mine \
        --train="('train.en','train.de')" --validation="('val.en','val.de')" --vocab_size=8000

Training then reads pairs from disk as it needs them:

    python experiments/train.py --config=configs/base.py --workdir=runs/base \
        --config.data.source=prepared --config.data.prepared_dir=data/wmt14_en_de

Stopped at any point, the same command goes on; done, it does nothing. Progress goes to stderr.
WMT14's validation and test sets, newstest2013 and newstest2014, are sacreBLEU's, unless files are
given.
"""

import pathlib
import sys

from absl import flags

from experiments import cli
from transformer.data.preparation import Recipe, prepare
from transformer.data.preparation.text import TextFiles
from transformer.data.preparation.wmt14 import CORPORA
from transformer.errors import UserError

CORPUS = flags.DEFINE_enum(
    "corpus", None, [*CORPORA, "files"], "what to prepare; files: your own text", required=True
)
OUTPUT = flags.DEFINE_string("output", None, "folder to make, or to go on with", required=True)
DOWNLOADS = flags.DEFINE_string(
    "download_dir", None, "where downloads are kept; default: downloads beside the output"
)
TRAIN = cli.names_flag("train", "of --corpus=files: source and target file, plain or .gz")
VALIDATION = cli.names_flag("validation", "two files to validate on while training")
TEST = cli.names_flag("test", "two files to score in the end")
LANGUAGES = cli.names_flag("languages", "of --corpus=files; default: en,de")
VOCAB_SIZE = flags.DEFINE_integer(
    "vocab_size",
    None,
    "pieces of the joint vocabulary; default: 37,000, 32,000 for wmt14_en_fr",
    lower_bound=1,
)
VOCAB_TYPE = flags.DEFINE_enum(
    "vocab_type", None, ["bpe", "unigram"], "default: bpe, unigram for wmt14_en_fr"
)
MAX_LENGTH = flags.DEFINE_integer(
    "max_length", 256, "longer pairs are left out; in tokens with EOS", lower_bound=2
)
MAX_LENGTH_RATIO = flags.DEFINE_float(
    "max_length_ratio", 9.0, "pairs with a greater ratio are left out", lower_bound=1
)


def main() -> None:
    """See the module's docstring."""
    output = pathlib.Path(OUTPUT.value)
    downloads = pathlib.Path(DOWNLOADS.value or output.parent / "downloads")
    try:
        record = prepare(_recipe(), output, downloads, _say)
    except UserError as error:
        # The library speaks of the config's key, which this script has as a flag.
        raise UserError(str(error).replace("config.data.vocab_size", "--vocab_size")) from error
    source, target = record["tokens"]
    _say(f"{output} is ready: {record['pairs']:,} pairs, {source:,} and {target:,} tokens")


def _recipe() -> Recipe:
    """What the flags ask for. Raises UserError if they do not fit each other."""
    own_text = CORPUS.value == "files"
    wmt = CORPORA.get(CORPUS.value, CORPORA["wmt14_en_de"])
    for flag in (TRAIN, LANGUAGES):
        if flag.value and not own_text:
            raise UserError(f"--{flag.name} is for --corpus=files; {CORPUS.value} has its own.")
    languages = LANGUAGES.value or wmt.languages
    if len(set(languages)) != 2 or len(languages) != 2:
        raise UserError(f"--languages must name two languages, for example en,de, not {languages}.")
    train = _files(TRAIN) if own_text else wmt.train
    if train is None:
        raise UserError("--train is missing; name your text as --train=\"('a.en','a.de')\".")
    return Recipe(
        languages=languages,
        train=train,
        validation=_files(VALIDATION) or (None if own_text else wmt.validation),
        test=_files(TEST) or (None if own_text else wmt.test),
        vocab_size=VOCAB_SIZE.value or wmt.vocab_size,
        vocab_type=VOCAB_TYPE.value or wmt.vocab_type,
        max_length=MAX_LENGTH.value,
        max_length_ratio=MAX_LENGTH_RATIO.value,
    )


def _files(flag: flags.FlagHolder) -> TextFiles | None:
    if flag.value and len(flag.value) != 2:
        raise UserError(f"--{flag.name} must name a source and a target file, not {flag.value}.")
    return TextFiles(*flag.value) if flag.value else None


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    cli.run(main)
