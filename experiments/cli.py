"""What all scripts share: the environment, flags, and one clear sentence for a user's mistake.

Scripts import this module before anything that imports JAX:

    from experiments import cli

    LOAD_CONFIG = cli.config_flag()


    def main() -> None:
        config = LOAD_CONFIG()
        ...


    if __name__ == "__main__":
        cli.run(main)
"""

import difflib
import json
import os
import pathlib
import re
import sys
import traceback
import typing
from collections.abc import Callable, Sequence

from experiments import environment, heap

# Both count only before JAX starts, which the scripts' other imports do. The first of them starts
# the script once more: what is imported before it is imported twice.
environment.keep_memory()
environment.setup()

from absl import app, flags

from experiments.config_flags import config_flag as config_flag
from experiments.config_flags import decoding_flags as decoding_flags
from experiments.config_flags import load_config as load_config
from experiments.config_flags import names_flag as names_flag
from transformer import files
from transformer.data.corpus import split_lines
from transformer.errors import UserError

if typing.TYPE_CHECKING:
    from transformer.data.tokenizer import Tokenizer
    from transformer.training.load import Weights

Value = typing.TypeVar("Value")

# The flags that are defined here belong to the script that asks for them, and to its --help.
flags.disclaim_key_flags()


def run(main: Callable[[], int | None]) -> typing.NoReturn:
    """Parses the flags, calls `main` and exits with its status (None is 0).

    A `UserError`, or a mistake in the flags, becomes one line on stderr and status 2; Ctrl-C
    becomes status 130. A reader of stdout that has seen enough (`| head`) ends the script with
    status 1 and without a word. Any other exception is a mistake of the program, and shows its
    traceback. Where several processes have met (`hosts_flags`), one that fails ends them all.
    """
    failure = message = ""
    try:
        _parse_flags(sys.argv, flags.FLAGS)
        heap.watch()
        status = main() or 0
        sys.stdout.flush()
    except UserError as error:
        failure = " ".join(str(error).split())
        status, message = 2, f"error: {failure}"
    except KeyboardInterrupt:
        status, message = 130, "interrupted"
        failure = message
    except BrokenPipeError:
        # The interpreter flushes stdout once more when it exits; let that go nowhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = 1
    except Exception as error:
        if not _met_others():
            raise
        status, failure = 1, sys.modules["transformer.hosts"].lost_contact(error)
        if failure:
            message = f"error: {failure}"
        else:
            failure = f"{type(error).__name__}: {error}"
            traceback.print_exc()
    if failure and _met_others():
        sys.modules["transformer.hosts"].fail(status, failure, message)
    if message:
        print(message, file=sys.stderr)
    sys.exit(status)


def hosts_flags(flag_values: flags.FlagValues = flags.FLAGS) -> Callable[[], None]:
    """Defines --coordinator_address, --num_processes and --process_id.

    Returns:
      A function to call in `main` before anything asks for JAX's devices: where the flags, or the
      environment of a cluster, speak of several processes, it meets the others. It raises
      `UserError`, see `transformer.hosts.join`.
    """
    address = flags.DEFINE_string(
        "coordinator_address",
        None,
        "of several processes: HOST:PORT of the one with number 0; Slurm, Open MPI and Cloud TPU "
        "need none of these three flags",
        flag_values=flag_values,
    )
    num_processes = flags.DEFINE_integer(
        "num_processes", None, "how many they are", lower_bound=1, flag_values=flag_values
    )
    process_id = flags.DEFINE_integer(
        "process_id", None, "the number of this one, from 0", flag_values=flag_values
    )

    def join() -> None:
        from transformer import hosts  # imports JAX, after the environment is set

        hosts.join(address.value, num_processes.value, process_id.value)

    return join


def read_once(read: Callable[[], Value]) -> Value:
    """What `read` returns, JSON-able; of several processes the first one reads it, for all.

    Raises:
      UserError: they were not started with the same command.
    """
    from transformer import hosts  # imports JAX, after the environment is set

    if hosts.count() == 1:
        return read()
    own = [argument for argument in sys.argv[1:] if not re.match("--?process_id", argument)]
    hosts.same({"The command": " ".join(own)})
    return json.loads(hosts.from_first("input", lambda: json.dumps(read()).encode()))


def _met_others() -> bool:
    hosts = sys.modules.get("transformer.hosts")
    return hosts is not None and hosts.count() > 1


def _leaves_writing() -> bool:
    """Whether another process writes the output."""
    return _met_others() and not sys.modules["transformer.hosts"].is_first()


def workdirs_flag(flag_values: flags.FlagValues = flags.FLAGS) -> flags.FlagHolder[list[str]]:
    """Defines --workdir, of a script that takes a trained run or an ensemble of several."""
    return flags.DEFINE_multi_string(
        "workdir",
        None,
        "folder of the trained run; several are an ensemble: --workdir=A --workdir=B",
        required=True,
        flag_values=flag_values,
    )


