"""Runs of `pebench extend` that are made at a time: real processes on a tiny model, killed and interrupted."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from typer.testing import CliRunner

from pebench.suite.cli import app
from pebench.suite.commands import helpers
from pebench.suite.extend.checkpoint import load_checkpoint
from pebench.suite.extend.profiles import EXTEND, EXTEND_QUICK
from pebench.suite.results.processes import environment
from pebench.suite.results.record import Record, read_all
from tests.extend import tiny
from tests.extend.conftest import own_methods as own_methods

TRAINED = 1024
ODD = f"""
import os
import signal
import time
from pathlib import Path

from pebench.encodings.extension import Retuned, method


@method("odd")
class Odd(Retuned):
    title, paper, formula = "odd", "unpublished", "x"

    @staticmethod
    def change(frequencies, factor, length):
        if length == {TRAINED}:  # no trial of the class, which the call itself makes
            ACT
        return frequencies
"""
KILL = "os.kill(os.getpid(), signal.SIGKILL)"
STAND = 'Path(__file__).with_suffix(".pid").write_text(str(os.getpid())); time.sleep(600)'


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The command on a tiny model, but for its methods and its records."""
    corpus, folder = tmp_path_factory.mktemp("books"), tmp_path_factory.mktemp("tiny")
    for n in range(40):  # two of them are held out
        (corpus / f"{n}.txt").write_text(tiny.book(n))
    tiny.write(folder, max_position_embeddings=TRAINED)
    return ["extend", "--model", str(folder), "--corpus", str(corpus), "-t", "extend_loss"]


def odd(folder: Path, act: str) -> str:
    """A method that does something else, as the command names it."""
    file = folder / "odd.py"
    file.write_text(ODD.replace("ACT", act))
    return f"{file}:Odd"


def made(folder: Path) -> dict[tuple[str, int], Record]:
    return {(r.encoding, r.seed): r for r in read_all(folder)[0]}


@pytest.mark.walks
def test_runs_at_a_time_are_those_of_one_process(words: list[str], tmp_path: Path) -> None:
    for jobs in ("1", "3"):
        result = CliRunner().invoke(
            app, [*words, "-m", "none,pi", "--records", str(tmp_path / jobs), "--jobs", jobs]
        )
        assert result.exit_code == 0, result.output
        assert "EXTEND_QUICK: 4 runs, 0 of them done" in result.output
        assert "(4 of 4)" in result.output
        shows = f"`pebench board --profile EXTEND_QUICK --records {tmp_path / jobs}`"
        assert jobs != "1" or f"text 0 is read; {shows} has it" in result.output
        assert f"all runs are done; {shows} shows them" in result.output
    one, three = (made(tmp_path / jobs) for jobs in ("1", "3"))
    assert set(one) == {(name, text) for name in ("rope", "rope@pi") for text in (0, 1)}
    assert {key: r.rows for key, r in one.items()} == {key: r.rows for key, r in three.items()}


def test_a_killed_helper_ends_its_run_alone(words: list[str], tmp_path: Path, own_methods: None) -> None:
    records = tmp_path / "records"
    options = ["-m", f"{odd(tmp_path, KILL)},none", "--records", str(records), "--jobs", "2"]
    result = CliRunner().invoke(app, [*words, *options])
    assert result.exit_code == 4, result.output
    for text in (0, 1):
        assert f"odd extend_loss text {text}: failed: its process was killed by signal 9" in result.output
    assert "2 of 4 runs failed" in result.output
    assert set(made(records)) == {("rope", 0), ("rope", 1)}


@pytest.mark.parametrize("how", [signal.SIGINT, pytest.param(signal.SIGKILL, marks=pytest.mark.walks)])
def test_helpers_end_with_the_call(how: signal.Signals, words: list[str], tmp_path: Path) -> None:
    options = ["-m", f"{odd(tmp_path, STAND)},none", "--records", str(tmp_path / "records"), "--jobs", "2"]
    call = subprocess.Popen(
        [sys.executable, "-m", "pebench.suite.cli", *words, *options],
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
    )
    told = tmp_path / "odd.pid"
    until(lambda: told.exists() and told.read_text() != "")
    helper = psutil.Process(int(told.read_text()))
    call.send_signal(how)
    _, said = call.communicate(timeout=60)
    if how == signal.SIGINT:
        assert call.returncode == 130
        assert "the same command continues" in said
    until(lambda: not helper.is_running() or helper.status() == psutil.STATUS_ZOMBIE)


def until(met: object) -> None:
    """Wait for something, a minute at most."""
    assert callable(met)
    end = time.monotonic() + 60
    while not met():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.05)


def test_runs_at_a_time_follow_from_cores_and_memory(
    words: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint = load_checkpoint(Path(words[2]))
    monkeypatch.setattr(helpers, "cores", lambda: 8)
    for memory, threads, most in ((64, 1, 8), (64, 4, 2), (64, 16, 1), (8, 1, 2), (1, 1, 1)):
        monkeypatch.setattr(helpers, "usable_memory", lambda: memory * 2**30)  # noqa: B023
        for track in (EXTEND, EXTEND_QUICK):
            assert helpers.at_once(checkpoint, track, threads) == most
