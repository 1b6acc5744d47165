import socket

from pebench.leaderboard.app.launch import ADDRESS


def unused_port() -> int:
    """A port of the system's choice: tests that run side by side would both find the same first free one."""
    with socket.socket() as probe:
        probe.bind((ADDRESS, 0))
        return int(probe.getsockname()[1])
