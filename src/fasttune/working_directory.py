"""Where this process stands: what relative paths begin at, and what workers begin in. It may have been removed."""

from __future__ import annotations

import os


def working_directory(needed_for: str) -> str:
    """The working directory of this process. FileNotFoundError, which names what it is ``needed_for``, when there is none."""
    try:
        return os.getcwd()
    except FileNotFoundError:
        raise FileNotFoundError(
            f"the working directory of this process has been removed, or cannot be reached any more: {needed_for}. Go to a folder "
            "that is there (os.chdir, or cd and start again). Usual cause: a folder that was removed, or made anew, under a notebook "
            "or a shell"
        ) from None


def absolute(path: str | os.PathLike[str], what: str) -> str:
    """The whole path of what a user wrote, with ``~`` filled in. For a relative one FileNotFoundError as of `working_directory`."""
    plain = os.path.expanduser(os.fspath(path))
    if not os.path.isabs(plain):
        return os.path.normpath(os.path.join(working_directory(f"{what} {plain!r} is relative to it"), plain))
    return os.path.normpath(plain)
