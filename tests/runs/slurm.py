"""A Slurm of two nodes on this machine, for tests: the daemons, and the environment in which its commands find them."""

import contextlib
import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

CONFIGURATION = """
ClusterName=tiny
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge/socket
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool/%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.%n.pid
SlurmctldLogFile={folder}/log/slurmctld
SlurmdLogFile={folder}/log/%n
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
ReturnToService=2
SlurmdTimeout=20
KillWait=2
JobRequeue=1
SchedulerParameters=batch_sched_delay=1,sched_interval=2
NodeName=n1 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[1]} CPUs=2 RealMemory=4000 State=UNKNOWN
NodeName=n2 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[2]} CPUs=2 RealMemory=4000 State=UNKNOWN
PartitionName=main Nodes=n1,n2 Default=YES MaxTime=INFINITE State=UP
"""
DAEMONS = ("munged", "slurmctld", "slurmd")


def missing() -> str:
    """Why there can be no Slurm here; empty where there can."""
    absent = [name for name in DAEMONS if shutil.which(name, path=search()) is None]
    if absent:
        return f"{', '.join(absent)} not installed: `make engines` installs it"
    return "" if os.getuid() == 0 else "a Slurm of one machine needs the superuser"


def search() -> str:
    """Where daemons lie, which not every PATH names."""
    return f"{os.environ['PATH']}:/usr/sbin:/sbin"


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens at."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


@contextlib.contextmanager
def cluster(folder: Path) -> Iterator[dict[str, str]]:
    """A cluster of the nodes n1 and n2; the environment for its commands."""
    for name in ("munge", "state", "spool", "log"):
        (folder / name).mkdir(parents=True)
    for above in (folder, *folder.parents):  # munged runs as a user of its own, and looks at the modes
        if above == Path(tempfile.gettempdir()):  # what lies above is the system's
            break
        above.chmod(0o755)
    key = folder / "munge" / "key"
    key.write_bytes(secrets.token_bytes(128))
    key.chmod(0o600)
    munge = pwd.getpwnam("munge")
    for path in (folder / "munge", key):
        os.chown(path, munge.pw_uid, munge.pw_gid)
    (folder / "slurm.conf").write_text(
        CONFIGURATION.format(folder=folder, host=socket.gethostname(), ports=free_ports(3))
    )
    env = {**os.environ, "PATH": search(), "SLURM_CONF": os.fspath(folder / "slurm.conf")}
    inside = folder / "munge"
    names = {"key-file": "key", "socket": "socket", "pid-file": "pid", "log-file": "log", "seed-file": "seed"}
    munged = ["munged", "--foreground", "--num-threads=2", *(f"--{k}={inside / v}" for k, v in names.items())]
    started = [start(munged, env, folder, user=munge.pw_uid, group=munge.pw_gid)]
    try:
        wait_for(lambda: (inside / "socket").exists(), "munged", folder)
        started.append(start(["slurmctld", "-D"], env, folder))
        for name in ("n1", "n2"):
            started.append(start(["slurmd", "-D", "-N", name], env, folder))
        wait_for(lambda: states(env).count("idle") == 2, "slurmd", folder)
        yield env
    finally:
        for process in reversed(started):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
        for process in started:
            try:
                process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


def start(words: list[str], env: dict[str, str], folder: Path, **who: int) -> subprocess.Popen[bytes]:
    """A daemon in a process group of its own."""
    found = shutil.which(words[0], path=env["PATH"])
    assert found
    with (folder / "log" / "daemons").open("ab") as log:
        return subprocess.Popen(
            [found, *words[1:]], env=env, stdout=log, stderr=log, start_new_session=True, **who
        )


def states(env: dict[str, str]) -> list[str]:
    """The state of each node."""
    words = ["sinfo", "--noheader", "--Node", "--format=%T"]
    return subprocess.run(words, env=env, capture_output=True, text=True).stdout.split()


def wait_for(done: Callable[[], bool], what: str, folder: Path, seconds: float = 60) -> None:
    """Wait until something is so."""
    end = time.monotonic() + seconds
    while not done():
        said = (folder / "log" / "daemons").read_text(errors="replace")[-2000:]
        assert time.monotonic() < end, f"{what} is not ready after {seconds:.0f} s: {said}"
        time.sleep(0.3)
