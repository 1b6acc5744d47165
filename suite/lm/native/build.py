"""The C library of the native kernels: compiled on first use, kept by the hash of its source and of the machine."""

import ctypes
import functools
import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from pebench.tasks.data.wheels import cache_folder

FOLDER = Path(__file__).parent
SOURCES = sorted(p for p in FOLDER.iterdir() if p.suffix in (".c", ".h"))
# No -ffast-math: it would change infinities, and the rounding mode of the whole process. Contraction to fused
# multiply-adds is wanted.
FLAGS = ("-O3", "-march=native", "-ffp-contract=fast", "-fno-math-errno", "-fPIC", "-shared")


@functools.cache
def library() -> ctypes.CDLL | None:
    """The kernels, or None, said in one line, where they cannot be had: the pure PyTorch path serves then."""
    if os.environ.get("PEBENCH_NATIVE") == "0":
        return None
    try:
        return ctypes.CDLL(os.fspath(built()))
    except (OSError, subprocess.SubprocessError) as e:
        said = str(getattr(e, "stderr", None) or e).strip().partition("\n")[0]
        print(f"pebench: no native kernels, training is up to twice as slow: {said}", file=sys.stderr)
        return None


def serving() -> str:
    """Which kernels serve, by their hash; empty where none do."""
    kernels = library()
    return Path(kernels._name).stem if kernels else ""


def built() -> Path:
    """The compiled library; OSError or SubprocessError where there is none to be had."""
    compiler = next(filter(None, map(shutil.which, ("cc", "gcc", "clang"))), None)
    if compiler is None:
        raise FileNotFoundError("no C compiler (cc, gcc or clang) was found")
    path = cache_folder() / "native" / f"{key(compiler)}.so"
    if not path.exists():
        compile_to(compiler, path)
    return path


def key(compiler: str) -> str:
    """What a compiled library depends on: source, flags, compiler, and the processor that -march=native means."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else [platform.processor()]
    machine = next((line for line in lines if line.startswith(("flags", "Features"))), lines[0])
    said = "\0".join([compiler, *FLAGS, platform.machine(), machine])
    source = b"".join(path.read_bytes() for path in SOURCES)
    return hashlib.sha256(source + said.encode()).hexdigest()[:16]


def compile_to(compiler: str, path: Path) -> None:
    """Compile beside the target and move it there whole: others may be doing the same."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        new = Path(folder, path.name)
        command = [
            compiler,
            *FLAGS,
            "-o",
            os.fspath(new),
            *(os.fspath(p) for p in SOURCES if p.suffix == ".c"),
            "-lm",
        ]
        subprocess.run(command, check=True, capture_output=True, text=True, timeout=120)
        new.replace(path)
