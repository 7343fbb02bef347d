"""Writes the model card and the report of a run: one HTML page that needs nothing else.

    python experiments/report.py --workdir=runs/multi30k

The page is WORKDIR/report.html, and its path goes to stdout: what the model is and is not for, its
data, learning curves, scores with signatures, samples, cost, config, environment and the commands
to repeat it. It is made from the folder alone, of a finished run or of one in training; results of
experiments/evaluate.py are in it if they lie in the folder as .json files or are named by --scores.
"""

import pathlib

from absl import flags

from experiments import cli
from transformer import files
from transformer.errors import UserError
from transformer.reporting.page import render
from transformer.reporting.run import read_run

WORKDIR = flags.DEFINE_string("workdir", None, "folder of the run", required=True)
SCORES = flags.DEFINE_multi_string(
    "scores", [], "a file with what experiments/evaluate.py printed; may be repeated"
)


def main() -> None:
    """See the module's docstring."""
    workdir = pathlib.Path(WORKDIR.value)
    page = render(read_run(workdir, [pathlib.Path(path) for path in SCORES.value]))
    path = workdir / "report.html"
    try:
        files.write(path, page)
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error.strerror}.") from error
    print(path)


if __name__ == "__main__":
    cli.run(main)
