"""A strange machine, one kind of strangeness each: real processes that must do their work in it."""

import codecs
import os
import signal
import stat
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
import torch

from pebench.leaderboard.board import make_board
from pebench.leaderboard.reading import stamp
from pebench.suite.commands import terminal
from pebench.suite.experiment.clock import Clock
from pebench.suite.results.processes import environment
from pebench.suite.results.record import Record, read_all, write
from pebench.suite.runs import machine
from pebench.suite.runs.cell import Cell
from pebench.suite.runs.runner import states
from pebench.suite.submissions.reproduce import add_mark, marks_of
from tests.made_records import write_sweep
from tests.made_submission import record
from tests.walks import some

COMMAND = (os.fspath(Path(sys.executable).with_name("pebench")),)
SMOKE = ("run", "--profile", "SMOKE", "-t", "copy", "--seed", "0", "-e")
# What lies in a user's folder has the names of modules that every run needs.
TAKEN = ("random.py", "copy.py", "torch.py", "sitecustomize.py", "logging/__init__.py", "pebench/__init__.py")
LINES = "raise SystemExit('imported from the working directory')\n"
IDEA = """
from pebench.encodings.nope import NoPE


class Idea(NoPE):
    title, paper, family, formula = "Mine", "none", "none", "s = q k"
"""


def pebench(*words: str, folder: Path, script: str = "", **more: str) -> subprocess.CompletedProcess[str]:
    """Run the command line; a `script` of Python is run first, in it and in every process that it starts."""
    env = {**os.environ, **more}
    if script:
        (folder / "start").mkdir(exist_ok=True)
        (folder / "start/sitecustomize.py").write_text(script)
        env["PYTHONPATH"] = os.fspath(folder / "start")
    env = {name: value for name, value in env.items() if value != "unset"}
    return subprocess.run([*COMMAND, *words], capture_output=True, encoding="utf-8", cwd=folder, env=env)


def measured(done: subprocess.CompletedProcess[str], folder: Path) -> Record:
    """The one record of a run that went well."""
    assert done.returncode == 0, done.stderr + done.stdout
    found, unreadable = read_all(folder)
    assert unreadable == []
    assert [r.outcome for r in found] == ["measured"], found[0].reason
    return found[0]


@pytest.mark.walks
def test_nothing_in_the_working_directory_is_imported(tmp_path: Path) -> None:
    for name in TAKEN:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(LINES)
    (tmp_path / "random.py").write_text(IDEA)
    code = (
        "import os; from pathlib import Path; from pebench.suite.runs import runner; "
        "from pebench.suite.runs.cell import Cell; from pebench.suite.experiment.profiles import SMOKE; "
        # An empty entry is the working directory. Ours was started without it, and hands it on.
        "os.environ['PYTHONPATH'] = os.pathsep; "
        "print(runner.sweep(SMOKE, [Cell('random.py:Idea', 'copy', 'SMOKE', 0)], Path('r')).run())"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", code], cwd=tmp_path, env=environment(), capture_output=True, text=True
    )  # fmt: skip
    assert measured(done, tmp_path / "r").encoding == "idea"


POOR = """
import errno, fcntl, os, pathlib, pwd, sys

def refuse(*_, **__):
    raise PermissionError(1, "Operation not permitted")
os.chmod = os.fchmod = refuse

def no_locks(*_):
    raise OSError(errno.ENOLCK, "No locks available")
fcntl.flock = fcntl.lockf = no_locks

def nobody(*_):
    raise KeyError("no such user")
pwd.getpwuid = nobody

def read_text(self, *a, before=pathlib.Path.read_text, **k):
    text = before(self, *a, **k)
    return "".join(x for x in text.splitlines(True) if "VmHWM" not in x) if "self/status" in str(self) else text
pathlib.Path.read_text = read_text

if "pebench.suite.runs.engines.forkserver" in sys.orig_argv:  # it forks the workers
    import pebench.suite.proofs.probes as probes
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")
    probes.to_csv = full
"""
WINDOWS = """
import os, sys
import psutil  # which has files of its own for Windows
sys.modules["resource"] = sys.modules["fcntl"] = None
for name in ("killpg", "set_blocking", "sched_getaffinity", "O_NOFOLLOW"):
    delattr(os, name)
"""


