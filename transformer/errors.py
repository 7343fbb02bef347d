"""The one exception that stands for a mistake of the user, not of the program."""


class UserError(Exception):
    """Something the user can put right; the message is one sentence that says what and how.

    The scripts in ``experiments/`` print it to stderr without a traceback and exit with status 2.
    """
