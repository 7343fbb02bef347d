"""The one exception that stands for a mistake of the user, not of the program."""

from collections.abc import Mapping
from typing import TypeVar

Choice = TypeVar("Choice")


class UserError(Exception):
    """Something the user can put right; the message is one sentence that says what and how.

    The scripts in ``experiments/`` print it to stderr without a traceback and exit with status 2.
    """


def choose(options: Mapping[str, Choice], name: str, what: str) -> Choice:
    """The option of that name; where there is none, a `UserError` that lists them all."""
    if name not in options:
        raise UserError(f"{name!r} is no {what}; choose one of {', '.join(options)}.")
    return options[name]
