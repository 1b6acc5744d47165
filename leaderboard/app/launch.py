"""Start the app as a child process on this machine."""

import contextlib
import errno
import ipaddress
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
import webbrowser
from collections.abc import Sequence
from pathlib import Path

from pebench.leaderboard.about import PUBLISHED, USUAL
from pebench.suite.results.cache import RECORDS
from pebench.suite.results.processes import environment

ADDRESS = "127.0.0.1"
DEFAULT_PORT = 8501
DEFAULT_FOLDER = "records"
OPEN_VARIABLE = "PEBENCH_APP_OPEN"  # set where others than the user can reach the app
HEALTH = "/_stcore/health"
PATIENCE = 0.1  # seconds between two looks at the server
ENDING = (
    signal.SIGINT,
    signal.SIGTERM,
)  # a termination ends the app as Ctrl-C does, and leaves no server behind
SCREENS = ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER")  # one of them is set where a browser can open


class LaunchError(ValueError):
    """The app cannot be started, with the remedy."""


def run_app(
    records: Sequence[Path], port: int | None = None, open_browser: bool = True, host: str = ADDRESS
) -> int:
    """Serve the app until Ctrl-C, and return its exit status (130 where it was interrupted).

    Without a port the first free one from 8501 on is taken. It listens on this machine alone where no other host is
    told, sends no statistics, asks nothing of the user and nothing of other hosts. LaunchError tells what to do
    instead.
    """
    for folder in records:
        if not folder.is_dir():
            raise LaunchError(
                f"there is no records folder {folder}; make one with `pebench run --profile {USUAL}`, or leave it out"
            )
    reached = is_open(host)
    port = free_port(port, host)
    if reached:
        print(
            f"pebench: everyone who can reach {host}:{port} sees this leaderboard. It reads the records folders and "
            "no other file.",
            file=sys.stderr,
        )
    asked = list[int]()  # signals; an exception in their place could be lost in a destructor
    heard = [number for number in ENDING if signal.getsignal(number) != signal.SIG_IGN]
    before = {number: signal.signal(number, lambda n, frame: asked.append(n)) for number in heard}
    child = start(records, port, host)
    try:
        url, told = f"http://{reachable(host)}:{port}", False
        while child.poll() is None and not asked:
            if not told and answers(url):
                told = True
                print(f"pebench: the leaderboard is at {url} (Ctrl-C ends it)", flush=True)
                if open_browser and has_screen():
                    webbrowser.open(url)
            time.sleep(PATIENCE)
        return 130 if asked else child.wait()
    finally:
        stop(child)
        for number, handler in before.items():
            signal.signal(number, handler)


def is_open(host: str) -> bool:
    """Whether others than this machine can reach a server at this host. LaunchError where it is none of ours."""
    try:
        found = {str(info[4][0]) for info in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)}
    except (OSError, UnicodeError) as e:
        raise LaunchError(f"no address is known by the name {host!r} ({e}); try --host 0.0.0.0") from e
    return not all(ipaddress.ip_address(address.partition("%")[0]).is_loopback for address in found)


def reachable(host: str) -> str:
    """How a browser on this machine writes the host."""
    if host in ("0.0.0.0", "::"):
        return ADDRESS if host == "0.0.0.0" else "[::1]"
    return f"[{host}]" if ":" in host else host


def start(records: Sequence[Path], port: int, host: str = ADDRESS) -> "subprocess.Popen[bytes]":
    """The serving process. It ends when the pipe to its input is closed: with this process, however that ends.

    Ctrl-C in a terminal reaches this process alone: in a child that imports, it would print where that was.
    Streamlit's own variables stay behind; they could change the port, the address or the looks.
    """
    own = {name: value for name, value in environment().items() if not name.startswith("STREAMLIT_")}
    own[RECORDS] = os.pathsep.join(
        "published" if folder == PUBLISHED else str(folder.resolve()) for folder in records
    )
    own[OPEN_VARIABLE] = "1" if is_open(host) else ""
    return subprocess.Popen(command(port, host), env=own, stdin=subprocess.PIPE, start_new_session=True)


