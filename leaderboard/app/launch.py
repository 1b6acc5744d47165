"""Start the app as a child process on this machine."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

ADDRESS = "127.0.0.1"
DEFAULT_PORT = 8501
DEFAULT_FOLDER = "records"
FOLDER_VARIABLE = "PEBENCH_RECORDS"


class LaunchError(ValueError):
    """The app cannot be started, with the remedy."""


def run_app(records: Path, port: int | None = None, open_browser: bool = True) -> int:
    """Serve the app until Ctrl-C, and return its exit status (130 where it was interrupted).

    Without a port the first free one from 8501 on is taken. It listens on this machine alone, sends no
    statistics and asks nothing of other hosts. LaunchError tells what to do instead.
    """
    if not records.is_dir():
        raise LaunchError(
            f"there is no records folder {records}; make one with `pebench run --profile QUICK`"
        )
    # A termination ends the child as Ctrl-C does, and leaves no server behind.
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    child = subprocess.Popen(
        command(free_port(port), open_browser), env={**os.environ, FOLDER_VARIABLE: str(records.resolve())}
    )
    try:
        return child.wait()
    except KeyboardInterrupt:
        return 130
    finally:
        child.terminate()  # no harm where Ctrl-C in a terminal has reached it as well
        try:
            child.wait(timeout=5)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
        signal.signal(signal.SIGTERM, before)


def command(port: int, open_browser: bool) -> list[str]:
    """The command line that serves the app on this port."""
    options = {
        "server.address": ADDRESS,
        "server.port": port,
        "server.headless": not open_browser,
        "server.fileWatcherType": "none",
        "browser.gatherUsageStats": False,
        "client.toolbarMode": "minimal",
        "client.showErrorLinks": False,
        # The tables' own export would not keep a spreadsheet from running text as formulas; ours does.
        "client.disableDataExport": True,
        "theme.light.primaryColor": "#0072b2",
        # Chosen so that both white on it and it on the dark background can be read.
        "theme.dark.primaryColor": "#3a8ac0",
    }
    flags = [f"--{name}={str(value).lower()}" for name, value in options.items()]
    return [
        sys.executable,
        "-m",
        "pebench.leaderboard.app.launch",
        "run",
        str(Path(__file__).with_name("app.py")),
        *flags,
    ]


def free_port(wanted: int | None) -> int:
    """The wanted port, or the first free one from 8501 on. LaunchError where there is none."""
    for port in [wanted] if wanted else range(DEFAULT_PORT, DEFAULT_PORT + 50):
        with socket.socket() as probe:
            # A port that was just closed is free: streamlit reuses it as well.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((ADDRESS, port))
            except OSError:
                continue
            return port
    taken = f"port {wanted} is" if wanted else f"ports {DEFAULT_PORT} to {DEFAULT_PORT + 49} are"
    raise LaunchError(f"{taken} in use; choose another with `pebench app --port N`")


def serve() -> None:
    """In the child process: streamlit's command line, with the board already on its way.

    Streamlit alone would load libraries and records when the first page asks for them, and not before.
    """
    from streamlit.web import cli

    from pebench.leaderboard import app, board  # noqa: F401 (all that the pages need)

    def read_ahead() -> None:
        folder = os.environ.get(FOLDER_VARIABLE, DEFAULT_FOLDER)
        with contextlib.suppress(OSError, ValueError):  # the page will say it
            board.cached_board(folder, None, board.stamp(Path(folder)))

    threading.Thread(target=read_ahead, daemon=True).start()
    cli.main(prog_name="streamlit")


if __name__ == "__main__":
    serve()
