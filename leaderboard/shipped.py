"""The published results: folders of a checkout, or what an installed package unpacks once into the user's cache."""

import contextlib
import functools
import hashlib
import io
import os
import tarfile
from pathlib import Path
from tempfile import TemporaryDirectory

from pebench.suite.results.cache import cache_folder, temporary_folder

ARCHIVE = Path(__file__).with_name(
    "published.tar.xz"
)  # setup.py puts it into a wheel, in place of the folders
COUNT = ".files"  # in the unpacked folder: how many files it has


@functools.cache
def folder() -> Path:
    """The folder of `records`, `extended` and `elsewhere`; the package's own where none can be written."""
    if ARCHIVE.is_file():
        data = ARCHIVE.read_bytes()
        name = f"published-{hashlib.sha256(data).hexdigest()[:16]}"
        for place in (cache_folder, temporary_folder):
            with contextlib.suppress(OSError):
                return unpacked(data, place() / name)
    return ARCHIVE.parent


def unpacked(data: bytes, folder: Path) -> Path:
    """The folder with all files of an archive: made whole or not at all, once. OSError where it cannot be written."""
    if whole(folder):
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(
        dir=folder.parent, prefix=f".{folder.name}.", ignore_cleanup_errors=True
    ) as making:
        new, count = Path(making, "new"), 0
        with tarfile.open(fileobj=io.BytesIO(data)) as archive:
            for file in filter(tarfile.TarInfo.isfile, archive):
                path = new / file.name
                path.parent.mkdir(parents=True, exist_ok=True)
                content = archive.extractfile(file)
                assert content is not None
                path.write_bytes(content.read())
                count += 1
        (new / COUNT).write_text(str(count), encoding="utf-8")
        with contextlib.suppress(OSError):  # another process may be as far as this one
            if folder.exists() and not whole(folder):  # in this order: another's comes whole, by one rename
                folder.rename(Path(making, "old"))
            new.rename(folder)
        if not whole(folder):
            raise OSError(f"{folder} cannot be written")
    return folder


def whole(folder: Path) -> bool:
    """Whether an unpacked folder has all its files: what tidies caches may have removed some."""
    try:
        stated = int((folder / COUNT).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return sum(len(files) for _, _, files in os.walk(folder)) == stated + 1
