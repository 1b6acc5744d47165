"""Workers that have imported torch already: one process imports it once, and forks a worker for each run.

`import torch` takes two seconds of a core, a fork some milliseconds. Python's own fork server (multiprocessing) runs
the caller's main module again, and takes no environment of its own. Workers are forked on Linux alone: elsewhere the
system's libraries do not stand it.

The protocol, on a Unix socket: a line of JSON with the working directory and the environment, and the worker's three
standard streams beside it. Lines come back: `{"pid": ...}` for each start, `{"pid": ..., "code": ...}` for each end.
The server ends with its client, however that ends.
"""

import contextlib
import json
import os
import selectors
import signal
import socket
import subprocess
import sys
import weakref
from pathlib import Path
from typing import IO, Any

import psutil

from pebench.suite.results.processes import environment

FORKS = sys.platform == "linux"
SERVER = ("-P", "-m", "pebench.suite.runs.engines.forkserver")
# glibc keeps what a training step frees for the next one, rather than returning it: page faults take a tenth of a step.
MALLOC = {
    "MALLOC_TRIM_THRESHOLD_": "1000000000",
    "MALLOC_MMAP_THRESHOLD_": "1000000000",
    "MALLOC_TOP_PAD_": "67108864",
}
# Variables that count when a process starts or a library is loaded: a worker takes all others from its client.
EARLY = (
    "LD_",
    "MALLOC_",
    "GLIBC_",
    "PYTHON",
    "OMP_",
    "GOMP_",
    "KMP_",
    "MKL_",
    "OPENBLAS_",
    "TORCH",
    "TRITON",
    "CUDA",
)
PACKAGES = ("suite", "tasks", "encodings")  # whose code a server holds
LOST = -signal.SIGKILL if hasattr(signal, "SIGKILL") else 1  # exit code of a worker whose server is gone


class ForkServerError(RuntimeError):
    """The server does not answer; a worker in a process of its own says why."""