@pytest.mark.walks
def test_a_poor_machine_costs_no_result(tmp_path: Path) -> None:
    """No home, no name, no locks, no chmod, no peak of the memory, and no room for the figure beside the model."""
    done = pebench(
        *SMOKE, "nope", "--save", folder=tmp_path, script=POOR, HOME="unset", XDG_CACHE_HOME="unset"
    )
    made = measured(done, tmp_path / "records")
    assert made.provenance["peak_memory_bytes"] > 2**20
    assert made.provenance["missing"] == {"pictures": "OSError: No space left on device"}
    assert (tmp_path / "records" / made.provenance["checkpoint"]).exists()
    assert "pictures not written (OSError: No space left on device)" in done.stdout
    assert done.stderr.count("no locks in") == 1


@pytest.mark.walks
def test_what_only_unix_has_is_not_needed(tmp_path: Path) -> None:
    made = measured(pebench(*SMOKE, "nope", folder=tmp_path, script=WINDOWS), tmp_path / "records")
    assert made.provenance["peak_memory_bytes"] > 2**20


@pytest.mark.parametrize(("umask", "mode"), [(0o002, 0o664), (0o022, 0o644), (0o077, 0o600)])
def test_a_file_has_the_mode_that_the_umask_leaves(umask: int, mode: int, tmp_path: Path) -> None:
    before = os.umask(umask)
    try:
        path = write(record(Cell("nope", "copy", "SMOKE", 0)), tmp_path)
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == mode


def test_in_a_folder_of_a_group_the_group_may_write_under_the_usual_umask(tmp_path: Path) -> None:
    tmp_path.chmod(0o2775)
    before = os.umask(0o022)
    try:
        path = write(record(Cell("nope", "copy", "SMOKE", 0)), tmp_path)
    finally:
        os.umask(before)
    for made in (path, *list(path.parents)[:3]):
        assert made.stat().st_mode & stat.S_IWGRP, made


@pytest.mark.parametrize("encoding", some(["ascii", "latin-1"], "ascii"))
def test_every_terminal_shows_the_marks_of_a_check(encoding: str, tmp_path: Path) -> None:
    given = {**os.environ, "PYTHONIOENCODING": encoding, "LC_ALL": "C", "PYTHONUTF8": "0"}
    command = [*COMMAND, "validate", os.fspath(tmp_path)]
    done = subprocess.run(command, capture_output=True, cwd=tmp_path, env=given)
    assert b"Traceback" not in done.stderr
    lines = done.stdout.decode(encoding).splitlines()
    assert "x the card is filled" in lines
    assert "+ every number is possible" in lines


def test_a_process_that_we_start_gets_the_users_folders_and_none_of_the_traps(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in {"PYTHONPATH": os.pathsep.join(("", "/mine", "")), "PYTHONOPTIMIZE": "2"}.items():
        monkeypatch.setenv(name, value)
    given = environment(OMP_NUM_THREADS="1")
    assert given["PYTHONPATH"] == "/mine"
    assert given["PYTHONSAFEPATH"] == given["OMP_NUM_THREADS"] == "1"
    assert "PYTHONOPTIMIZE" not in given
    monkeypatch.setenv("PYTHONPATH", "")
    assert "PYTHONPATH" not in environment()


def test_a_sign_that_a_terminal_lacks_becomes_one_like_it() -> None:
    codecs.register_error("plain", terminal.plain)
    assert "✓ ✗ é ─ │ ╭ … θ \udcff".encode("ascii", "plain") == b"+ x e - | + . ? ?"


def made_tree(root: Path, cgroup: str, mounts: str, files: dict[str, str]) -> Path:
    """The part of a file system in which Linux tells of control groups."""
    for name, text in {"proc/self/cgroup": cgroup, "proc/self/mountinfo": mounts, **files}.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text + "\n")
    return root


CPUSET = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
V2 = "30 23 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw,nsdelegate"
V1 = "\n".join(
    f"3{n} 23 0:2{n} /docker/ab /sys/fs/cgroup/{name} rw - cgroup cgroup rw,{name}"
    for n, name in enumerate(("cpu,cpuacct", "memory"))
)


