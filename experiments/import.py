r"""Makes a run of a Hugging Face Marian checkpoint, for example of one of the OPUS-MT models.

    python experiments/import.py --checkpoint=opus-mt-en-de --workdir=runs/opus_mt
    echo "The old teacher reads a book." | \
        python experiments/translate.py --workdir=runs/opus_mt

The checkpoint is a directory with config.json, model.safetensors, source.spm, target.spm and
vocab.json. What it does not decide comes from configs/opus_mt.py. The run can be translated with,
scored and evaluated as it is, and fine-tuned on text of your own by the command that is printed at
the end; until it has been, data, training and dropout may be set as you like.
"""

import pathlib

from absl import flags

from experiments import cli
from transformer.interop.marian_import import import_run

CONFIG = pathlib.Path(__file__).parents[1] / "configs" / "opus_mt.py"
CHECKPOINT = flags.DEFINE_string(
    "checkpoint", None, "directory of the Marian checkpoint", required=True
)
WORKDIR = flags.DEFINE_string("workdir", None, "folder of the run, a new one", required=True)


def main() -> None:
    """See the module's docstring."""
    workdir = WORKDIR.value
    base = cli.load_config(str(CONFIG))
    config = import_run(pathlib.Path(CHECKPOINT.value), pathlib.Path(workdir), base)
    source, target = config.data.languages
    print(
        f"To translate: python experiments/translate.py --workdir={workdir}\n"
        f"To fine-tune: python experiments/train.py --config={workdir}/config.json "
        f"--workdir={workdir} --config.data.train=\"('train.{source}','train.{target}')\" "
        f"--config.data.validation=\"('val.{source}','val.{target}')\""
    )


if __name__ == "__main__":
    cli.run(main)
