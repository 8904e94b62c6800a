"""The one exception that a user is meant to read."""


class BoostError(Exception):
    """Something a user can put right: says what was wrong, where, and what to do.

    The command line prints it without a traceback and exits with status 2.
    """
