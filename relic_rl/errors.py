"""Errors that a user sees as one line, with the exit status that goes with them."""


class UserError(Exception):
    """Something the user can mend: the message says what, where and what to do."""

    exit_status = 1


class UsageError(UserError):
    """A wrong command line or configuration."""

    exit_status = 2
