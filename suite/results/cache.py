"""Where pebench keeps what it can make again: prepared texts, compiled kernels, unpacked results."""

import contextlib
import functools
import getpass
import os
import stat
import tempfile
from pathlib import Path

RECORDS = "PEBENCH_RECORDS"  # the variable of the records folder; where several are shown, divided as PATH is


def cache_folder() -> Path:
    """$PEBENCH_CACHE, else the user's cache folder, else a temporary one; whether it can be written is not asked.

    A user without a home (no HOME, a uid that the system does not know) has no cache folder.
    """
    import platformdirs  # who reads records needs the standard library alone

    try:
        return Path(
            os.environ.get("PEBENCH_CACHE") or platformdirs.user_cache_dir("pebench", appauthor=False)
        ).expanduser()
    except (RuntimeError, KeyError):
        return temporary_folder()


@functools.cache
def temporary_folder() -> Path:
    """A folder of this user alone in the system's temporary folder; another one each time where its name is taken."""
    user = os.getuid() if hasattr(os, "getuid") else getpass.getuser()
    folder = Path(tempfile.gettempdir(), f"pebench-{user}")
    with contextlib.suppress(OSError):
        folder.mkdir(mode=0o700, exist_ok=True)
        about = folder.lstat()  # what others could write, or have made, is not trusted
        if stat.S_ISDIR(about.st_mode) and about.st_uid == user and not about.st_mode & 0o022:
            return folder
    return Path(tempfile.mkdtemp(prefix="pebench-"))