def stop(child: "subprocess.Popen[bytes]") -> None:
    """End the serving process."""
    child.terminate()
    try:
        child.wait(timeout=5)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()
    assert child.stdin is not None
    child.stdin.close()


def answers(url: str) -> bool:
    """Whether the server at this address is ready; proxies are for other hosts."""
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with contextlib.suppress(OSError), direct.open(f"{url}{HEALTH}", timeout=5) as answer:
        return bool(answer.status == 200)
    return False


def has_screen() -> bool:
    """Whether a browser can open: without a screen a text browser would take the terminal."""
    return sys.platform in ("win32", "darwin") or any(map(os.environ.get, SCREENS))


def command(port: int, host: str = ADDRESS) -> list[str]:
    """The command line that serves the app there. The working directory is not imported from (-P)."""
    return [sys.executable, "-P", "-m", "pebench.leaderboard.app.launch", host, str(port)]


def free_port(wanted: int | None, host: str = ADDRESS) -> int:
    """The wanted port, or the first free one from 8501 on. LaunchError where there is none."""
    for port in [wanted] if wanted else range(DEFAULT_PORT, DEFAULT_PORT + 50):
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
            # A port that was just closed is free: streamlit reuses it as well.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
            except OSError as e:
                if e.errno == errno.EADDRINUSE:
                    continue
                raise LaunchError(
                    f"{host}:{port} cannot be listened on ({e.strerror}); try --host 0.0.0.0, or a port above 1023"
                ) from e
            return port
    taken = f"port {wanted} is" if wanted else f"ports {DEFAULT_PORT} to {DEFAULT_PORT + 49} are"
    raise LaunchError(f"{taken} in use; choose another with `pebench app --port N`")


def options(port: int, host: str = ADDRESS) -> dict[str, object]:
    """Streamlit's settings; all others keep their defaults."""
    return {
        "server.address": host,
        "server.port": port,
        # Only a headless server neither asks nor advertises anything, in the terminal or in the page.
        "server.headless": True,
        "server.fileWatcherType": "none",
        # Who is meant to reach it from elsewhere comes by any name; there is nothing to protect from other pages.
        "server.enableCORS": not is_open(host),
        "server.enableXsrfProtection": not is_open(host),
        "browser.gatherUsageStats": False,
        "logger.hideWelcomeMessage": True,
        "logger.level": "warning",
        "client.toolbarMode": "minimal",
        "client.showErrorLinks": False,
        # The tables' own export would not keep a spreadsheet from running text as formulas; ours does.
        "client.disableDataExport": True,
        "theme.light.primaryColor": "#0072b2",
        "theme.light.textColor": "#0b0c10",  # of which captions are a paler shade
        # Chosen so that both white on it and it on the dark background can be read.
        "theme.dark.primaryColor": "#3a8ac0",
    }


def serve(host: str, port: int) -> None:
    """In the child process: streamlit's server, with the board already on its way.

    Streamlit alone would load libraries and records when the first page asks for them, and not before. Its
    command line would read credentials and settings in the user's home and working directory.
    """
    threading.Thread(target=end_with_parent, daemon=True).start()
    from streamlit import config, net_util
    from streamlit.web import bootstrap

    from pebench.leaderboard import app, board, reading  # noqa: F401 (all that the pages need)

    config.get_config_files = lambda file_name: []
    net_util.get_external_ip = lambda: None  # it would ask another host

    def read_ahead() -> None:
        folders = reading.folders_named(os.environ.get(RECORDS, DEFAULT_FOLDER))
        with contextlib.suppress(OSError, ValueError):  # the page will say it
            board.cached_board(folders, None, (), reading.stamp(*map(reading.folder_named, folders)))

    threading.Thread(target=read_ahead, daemon=True).start()
    bootstrap.load_config_options(options(port, host))
    bootstrap.run(str(Path(__file__).with_name("app.py")), False, [], options(port, host))


def end_with_parent() -> None:
    """Wait for the end of the input, which the parent holds open, and end this process."""
    while os.read(0, 4096):
        pass
    os._exit(0)


if __name__ == "__main__":
    serve(sys.argv[1], int(sys.argv[2]))
