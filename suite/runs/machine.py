"""What this machine is, and how much of it is ours: the source's commit, the processor, memory, limits of containers.

None of it is worth the result of a run: what the machine does not tell is None, or is told with its reason.
"""

import base64
import functools
import hashlib
import importlib.metadata
import json
import math
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import torch

from pebench.suite.results.provenance import Commit

ROOT = Path(__file__).resolve().parents[2]  # of the source
PATIENCE = 30  # seconds that git may take
LEAST_DISK = 64 * 2**20  # bytes that a run may write: its record, its model, its state
LEAST_MEMORY = 512 * 2**20  # bytes that PyTorch and the smallest run need
GPU_SHARE = 4 * 2**30  # bytes of a GPU for one small model and its process; an estimate, never measured


def commit(root: Path = ROOT) -> Commit:
    """The commit of the source and whether files differ from it, or under `no_commit` why that is not known.

    No variable of the environment (GIT_DIR ...) makes git answer for another repository.
    """
    if not os.path.exists(root / ".git"):  # an installed package, be it inside another repository
        return built(root)
    try:
        head = git(root, "rev-parse", "--verify", "HEAD").strip()
        changes = git(root, "status", "--porcelain", "--untracked-files=no")
    except FileNotFoundError:
        return {"no_commit": "git is not installed"}
    except subprocess.TimeoutExpired:
        return {"no_commit": f"git did not answer in {PATIENCE} s"}
    except subprocess.CalledProcessError as e:
        said = next(iter(e.stderr.strip().splitlines()), f"git ended with status {e.returncode}")
        return {"no_commit": said.removeprefix("fatal: ").replace(os.fspath(root), root.name)}
    except OSError as e:
        return {"no_commit": f"git cannot be run: {e.strerror or e}"}
    return {"commit": head, "dirty": bool(changes.strip())}


BUILT = "built.json"  # in a wheel or source distribution: the commit that it was made of; setup.py writes it


def built(root: Path) -> Commit:
    """The commit that an installed package was built of; dirty where a file of it was changed since."""
    try:
        stated = json.loads((root / BUILT).read_text(encoding="utf-8"))
        commit, dirty = str(stated["commit"]), bool(stated["dirty"])
    except (OSError, ValueError, KeyError, TypeError):
        return {"no_commit": "the source is not a checkout of git"}
    return {"commit": commit, "dirty": dirty or changed(root)}


def changed(root: Path) -> bool:
    """Whether a Python file of the package differs from the installed one."""
    try:
        listed = importlib.metadata.files("pebench") or []
    except importlib.metadata.PackageNotFoundError:
        return True
    for file in listed:
        if file.suffix == ".py" and file.hash is not None:
            try:
                digest = hashlib.new(file.hash.mode, file.read_binary()).digest()
            except (OSError, ValueError):
                return True
            if base64.urlsafe_b64encode(digest).rstrip(b"=").decode() != file.hash.value:
                return True
    return not listed


def git(root: Path, *command: str) -> str:
    """What git prints of the repository at `root`. It writes nothing there, and runs none of its programs."""
    given = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    asked = ["git", "--no-optional-locks", "-C", os.fspath(root), "-c", "core.fsmonitor=false", *command]
    return subprocess.run(
        asked,
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        check=True,
        timeout=PATIENCE,
        stdin=subprocess.DEVNULL,
        env={**given, "GIT_CEILING_DIRECTORIES": os.fspath(root.parent), "LC_ALL": "C"},
    ).stdout


def cores(root: Path = Path("/")) -> int:
    """How many processors this process may use: those it may run on, by its container's quota and Slurm's grant."""
    own = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    own = min(own, granted("SLURM_CPUS_PER_TASK") or own)
    quotas = [quota for group in control_groups(root) if (quota := processors_of(group))]
    return max(1, min(own, *(math.ceil(quota) for quota in quotas))) if quotas else own


def memory(root: Path = Path("/")) -> int:
    """How many bytes of memory this process may use: the machine's, or what its container or Slurm grants."""
    names = ("memory.max", "memory.high", "memory.limit_in_bytes")
    limits = [whole(text(group / name)) for group in control_groups(root) for name in names]
    each = granted("SLURM_MEM_PER_CPU") * (granted("SLURM_CPUS_PER_TASK") or 1)
    limits += [2**20 * megabytes for megabytes in (granted("SLURM_MEM_PER_NODE"), each) if megabytes]
    return int(min([psutil.virtual_memory().total, *(limit for limit in limits if limit)]))


