"""The C library of the native kernels: compiled on first use, kept by the hash of its source and of the machine."""

import contextlib
import ctypes
import functools
import hashlib
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

from pebench.suite.results.cache import cache_folder, temporary_folder
from pebench.suite.results.provenance import Kernels

FOLDER = Path(__file__).parent
SOURCES = sorted(p for p in FOLDER.iterdir() if p.suffix in (".c", ".h"))
# No -ffast-math: it would change infinities, and the rounding mode of the whole process. Contraction to fused
# multiply-adds is wanted.
FLAGS = ("-O3", "-march=native", "-ffp-contract=fast", "-fno-math-errno", "-fPIC", "-shared")


class Found(NamedTuple):
    """The kernels, or why there are none."""

    library: ctypes.CDLL | None
    reason: str = ""


def library() -> ctypes.CDLL | None:
    """The kernels, or None, said in one line, where they cannot be had: the pure PyTorch path serves then."""
    return found().library


@functools.cache
def found() -> Found:
    """The kernels of the user's cache, else of a temporary folder: compiled where they lack or do not load."""
    if os.environ.get("PEBENCH_NATIVE") == "0":
        return Found(None, "PEBENCH_NATIVE=0")
    reason = ""
    for folder in (cache_folder, temporary_folder):
        try:
            return Found(loaded(folder() / "native"))
        except (OSError, subprocess.SubprocessError) as e:
            reason = reason or words(e)
    print(f"pebench: no native kernels, training is two to three times as slow: {reason}", file=sys.stderr)
    return Found(None, reason)


def words(error: Exception) -> str:
    """What went wrong, in one line without folders: it goes into records, which others read."""
    said = getattr(error, "stderr", None) or getattr(error, "strerror", None) or error
    return re.sub(r"[^\s'\"]*/", "", str(said).strip().partition("\n")[0])


def serving() -> str:
    """Which kernels serve, by their hash; empty where none do."""
    kernels = library()
    return Path(kernels._name).stem if kernels else ""


def served() -> Kernels:
    """For a record: which kernels this process computed with, and why not the native ones; {} if it never asked."""
    if not found.cache_info().currsize:
        return {}
    kernels, reason = found()
    return {"kernels": "native"} if kernels else {"kernels": "pytorch", "kernels_reason": reason}


def loaded(folder: Path) -> ctypes.CDLL:
    """The library in this folder, where it is whole and loads, else compiled anew; OSError or SubprocessError."""
    compiler = next(filter(None, map(shutil.which, ("cc", "gcc", "clang"))), None)
    if compiler is None:
        raise FileNotFoundError("no C compiler (cc, gcc or clang) was found")
    name = key(compiler)
    for path in sorted(folder.glob(f"{name}-*.so")):
        # A library cut short kills the process that loads it, so its bytes are read first.
        if path.stem == f"{name}-{digest(path)}":
            with contextlib.suppress(OSError):
                return ctypes.CDLL(os.fspath(path))
    return ctypes.CDLL(os.fspath(compiled(compiler, folder, name)))


def digest(path: Path) -> str:
    """The hash of a library's bytes, which its name ends in."""
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]


def key(compiler: str) -> str:
    """What a compiled library depends on: source, flags, compiler, and the processor that -march=native means.

    The compiler says its version and the processor's features in its macros.
    """
    macros = [compiler, "-march=native", "-dM", "-E", "-x", "c", os.devnull]
    told = subprocess.run(macros, check=True, capture_output=True, text=True, timeout=60).stdout
    said = "\0".join([compiler, *FLAGS, platform.machine(), told])
    source = b"".join(path.read_bytes() for path in SOURCES)
    return hashlib.sha256(source + said.encode()).hexdigest()[:16]


def compiled(compiler: str, folder: Path, name: str) -> Path:
    """Compile beside the target and move it there whole: others may be doing the same."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as room:
        new = Path(room, "new.so")
        sources = [os.fspath(p) for p in SOURCES if p.suffix == ".c"]
        command = [compiler, *FLAGS, "-o", os.fspath(new), *sources, "-lm"]
        subprocess.run(command, check=True, capture_output=True, text=True, timeout=600)
        return new.replace(folder / f"{name}-{digest(new)}.so")
