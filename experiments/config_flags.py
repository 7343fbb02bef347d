"""Experiments as flags: --config=FILE, and --config.SECTION.KEY=VALUE for every key there is."""

import ast
import dataclasses
import inspect
import json
import os
import pathlib
import runpy
import traceback
import typing
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal

from absl import flags
from ml_collections import ConfigDict

from transformer import config as config_lib
from transformer.config import Config, DecodingConfig
from transformer.errors import UserError

# The flags that are defined here belong to the script that asks for them, and to its --help.
flags.disclaim_key_flags()


def config_flag(
    default: str | None = None, flag_values: flags.FlagValues = flags.FLAGS
) -> Callable[..., Config]:
    """Defines --config=FILE, and --config.SECTION.KEY=VALUE for every key of `Config`.

    The keys and their types come from the dataclasses and not, as with
    `ml_collections.config_flags`, from running the file while flags are being parsed; so a
    misspelt key, a value of another type and a mistake in the file are told apart and each gets
    its own sentence.

    Returns:
      A function to call in `main`: it loads the file, applies the overrides and checks the result.
      Its argument stands for what may follow the file behind a colon. It raises `UserError`, see
      `load_config`.
    """
    path = flags.DEFINE_string(
        "config",
        default,
        "the experiment, a file like configs/base.py (configs/table3.py:C2 is its row C2), or the "
        "config.json of a run",
        flag_values=flag_values,
    )
    overrides = _define_overrides("config", Config, flag_values)

    def load(variant: str = "") -> Config:
        if not path.value:
            raise UserError("Name an experiment, for example --config=configs/base.py.")
        return load_config(f"{path.value}:{variant}" if variant else path.value, overrides())

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


def names_flag(name: str, help_text: str) -> flags.FlagHolder:
    """Defines --NAME=a,b or --NAME="('a','b')", a tuple of strings, by default empty."""
    return flags.DEFINE(_Strings(), name, (), help_text)


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