def disk_faults(folder: Path) -> list[str]:
    """Why runs cannot write here."""
    try:
        free = shutil.disk_usage(folder).free
        if free < LEAST_DISK:
            return [f"{free / 2**20:.0f} MiB free in {folder}, fewer than {LEAST_DISK / 2**20:.0f}"]
        with tempfile.NamedTemporaryFile(dir=folder) as file:
            file.write(bytes(4096))
            file.flush()
    except OSError as e:
        return [f"cannot write to {folder}: {e.strerror or e}"]
    return []


def usable_memory() -> int:
    """The bytes that runs may take together: the rest is the driver's."""
    return int(0.9 * memory())


def runs_in_memory() -> int:
    """How many runs the memory holds."""
    return max(1, usable_memory() // LEAST_MEMORY)


def runs_at_once(device: str) -> int:
    """How many runs fit a machine: one for each processor with its least memory.

    On a GPU it is at most one for each 4 GiB of the GPU's free memory.
    """
    if not device.startswith("cuda"):
        return min(cores(), runs_in_memory())
    free, _ = torch.cuda.mem_get_info(device)
    return max(1, min(cores(), free // GPU_SHARE))


def gpus() -> int:
    """How many GPUs this process may use."""
    return torch.cuda.device_count()


def granted(name: str) -> int:
    """A number of Slurm's environment; 0 where there is none: Slurm need not confine what it grants."""
    return whole(os.environ.get(name, "")) or 0


def processors_of(group: Path) -> float | None:
    """The processors that a control group may use at a time; None where it has no limit."""
    quota, _, period = text(group / "cpu.max").partition(" ")
    if not quota:
        quota, period = text(group / "cpu.cfs_quota_us"), text(group / "cpu.cfs_period_us")
    try:
        share = float(quota) / float(period)
    except (ValueError, ZeroDivisionError):  # "max", or no such file
        return None
    return share if 0 < share < math.inf else None


def whole(said: str) -> int | None:
    """The positive whole number that the system says; None where it says something else ("max"), or too much."""
    return int(said) or None if re.fullmatch("[0-9]{1,19}", said) else None


def text(file: Path) -> str:
    """What a file of the system says; empty where there is no such file, or it is not for us."""
    try:
        return file.read_text(errors="replace").strip()
    except OSError:
        return ""


def control_groups(root: Path) -> Iterator[Path]:
    """The folders of the control groups that this process is in, and of all above them that can be seen.

    Version 1 has a tree for each kind of limit, version 2 one for all. A container sees its own part of a tree,
    often without being told where it hangs: the usual places are looked at too.
    """
    ours = [
        line.split(":", 2) for line in text(root / "proc/self/cgroup").splitlines() if line.count(":") > 1
    ]
    places = dict.fromkeys(root / "sys/fs/cgroup" / name for name in ("", "cpu", "memory"))
    for line in text(root / "proc/self/mountinfo").splitlines():
        mount, _, about = line.partition(" - ")
        parts, (kind, *options) = mount.split(), about.replace(",", " ").split() or [""]
        if len(parts) < 5:
            continue
        top, point = (part.replace("\\040", " ") for part in parts[3:5])
        for _, kinds, inside in ours:
            if (kind == "cgroup2" and not kinds) or (
                kind == "cgroup" and set(kinds.split(",")) & set(options)
            ):
                below = Path(os.path.relpath(inside, top))
                below = Path() if ".." in below.parts else below
                group = root / point.lstrip("/") / below
                places |= dict.fromkeys([group, *list(group.parents)[: len(below.parts)]])
    yield from places


def peak_memory(device: torch.device, status: Path = Path("/proc/self/status")) -> int | None:
    """The most bytes that this process has held, of a GPU's memory where it runs on one.

    Linux's getrusage starts from what the parent held, and so is asked where the system tells nothing better.
    """
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    for line in text(status).splitlines():
        name, _, said = line.partition(":")
        if name == "VmHWM" and (kilobytes := whole(said.removesuffix("kB").strip())):
            return 1024 * kilobytes
    try:
        import resource
    except ImportError:  # Windows
        about = psutil.Process().memory_info()
        return getattr(about, "peak_wset", about.rss)
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most * (1 if sys.platform == "darwin" else 1024) or psutil.Process().memory_info().rss


def hardware(device: torch.device) -> str:
    """What a device is."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"


@functools.cache
def processor() -> str:
    """The processor's name, or its architecture where the system does not tell."""
    lines = text(Path("/proc/cpuinfo")).splitlines()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names and names[0] else platform.processor() or platform.machine()