def weights_flags(flag_values: flags.FlagValues = flags.FLAGS) -> Callable[[], "Weights"]:
    """Defines --average, --best, --step and --ema, which choose among a run's checkpoints.

    Returns:
      A function to call in `main`: the `weights` for `transformer.training.load.load`.
    """
    average = flags.DEFINE_integer(
        "average",
        None,
        "weights: the mean of the last so many checkpoints; default: the config's average_last",
        lower_bound=1,
        flag_values=flag_values,
    )
    best = flags.DEFINE_boolean(
        "best", False, "weights: those with the best validation BLEU", flag_values=flag_values
    )
    step = flags.DEFINE_integer(
        "step", None, "weights: the checkpoint of this step", flag_values=flag_values
    )
    ema = flags.DEFINE_boolean(
        "ema",
        None,
        "weights: the moving average of a run that has one, --noema for the weights themselves; "
        "default: as the run validates",
        flag_values=flag_values,
    )

    def weights() -> "Weights":
        from transformer.training.load import Weights  # imports JAX, after the environment is set

        return Weights(average.value, best.value, step.value, ema.value)

    return weights


def stdin_lines() -> list[str]:
    """The lines of standard input, which must be UTF-8.

    Raises:
      UserError: a line is not (its number is named).
    """
    return split_lines(sys.stdin.buffer.read(), "standard input")


def check_output(path: str | None) -> None:
    """Finds out before long work what `write_output` would fail at after it.

    Of several processes the one that writes looks.

    Raises:
      UserError: `path` is a folder, or lies in none that is there and may be written to.
    """
    if path is None or _leaves_writing():
        return
    if os.path.isdir(path or "."):
        raise UserError(f"Cannot write {path}: it is a folder.")
    place = path  # a pipe or a device is written as it is
    if not files.is_special(path):
        place = os.path.dirname(os.path.realpath(path))
        if not os.path.isdir(place):
            raise UserError(f"Cannot write {path}: there is no folder {place}.")
    if not os.access(place, os.W_OK):
        raise UserError(f"Cannot write {path}: {place} may not be written to.")


def write_output(path: str | None, text: str) -> None:
    """Writes `text` to a file, whole or not at all, or to standard output where `path` is None.

    Of several processes the first one writes.

    Raises:
      UserError: the file cannot be written.
    """
    if _leaves_writing():
        return
    if path is None:
        sys.stdout.write(text)
        return
    try:
        files.write(pathlib.Path(path), text)
    except OSError as error:
        raise UserError(f"Cannot write {path}: {error.strerror}.") from error


def token_scores(tokenizer: "Tokenizer", ids: Sequence[int], log_probs: Sequence[float]) -> str:
    """PIECE:LOG_PROBABILITY of each token, with blanks between them."""
    pairs = zip(tokenizer.pieces(ids), log_probs, strict=True)
    return " ".join(f"{piece}:{score:.4f}" for piece, score in pairs)


def _parse_flags(argv: Sequence[str], flag_values: flags.FlagValues) -> None:
    """Parses `argv`.

    Raises:
      UserError: a flag is unknown (the nearest one is named), lacks a value that it needs, has one
        of another type, or an argument is no flag.
    """
    app.define_help_flags()
    try:
        rest = flag_values(argv)[1:]
    except SystemExit:  # --help; absl has it exit with status 1
        raise SystemExit(0) from None
    except flags.UnrecognizedFlagError as error:
        hint = _nearest_flag(error.flagname, list(flag_values))
        raise UserError(f"--{error.flagname} is not a known flag; {hint}") from None
    except flags.Error as error:
        message = str(error).removeprefix("flag ").rstrip(".")
        if missing := re.match(r"--(\S+)=None: Flag --\1 must have a value", message):
            message = f"--{missing[1]} is missing; --help says what it is"
        raise UserError(f"{message}.") from None
    if rest:
        raise UserError(f"{rest[0]!r} is no flag; write --NAME=VALUE, and see --help.")


def _nearest_flag(name: str, known: Sequence[str]) -> str:
    """A hint for who wrote the unknown flag `name`: the known one that was probably meant."""
    if any(flag.startswith(f"{name}.") for flag in known):
        return f"it is a section, whose keys are set one by one as --{name}.KEY=VALUE."
    same_key = [flag for flag in known if flag.rpartition(".")[2] == name.rpartition(".")[2]]
    nearest = difflib.get_close_matches(name, same_key, n=1, cutoff=0)
    nearest = nearest or difflib.get_close_matches(name, known, n=1, cutoff=0.8)
    return f"did you mean --{nearest[0]}?" if nearest else "--help lists them all."
