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

import ast
import dataclasses
import difflib
import inspect
import json
import os
import pathlib
import re
import runpy
import sys
import traceback
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal

from absl import app, flags
from ml_collections import ConfigDict

from experiments import environment
from transformer import config as config_lib
from transformer.config import Config, DecodingConfig
from transformer.data.corpus import split_lines
from transformer.errors import UserError

if typing.TYPE_CHECKING:
    from transformer.data.tokenizer import Tokenizer
    from transformer.training.load import Weights

# The flags that are defined here belong to the script that asks for them, and to its --help.
flags.disclaim_key_flags()


# Both count only before JAX starts, which the scripts' other imports do.
environment.setup()
environment.keep_memory()


def run(main: Callable[[], int | None]) -> typing.NoReturn:
    """Parses the flags, calls `main` and exits with its status (None is 0).

    A `UserError`, or a mistake in the flags, becomes one line on stderr and status 2; Ctrl-C
    becomes status 130. A reader of stdout that has seen enough (`| head`) ends the script with
    status 1 and without a word. Any other exception is a mistake of the program, and shows its
    traceback.
    """
    try:
        _parse_flags(sys.argv, flags.FLAGS)
        status = main() or 0
        sys.stdout.flush()
    except UserError as error:
        print("error:", " ".join(str(error).split()), file=sys.stderr)
        status = 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        status = 130
    except BrokenPipeError:
        # The interpreter flushes stdout once more when it exits; let that go nowhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = 1
    sys.exit(status)


def config_flag(
    default: str | None = None, flag_values: flags.FlagValues = flags.FLAGS
) -> Callable[[], Config]:
    """Defines --config=FILE, and --config.SECTION.KEY=VALUE for every key of `Config`.

    The keys and their types come from the dataclasses and not, as with
    `ml_collections.config_flags`, from running the file while flags are being parsed; so a
    misspelt key, a value of another type and a mistake in the file are told apart and each gets
    its own sentence.

    Returns:
      A function to call in `main`: it loads the file, applies the overrides and checks the result.
      It raises `UserError`, see `load_config`.
    """
    path = flags.DEFINE_string(
        "config",
        default,
        "the experiment, a file like configs/base.py (configs/table3.py:C2 is its row C2), or the "
        "config.json of a run",
        flag_values=flag_values,
    )
    overrides = _define_overrides("config", Config, flag_values)

    def load() -> Config:
        if not path.value:
            raise UserError("Name an experiment, for example --config=configs/base.py.")
        return load_config(path.value, overrides())

    return load


def decoding_flags(flag_values: flags.FlagValues = flags.FLAGS) -> Callable[[Config], Config]:
    """Defines --decoding.KEY=VALUE for every key of `DecodingConfig`.

    Returns:
      A function to call in `main`: it takes the `Config` of a run and returns it with the given
      keys replaced in its decoding section. It raises `UserError` if a value cannot work.
    """
    overrides = _define_overrides("decoding", DecodingConfig, flag_values)

    def apply(config: Config) -> Config:
        values = config_lib.to_dict(config)
        values["decoding"] |= overrides()
        return config_lib.from_dict(values)

    return apply


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


def write_output(path: str | None, text: str) -> None:
    """Writes `text` to a file, whole or not at all, or to standard output where `path` is None.

    Raises:
      UserError: the file cannot be written.
    """
    from transformer.training import workdir

    if path is None:
        sys.stdout.write(text)
        return
    try:
        workdir.write(pathlib.Path(path), text)
    except OSError as error:
        raise UserError(f"Cannot write {path}: {error.strerror}.") from error


def token_scores(tokenizer: "Tokenizer", ids: Sequence[int], log_probs: Sequence[float]) -> str:
    """PIECE:LOG_PROBABILITY of each token, with blanks between them."""
    pairs = zip(tokenizer.pieces(ids), log_probs, strict=True)
    return " ".join(f"{piece}:{score:.4f}" for piece, score in pairs)


def load_config(path: str, overrides: Mapping[str, Any] | None = None) -> Config:
    """Runs `get_config()` of the Python file `path` and checks what it returns.

    Args:
      path: of a file like configs/base.py, with the argument of its `get_config` behind a colon
        where that takes one; or the config.json of a run.
      overrides: values by dotted key, for example {"training.num_steps": 60}.

    Raises:
      UserError: there is no such file; it fails (the message names the file and the line); or
        `transformer.config.from_dict` refuses the values.
    """
    values = _read_json(path) if path.endswith(".json") else _run_config_file(path)
    for key, value in (overrides or {}).items():
        *sections, name = key.split(".")
        target = values
        for section in sections:
            target = target.setdefault(section, {})
        target[name] = value
    return config_lib.from_dict(values)


