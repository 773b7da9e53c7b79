"""The error every user mistake turns into: one clear message, exit code 2, no traceback."""


class UserError(ValueError):
    """Bad input. The message names the file or key, what was found, what is allowed, and what to do.

    The command line prints it alone and exits with code 2; library callers catch it as a ValueError.
    """
