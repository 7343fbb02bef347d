r"""Makes a corpus ready on disk: downloads, checks, cleans, learns the vocabulary, writes ids.

    python experiments/prepare.py --corpus=wmt14_en_de --output=data/wmt14_en_de
    python experiments/prepare.py --corpus=files --output=data/mine \
        --train="('train.en','train.de')" --validation="('val.en','val.de')" --vocab_size=8000
    python experiments/prepare.py --corpus=libreoffice_help --output=data/libreoffice_help

Training then reads pairs from disk as it needs them:

    python experiments/train.py --config=configs/base.py --workdir=runs/base \
        --config.data.source=prepared --config.data.prepared_dir=data/wmt14_en_de

Stopped at any point, the same command goes on; done, it does nothing. Progress goes to stderr.
WMT14's validation and test sets, newstest2013 and newstest2014, are sacreBLEU's, unless files are
given. LibreOffice's help comes with apt-get from Debian or Ubuntu (5 MB, MPL-2.0), in English and
German or as `--languages` says; its text is left beside the ids: train.en, train.de, and so on.
"""

import pathlib
import sys

from absl import flags

from experiments import cli
from transformer.data.preparation import Recipe, libreoffice_help, prepare
from transformer.data.preparation.text import TextFiles
from transformer.data.preparation.wmt14 import CORPORA
from transformer.errors import UserError

CORPUS = flags.DEFINE_enum(
    "corpus",
    None,
    [*CORPORA, "libreoffice_help", "files"],
    "what to prepare; files: your own text",
    required=True,
)
OUTPUT = flags.DEFINE_string("output", None, "folder to make, or to go on with", required=True)
DOWNLOADS = flags.DEFINE_string(
    "download_dir", None, "where downloads are kept; default: downloads beside the output"
)
TRAIN = cli.names_flag("train", "of --corpus=files: source and target file, plain or .gz")
VALIDATION = cli.names_flag("validation", "two files to validate on while training")
TEST = cli.names_flag("test", "two files to score in the end")
LANGUAGES = cli.names_flag("languages", "of files and libreoffice_help; default: en,de")
VOCAB_SIZE = flags.DEFINE_integer(
    "vocab_size",
    None,
    "pieces of the joint vocabulary; default: 37,000, 32,000 for wmt14_en_fr, 8,000 for "
    "libreoffice_help",
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
        record = prepare(_recipe(output, downloads), output, downloads, _say)
    except UserError as error:
        # The library speaks of the config's key, which this script has as a flag.
        raise UserError(str(error).replace("config.data.vocab_size", "--vocab_size")) from error
    source, target = record["tokens"]
    _say(f"{output} is ready: {record['pairs']:,} pairs, {source:,} and {target:,} tokens")


def _recipe(output: pathlib.Path, downloads: pathlib.Path) -> Recipe:
    """What the flags ask for. Raises UserError if they do not fit each other."""
    corpus = CORPUS.value
    wmt = CORPORA.get(corpus, CORPORA["wmt14_en_de"])
    help_pages, own_text = corpus == "libreoffice_help", corpus == "files"
    for flag in (TRAIN, VALIDATION, TEST) if help_pages else () if own_text else (TRAIN, LANGUAGES):
        if flag.value:
            raise UserError(f"--{flag.name} is for --corpus=files; {corpus} has its own.")
    languages = LANGUAGES.value or wmt.languages
    if len(set(languages)) != 2 or len(languages) != 2:
        raise UserError(f"--languages must name two languages, for example en,de, not {languages}.")
    train, validation, test = _files(TRAIN), _files(VALIDATION), _files(TEST)
    if help_pages:
        train, validation, test = libreoffice_help.text_files(languages, output, downloads, _say)
    elif not own_text:
        train, validation, test = wmt.train, validation or wmt.validation, test or wmt.test
    if train is None:
        raise UserError("--train is missing; name your text as --train=\"('a.en','a.de')\".")
    return Recipe(
        languages=languages,
        train=train,
        validation=validation,
        test=test,
        vocab_size=VOCAB_SIZE.value
        or (libreoffice_help.VOCAB_SIZE if help_pages else wmt.vocab_size),
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
