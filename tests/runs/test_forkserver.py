"""The server that forks workers: each is what a process of its own would be, and nothing outlives its client."""

import gc
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from pebench.suite.runs.cell import Cell
from pebench.suite.runs.engines import forkserver, local
from pebench.suite.runs.engines.forkserver import LOST, ForkServerError, Server, Worker

pytestmark = pytest.mark.skipif(not local.FORKS, reason="workers are forked on Linux alone")
CELL = Cell("nope", "copy", "SMOKE", 0)


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    started = Server(local.surroundings())
    yield started
    started.close()


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "log"


def close(*workers: Worker) -> None:
    for worker in workers:
        for pipe in (worker.stdin, worker.stdout):
            pipe.close()


def test_a_worker_is_a_process_as_if_it_were_started_alone(server: Server, log: Path, tmp_path: Path) -> None:
    gc.collect()  # of other tests
    before = os.listdir("/proc/self/fd")
    with log.open("w") as errors:
        worker = server.fork(errors, local.surroundings())
    process = psutil.Process(worker.pid)
    deadline = time.monotonic() + 20
    while {file.fd for file in process.open_files()} != {1, 2}:  # the log, as in any worker
        assert time.monotonic() < deadline
    assert os.getsid(worker.pid) == worker.pid  # Ctrl-C reaches the sweep alone
    # A thread of the server would be missing in the worker, with the locks that it held.
    assert psutil.Process(server.process.pid).num_threads() == 1
    assert process.cwd() == os.getcwd()
    assert process.num_fds() <= 5  # standard streams, and copies of two
    assert process.net_connections(kind="unix") == []
    assert worker.poll() is None
    worker.stdin.write(local.order(CELL, tmp_path))
    worker.stdin.flush()
    assert worker.stdout.read().splitlines()[-1] == '{"done": 7, "total": 7}'
    assert worker.wait() == worker.poll() == 0
    worker.kill()  # is no harm now
    close(worker)
    assert os.listdir("/proc/self/fd") == before


def test_how_a_worker_ends_is_told_whatever_the_order(server: Server, log: Path) -> None:
    with log.open("w") as errors:
        killed, left, refused = (server.fork(errors, local.surroundings()) for _ in range(3))
    refused.stdin.write("no order\n")
    refused.stdin.flush()
    killed.kill()
    left.stdin.close()
    assert [refused.wait(), left.wait(), killed.wait()] == [1, 1, -9]
    assert "JSONDecodeError" in log.read_text()
    close(killed, left, refused)


def test_a_server_that_is_gone_is_told_and_replaced(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forkserver, "_server", None)
    surroundings = local.surroundings()
    with log.open("w") as errors:
        lost = forkserver.fork(errors, surroundings)
        first = lost.server
        first.process.kill()
        assert lost.wait() == LOST
        first.process.wait()
        with pytest.raises(ForkServerError):
            first.fork(errors, surroundings)
        again = forkserver.fork(errors, surroundings)
        assert again.server is not first
        third = forkserver.fork(errors, surroundings)
        assert third.server is again.server
        close(lost, again, third)
        first.close()
        third.server.close()


def test_other_code_or_another_environment_has_a_server_of_its_own(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert server.serves(local.surroundings())
    with monkeypatch.context() as changed:
        changed.setenv("MALLOC_ARENA_MAX", "1")
        assert not server.serves(local.surroundings())
    monkeypatch.setattr(forkserver, "code", lambda: (0, 0))
    assert not server.serves(local.surroundings())


def test_a_worker_has_the_environment_of_its_client_as_it_is_now(
    server: Server, log: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", os.fspath(tmp_path))
    monkeypatch.setenv("LONG", "x" * 300_000)  # more than a socket takes at once
    (tmp_path / "mine.py").write_text(
        'from pebench.encodings.nope import NoPE\n\n\nclass Idea(NoPE):\n    """Mine."""\n'
    )
    assert server.serves(local.surroundings())
    with log.open("w") as errors:
        worker = server.fork(errors, local.surroundings())
    worker.stdin.write(local.order(Cell("~/mine.py:Idea", "copy", "SMOKE", 0), tmp_path))
    worker.stdin.flush()
    worker.stdout.read()
    assert worker.wait() == 0, log.read_text()
    close(worker)


def test_nothing_outlives_a_client_that_is_killed(tmp_path: Path) -> None:
    code = (
        "import sys, time; from pebench.suite.runs.engines import forkserver\n"
        "forkserver.begin(); assert 'torch' not in sys.modules; begun = forkserver._server\n"
        "from pebench.suite.runs.engines import local\n"
        "made = forkserver.fork(open('log', 'w'), local.surroundings())\n"
        "assert begun in (made.server, None)  # of one processor\n"
        "print(made.server.process.pid, made.pid, flush=True); time.sleep(60)"
    )
    client = subprocess.Popen(
        [sys.executable, "-P", "-c", code], cwd=tmp_path, stdout=subprocess.PIPE, text=True
    )
    assert client.stdout
    theirs = [psutil.Process(int(pid)) for pid in client.stdout.readline().split()]
    client.kill()
    client.wait()
    client.stdout.close()
    assert psutil.wait_procs(theirs, timeout=20)[1] == []


def test_a_file_that_is_newer_is_other_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in forkserver.PACKAGES:
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.py").write_text("")
    monkeypatch.setattr(forkserver, "__file__", os.fspath(tmp_path / "suite/runs/engines/forkserver.py"))
    before = forkserver.code()
    later = time.time() + 5
    os.utime(tmp_path / "encodings/a.py", (later, later))
    assert forkserver.code() != before


def test_an_interrupted_start_leaves_no_answer_for_the_next(
    log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = Server(local.surroundings())
    before = os.listdir("/proc/self/fd")

    def interrupted(wait: bool) -> dict[str, int] | None:
        raise KeyboardInterrupt

    with log.open("w") as errors, monkeypatch.context() as patch:
        patch.setattr(server, "message", interrupted)
        with pytest.raises(KeyboardInterrupt):
            server.fork(errors, local.surroundings())
    assert not server.serves(local.surroundings())
    assert len(os.listdir("/proc/self/fd")) < len(before)  # its socket is closed too