@pytest.mark.parametrize(
    ("cgroup", "mounts", "files", "processors", "gigabytes"),
    [
        ("0::/", V2, {"sys/fs/cgroup/cpu.max": "50000 100000", "sys/fs/cgroup/memory.max": f"{2**30}"}, 1, 1),
        ("0::/", V2, {"sys/fs/cgroup/cpu.max": "max 100000", "sys/fs/cgroup/memory.max": "max"}, CPUSET, None),
        ("0::/", V2, {"sys/fs/cgroup/cpu.max": "9900000 100000"}, CPUSET, None),
        (
            "0::/user/job", V2,  # the limit of a group above holds too
            {"sys/fs/cgroup/user/memory.max": f"{2**30}", "sys/fs/cgroup/user/job/memory.max": f"{2**32}",
             "sys/fs/cgroup/user/cpu.max": "100000 100000", "sys/fs/cgroup/user/job/cpu.max": "max 100000"}, 1, 1,
        ),
        (
            "3:memory:/docker/ab/in\n2:cpu,cpuacct:/docker/ab", V1,
            {"sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "100000",
             "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "100000",
             "sys/fs/cgroup/memory/in/memory.limit_in_bytes": f"{2**31}",
             "sys/fs/cgroup/memory/memory.limit_in_bytes": f"{2**30}"},
            1, 1,
        ),
        (
            "3:memory:/other\n2:cpu:/other", "",  # of the host: a container that is not told where it hangs
            {"sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1", "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000",
             "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712"}, CPUSET, None,
        ),
        ("", "", {}, CPUSET, None),
        (
            "0::/\n\x00\n", f"{V2}\n\n30 23 - cgroup2\n30 23 0:26 / /sys/fs/cgroup rw cgroup2\n\x1c - \x1c",
            {"sys/fs/cgroup/cpu.max": "inf 1", "sys/fs/cgroup/memory.max": "\u00b2",
             "sys/fs/cgroup/memory.high": "9" * 5000}, CPUSET, None,
        ),
    ],
    ids=["v2", "v2 without a limit", "v2 above the machine", "v2 nested", "v1", "v1 without a limit", "none",
         "garbage"],
)  # fmt: skip
def test_the_limits_of_a_container_count(
    cgroup: str, mounts: str, files: dict[str, str], processors: int, gigabytes: int | None, tmp_path: Path
) -> None:
    root = made_tree(tmp_path, cgroup, mounts, files)
    assert machine.cores(root) == processors
    whole = psutil.virtual_memory().total
    assert machine.memory(root) == (gigabytes * 2**30 if gigabytes else whole)


# Runs for some seconds, and ends without a record: with the right reason, unless the sweep has killed it.
IDLE = "import sys, time; [time.sleep(0.1) for _ in range(20)]; sys.exit('no record')"
SUSPENDED = f"""
import os
from pathlib import Path
from pebench.suite.runs import runner
from pebench.suite.runs.cell import Cell
from pebench.suite.runs.engines import local
local.WORKER, local.FORKS = ("-c", {IDLE!r}), False
cell = Cell("nope", "copy", "SMOKE", 0)
started = local.spawn
def spawn(log):
    process = started(log)
    print(process.pid, flush=True)
    return process
local.spawn = spawn
runner.Sweep([cell], Path("r"), 1, 5, 2**32).run()
"""


@pytest.mark.walks
@pytest.mark.parametrize("who", ["sweep and worker", "worker", "sweep"])
def test_a_run_that_is_suspended_is_not_timed_out(who: str, tmp_path: Path) -> None:
    command = [sys.executable, "-P", "-c", SUSPENDED]
    sweep = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True)
    assert sweep.stdout
    worker = next(int(line) for line in sweep.stdout if line.strip().isdigit())
    stopped = [*([sweep.pid] if "sweep" in who else []), *([worker] if "worker" in who else [])]
    for pid in stopped:
        os.kill(pid, signal.SIGSTOP)
    time.sleep(7)
    for pid in stopped:
        os.kill(pid, signal.SIGCONT)
    text = sweep.communicate(timeout=60)[0]
    assert ("was stopped; `kill -CONT" in text) == (who == "worker")
    made = read_all(tmp_path / "r")[0][0]
    assert made.reason == "ended with status 1: no record", text
    assert made.provenance["seconds"] < 5