def _read_json(path: str) -> dict[str, Any]:
    try:
        values = json.loads(pathlib.Path(path).read_bytes())
    except OSError as error:
        raise UserError(f"--config={path}: {error.strerror}.") from error
    except ValueError as error:
        raise UserError(f"{path} is not valid JSON.") from error
    if not isinstance(values, dict):
        raise UserError(f"{path} is not the config of a run.")
    return values


def _run_config_file(path: str) -> dict[str, Any]:
    arguments: list[str] = []
    if not pathlib.Path(path).is_file() and ":" in path:
        path, _, argument = path.rpartition(":")
        arguments = [argument]
    if not pathlib.Path(path).is_file():
        raise UserError(f"--config={path}: there is no such file.")
    try:
        get_config = runpy.run_path(path).get("get_config")
        if get_config is None:
            raise UserError(f"{path} defines no function get_config().")
        if arguments and not inspect.signature(get_config).parameters:
            raise UserError(f"{path} has no variants; drop {':'.join(['', *arguments])!r}.")
        config = get_config(*arguments)
    except UserError:
        raise
    except Exception as error:
        file, line = _location(error, path)
        raise UserError(f"{file}, line {line}: {type(error).__name__}: {error}") from error
    if not isinstance(config, ConfigDict):
        raise UserError(f"get_config() of {path} must return a ConfigDict, not {config!r}.")
    return config.to_dict()


def _location(error: Exception, path: str) -> tuple[str, int | None]:
    """The file and line of a failing config: its own, or those of a config it builds upon."""
    if isinstance(error, SyntaxError) and error.filename:
        return os.path.relpath(error.filename), error.lineno
    folder = os.path.dirname(os.path.abspath(path))
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if os.path.dirname(os.path.abspath(frame.filename)) == folder:
            return os.path.relpath(frame.filename), frame.lineno
    return path, None


def _define_overrides(
    name: str, section: type, flag_values: flags.FlagValues
) -> Callable[[], dict[str, Any]]:
    """Defines --NAME.KEY for every key of `section`, and returns a function for those given."""
    holders = {}
    for key, kind in _keys(section):
        help_text = f"overrides {key}"
        if typing.get_origin(kind) is Literal:
            help_text += f": {' or '.join(typing.get_args(kind))}"
        holders[key] = flags.DEFINE(
            _VALUE_PARSERS.get(kind, flags.ArgumentParser()),
            f"{name}.{key}",
            None,
            help_text,
            flag_values=flag_values,
            boolean=kind is bool,
        )
    return lambda: {key: flag.value for key, flag in holders.items() if flag.present}


def _keys(section: type, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted keys of a dataclass of dataclasses, each with the type of its value."""
    for field in dataclasses.fields(section):
        if dataclasses.is_dataclass(field.type):
            yield from _keys(field.type, f"{prefix}{field.name}.")
        else:
            yield prefix + field.name, field.type


class _Value(flags.ArgumentParser):
    """A value of one word; the error, unlike that of absl's own parsers, speaks no Python."""

    def __init__(self, convert: Callable[[str], Any], name: str):
        self.convert = convert
        self.syntactic_help = name

    def parse(self, argument: str) -> Any:
        try:
            return self.convert(argument)
        except ValueError:
            raise ValueError(f"must be {self.syntactic_help}") from None


class _Strings(flags.ArgumentParser):
    """a.en,a.de or, for names with commas, ('a.en','a.de')."""

    syntactic_help = "names with commas between them"

    def parse(self, argument: str) -> tuple[Any, ...]:
        try:
            value = ast.literal_eval(argument)
        except (SyntaxError, ValueError):
            value = tuple(argument.split(",")) if argument else ()
        return tuple(value) if isinstance(value, list | tuple) else (argument,)


_VALUE_PARSERS = {
    bool: _Value(flags.BooleanParser().parse, "true or false"),
    int: _Value(int, "a whole number"),
    float: _Value(float, "a number"),
    tuple[str, ...]: _Strings(),
}


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