class Server:
    """The client's side: a server, and what it has told of its workers."""

    def __init__(self, environment: dict[str, str]):
        ours, theirs = socket.socketpair()
        with theirs:
            self.process = subprocess.Popen(
                [sys.executable, *SERVER, str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env=environment,
                pass_fds=(theirs.fileno(),),
                start_new_session=True,  # Ctrl-C reaches the client alone
            )
        self.early = early(environment)
        self.code = code()
        self.socket = ours
        self.unread = b""
        self.codes: dict[int, int] = {}  # of the workers that have ended
        self.close = weakref.finalize(self, end, ours, self.process)

    def serves(self, environment: dict[str, str]) -> bool:
        """Whether a worker of it would be one of this environment and of the code as it is now."""
        return self.process.poll() is None and (self.early, self.code) == (early(environment), code())

    def fork(self, errors: IO[str], environment: dict[str, str]) -> "Worker":
        """A worker that waits for its cell. ForkServerError where the server is gone."""
        inward, outward = os.pipe(), os.pipe()
        try:
            request = json.dumps({"folder": os.getcwd(), "environment": environment}).encode() + b"\n"
            self.socket.settimeout(None)
            sent = socket.send_fds(self.socket, [request], [inward[0], outward[1], errors.fileno()])
            self.socket.sendall(request[sent:])
            message: dict[str, int] | None = {"code": 0}
            while message and "code" in message:
                message = self.message(wait=True)
            if message is None:
                raise ForkServerError("the server ended")
            return Worker(self, message["pid"], inward[1], outward[0])
        except BaseException as e:
            os.close(inward[1])
            os.close(outward[0])
            if isinstance(e, OSError | ForkServerError):
                raise ForkServerError(str(e)) from None
            self.close()  # interrupted: an answer may come that the next call would take for its own
            raise
        finally:
            os.close(inward[0])
            os.close(outward[1])

    def message(self, wait: bool) -> dict[str, int] | None:
        """The next message; None where there is none yet, and with `wait` where the server is gone."""
        while b"\n" not in self.unread:
            try:
                self.socket.settimeout(None if wait else 0)
                more = self.socket.recv(4096)
            except BlockingIOError:
                return None
            except OSError:
                more = b""
            if not more:
                self.process.kill()
                return None
            self.unread += more
        line, self.unread = self.unread.split(b"\n", 1)
        message: dict[str, int] = json.loads(line)
        if "code" in message:
            self.codes[message["pid"]] = message["code"]
        return message


class Worker:
    """A forked worker, in the words of subprocess.Popen."""

    def __init__(self, server: Server, pid: int, write: int, read: int):
        self.server, self.pid = server, pid
        self.stdin: IO[str] = os.fdopen(write, "w", encoding="utf-8")
        self.stdout: IO[str] = os.fdopen(read, encoding="utf-8")
        self.returncode: int | None = None
        # It knows when it began, so another process of this number is never killed.
        self.process: psutil.Process | None = None
        with contextlib.suppress(psutil.NoSuchProcess):
            self.process = psutil.Process(pid)

    def poll(self) -> int | None:
        """Its exit code, negative for a signal; None while it runs."""
        return self._look(wait=False)

    def wait(self) -> int:
        """Its exit code, once it has ended."""
        code = self._look(wait=True)
        assert code is not None
        return code

    def kill(self) -> None:
        """End it at once; no harm where it has ended."""
        with contextlib.suppress(psutil.NoSuchProcess):
            if self.process:
                self.process.kill()

    def _look(self, wait: bool) -> int | None:
        server = self.server
        while self.returncode is None:
            if self.pid in server.codes:
                self.returncode = server.codes.pop(self.pid)
            elif server.message(wait) is None:
                if not wait and server.process.poll() is None:
                    return None
                self.kill()  # nobody is left that could tell how it ends
                self.returncode = LOST
        return self.returncode


def end(client: socket.socket, process: "subprocess.Popen[bytes]") -> None:
    """End a server. Its workers go on until their standard input closes."""
    client.close()
    process.kill()
    process.wait()


_server: Server | None = None


def fork(errors: IO[str], environment: dict[str, str]) -> Worker:
    """A worker from this process's server, which is started where there is none, or none of the code as it is now."""
    global _server
    if _server is None or not _server.serves(environment):
        _server = Server(environment)  # an earlier one ends with its last worker, which holds it
    return _server.fork(errors, environment)


def surroundings() -> dict[str, str]:
    """The environment of a worker."""
    return {**MALLOC, **environment(OMP_NUM_THREADS="1", PYTHONUNBUFFERED="1")}


def begin() -> None:
    """Start the server before the caller imports torch: both import it at once, where there are two processors."""
    global _server
    if FORKS and _server is None and (os.cpu_count() or 1) > 1:
        with contextlib.suppress(OSError):
            _server = Server(surroundings())


def early(environment: dict[str, str]) -> dict[str, str]:
    """What of an environment a process cannot change once it runs."""
    return {name: value for name, value in environment.items() if name.startswith(EARLY)}


def code() -> tuple[int, int]:
    """The number of pebench's files, and the time of the newest: what is changed later, a server does not know."""
    root = Path(__file__).parents[3]
    times = [file.stat().st_mtime_ns for name in PACKAGES for file in (root / name).rglob("*.py")]
    return len(times), max(times)


def main() -> int:
    """Serve the client at the other end of the socket that the first word names by number."""
    from pebench.suite.runs import worker

    with socket.socket(fileno=int(sys.argv[1])) as client:
        asked = serve(client)
    if asked is None:
        return 0
    become(*asked)
    return worker.main()


def serve(client: socket.socket) -> tuple[dict[str, Any], list[int]] | None:
    """Fork a worker for each request. In the worker: its request and streams; in the server None, once alone."""
    ended, wake = os.pipe()
    for pipe in (ended, wake):
        os.set_blocking(pipe, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    with selectors.DefaultSelector() as waiting:
        waiting.register(client, selectors.EVENT_READ)
        waiting.register(ended, selectors.EVENT_READ)
        while True:
            ready = {key.fileobj for key, _ in waiting.select()}
            if ended in ready:
                os.read(ended, 4096)
                tell_ends(client)
            if client not in ready:
                continue
            request, streams, *_ = socket.recv_fds(client, 65536, 3)
            if not request:
                return None
            while not request.endswith(b"\n"):
                request += client.recv(65536)
            pid = os.fork()
            if pid == 0:
                signal.set_wakeup_fd(-1)
                os.close(ended)
                os.close(wake)
                return json.loads(request), streams
            for stream in streams:
                os.close(stream)
            client.sendall(json.dumps({"pid": pid}).encode() + b"\n")


def tell_ends(client: socket.socket) -> None:
    """Say which workers have ended, and how."""
    with contextlib.suppress(ChildProcessError):
        while (found := os.waitpid(-1, os.WNOHANG))[0]:
            message = {"pid": found[0], "code": os.waitstatus_to_exitcode(found[1])}
            client.sendall(json.dumps(message).encode() + b"\n")


def become(request: dict[str, Any], streams: list[int]) -> None:
    """Be a worker with this folder, environment and standard streams, as a process of its own would be."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.setsid()
    with contextlib.suppress(OSError):
        os.chdir(request["folder"])
    os.environ.clear()
    os.environ.update(request["environment"])
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)


if __name__ == "__main__":
    sys.exit(main())
