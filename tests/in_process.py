"""A command of the command line, run in the tests' own process: a process of its own imports torch anew."""

import sys

import pytest

from pebench.suite.cli import main


def exit_code(monkeypatch: pytest.MonkeyPatch, *words: str) -> object:
    """How the command ends; `capsys` has its output."""
    monkeypatch.setattr(sys, "argv", ["pebench", *words])
    with pytest.raises(SystemExit) as end:
        main()
    return end.value.code
