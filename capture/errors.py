"""The error every user mistake turns into: one clear message, exit code 2, no traceback."""

import errno

REFUSALS = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk quota is used up",
    errno.EFBIG: "the file would be larger than is allowed here",
    errno.EROFS: "the disk is read-only",
    errno.EACCES: "no permission to write",
    errno.ENOTDIR: "a part of the path is a file, not a folder",
}
"""What an operating system refuses, in words an operator can act on."""


class UserError(ValueError):
    """Bad input. The message names the file or key, what was found, what is allowed, and what to do.

    The command line prints it alone and exits with code 2; library callers catch it as a ValueError.
    """