@pytest.mark.parametrize(
    "status", ["", "\n \nVmHWM:\n", "VmHWM:\t\u00b2 kB\n", "VmHWM: kB\n\x1c\n", "VmHWM:\t0 kB\n"]
)
def test_a_peak_that_the_system_does_not_tell_is_found_otherwise(status: str, tmp_path: Path) -> None:
    (tmp_path / "status").write_text(status)
    assert (machine.peak_memory(torch.device("cpu"), tmp_path / "status") or 0) > 2**20
    (tmp_path / "status").write_text(f"\n{status}\nVmHWM:\t    5 kB\n")
    assert machine.peak_memory(torch.device("cpu"), tmp_path / "status") == 5120


@pytest.mark.parametrize("said", ["", "\u00b2", "-1", "4G", "4,2", "9" * 5000])
def test_a_grant_that_is_no_number_grants_nothing(said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_MEM_PER_NODE", said)
    assert machine.granted("SLURM_MEM_PER_NODE") == 0


def test_a_clock_stands_still_while_its_process_is_stopped() -> None:
    code = (
        "from pebench.suite.experiment.clock import clock; import time\n"
        "a, b = clock(), time.monotonic(); print('on', flush=True); input(); print(clock() - a, time.monotonic() - b)"
    )
    process = subprocess.Popen(
        [sys.executable, "-P", "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )  # fmt: skip
    assert process.stdout
    assert process.stdout.readline() == "on\n"
    process.send_signal(signal.SIGSTOP)
    time.sleep(4)
    process.send_signal(signal.SIGCONT)
    own, wall = map(float, process.communicate("\n")[0].split())
    assert wall > 4
    assert own < wall - 3


def test_a_clock_counts_a_computation_that_lets_no_other_thread_run() -> None:
    clock = Clock()
    started = clock()
    with clock.lock:  # so the thread that watches cannot look
        until = time.process_time() + 1.5
        while time.process_time() < until:
            pass
    assert clock() - started >= 1.5


def checkout(folder: Path) -> Path:
    """A repository with one commit."""
    folder.mkdir()
    (folder / "file").write_text("1")
    name = ("-c", "user.name=a", "-c", "user.email=a@b")
    for words in (("init", "-q"), ("add", "file"), (*name, "commit", "-qm", "one")):
        subprocess.run(["git", "-C", folder, *words], check=True)
    return folder


def test_no_variable_of_git_changes_what_a_record_says_of_its_commit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, other = checkout(tmp_path / "ours"), checkout(tmp_path / "other")
    (ours / "file").write_text("2")
    right = machine.commit(ours)
    assert right["dirty"] is True
    assert len(right["commit"]) == 40
    for name, value in {
        "GIT_DIR": other / ".git", "GIT_WORK_TREE": other, "GIT_INDEX_FILE": other / ".git/index",
        "GIT_CEILING_DIRECTORIES": tmp_path, "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": "core.worktree", "GIT_CONFIG_VALUE_0": other, "GIT_OBJECT_DIRECTORY": other,
        "GIT_COMMON_DIR": other / ".git", "GIT_NAMESPACE": "x",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, os.fspath(value))
    assert machine.commit(ours) == right
    subprocess.run(
        ["git", "-C", ours, "worktree", "add", "-q", tmp_path / "tree"],
        check=True,
        env={"PATH": os.environ["PATH"]},
    )
    assert machine.commit(tmp_path / "tree") == {"commit": right["commit"], "dirty": False}


def test_where_git_refuses_the_reason_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = checkout(tmp_path / "ours")
    assert "is not a checkout" in machine.commit(tmp_path)["no_commit"]
    (folder / "inner/.git").mkdir(parents=True)  # torn: git would go on to the repository around it
    assert "not a git repository" in machine.commit(folder / "inner")["no_commit"]
    (tmp_path / "empty").mkdir()
    subprocess.run(["git", "init", "-q", tmp_path / "empty"], check=True)
    assert machine.commit(tmp_path / "empty")["no_commit"]
    if os.geteuid() == 0:
        for path in (folder, folder / ".git"):
            os.chown(path, 54321, 54321)
        assert machine.commit(folder)["no_commit"] == "detected dubious ownership in repository at 'ours'"
    monkeypatch.setenv("PATH", os.fspath(tmp_path))
    assert machine.commit(folder) == {"no_commit": "git is not installed"}


def test_the_board_says_why_the_commit_is_not_known(tmp_path: Path) -> None:
    for made in read_all(write_sweep(tmp_path / "made", {"rope": 1.0, "fox": 2.0}))[0]:
        unknown = {**made.provenance, "commit": None, "dirty": None, "no_commit": "git is not installed"}
        write(replace(made, provenance=unknown), tmp_path / "records")
    notes = make_board(tmp_path / "records").notes
    assert "Run from code of no known commit (git is not installed): fox, rope." in notes
    assert not [note for note in notes if "not committed" in note]


def test_records_count_the_same_through_links(tmp_path: Path) -> None:
    far, near = tmp_path / "disk", tmp_path / "records"
    for encoding in ("nope", "rope"):
        for seed in (0, 1):
            write(record(Cell(encoding, "copy", "SMOKE", seed)), far)
    whole = read_all(far)[0]
    near.mkdir()
    (near / "AGAIN").symlink_to(far / "SMOKE")  # the same records by another way, which sorts first
    (near / "SMOKE").symlink_to(far / "SMOKE")
    (near / "round").symlink_to(near)
    (near / "self").symlink_to("self")
    (near / "gone").symlink_to(tmp_path / "not there")
    found, unreadable = read_all(near)
    assert found == whole
    assert {u.path.name for u in unreadable} == {"self", "gone"}
    assert "which is not there" in unreadable[0].reason
    before = stamp(near)
    write(record(Cell("nope", "copy", "SMOKE", 2)), far)
    assert stamp(near) != before
    assert len(read_all(near)[0]) == 5

    one = far / record(Cell("rope", "copy", "SMOKE", 0)).path
    elsewhere = one.rename(tmp_path / "moved.json")
    one.symlink_to(elsewhere)
    assert len(read_all(near)[0]) == 5
    cells = [Cell(name, "copy", "SMOKE", 0) for name in ("rope", "nope")]
    assert [state for _, state in states(cells, near)] == ["measured"] * 2


MARK = """
import os, sys
from pathlib import Path
from pebench.suite.submissions.reproduce import add_mark
child = os.fork()
for n in range(20):
    name = f"SMOKE/copy/rope/{n}-{'ab'[child == 0]}.json"
    add_mark({"record": name, "verdict": "equal", "sha256": "0"}, Path("marks/verified.json"))
sys.exit(os.waitpid(child, 0)[1] if child else 0)
"""


def test_marks_of_several_processes_at_once_are_all_kept(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-P", "-c", MARK], cwd=tmp_path, timeout=120, check=True)
    assert len(marks_of(tmp_path / "marks/verified.json")) == 40


def test_a_file_that_holds_no_marks_stays(tmp_path: Path) -> None:
    file = tmp_path / "verified.json"
    file.write_text("[" * 100_000)
    with pytest.raises(ValueError, match="no file of marks"):
        add_mark({"record": "a", "verdict": "equal"}, file)
    assert file.read_text() == "[" * 100_000


def test_what_the_machine_does_not_tell_costs_no_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pebench.suite.runs import cell

    def broken(*_: object) -> str:
        raise StopIteration

    monkeypatch.setattr(cell.native, "multiplies_in", broken)
    for fact in ("peak_memory", "processor", "hardware", "version"):
        monkeypatch.setattr(cell, fact, broken)
    made = cell.Cell("nope", "copy", "SMOKE", 0)
    known = cell.provenance(made, cell.Began(), torch.device("cpu"))
    assert known["cpu"] is None
    assert known["peak_memory_bytes"] is None
    write(made.record(outcome="failed", reason="x", provenance=known), tmp_path)
    assert len(read_all(tmp_path)[0]) == 1
