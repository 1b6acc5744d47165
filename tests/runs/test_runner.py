import contextlib
import datetime
import errno
import io
import itertools
import json
import os
import re
import signal
import stat
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
import torch
from rich.console import Console

from pebench.suite.experiment.profiles import PROFILES, SMOKE
from pebench.suite.lm import precision
from pebench.suite.lm.native import build, ops
from pebench.suite.lm.step import NativeStep
from pebench.suite.results.record import CERTIFICATE, SCHEMA, NewerSchema, Record, Row, read_all, write
from pebench.suite.runs import cell as cell_module
from pebench.suite.runs import machine, runner
from pebench.suite.runs.cell import Cell, locked, run
from pebench.suite.runs.checkpoint import config
from pebench.suite.runs.engine import SweepError
from pebench.suite.runs.engines import forkserver, local
from pebench.suite.runs.existing import existing
from pebench.suite.runs.machine import cores
from pebench.suite.runs.runner import Sweep, cells, estimate, kinds, latest, states
from tests.in_process import exit_code

BAD = Path(__file__).parents[1] / "bad_encodings.py"


def sweep(folder: Path, chosen: list[Cell], **limits: float) -> tuple[Counter[str], str]:
    """Run cells, two at a time if nothing else is said; how they ended, and what was printed."""
    text = io.StringIO()
    started = Sweep(
        cells=chosen,
        folder=folder,
        jobs=int(limits.get("jobs", 2)),
        timeout=limits.get("timeout", 120),
        memory=int(limits.get("memory", 4 * 2**30)),
        retry=bool(limits.get("retry", False)),
        console=Console(file=text, width=200),
    )
    return started.run(), text.getvalue()


def bad(name: str) -> Cell:
    return Cell(f"{BAD}:{name}", "copy", "SMOKE", 0)


def record_of(cell: Cell, folder: Path) -> Record:
    record = existing(cell, folder)
    assert record is not None
    return record


def test_a_sweep_has_each_run_once_and_times_need_one_seed() -> None:
    chosen = cells(SMOKE, ["rope", "fox"], [CERTIFICATE, *SMOKE.plans], [0, 1, 2], None)
    assert len(set(chosen)) == len(chosen)
    learned = {task: 6 for task, plan in SMOKE.plans.items() if plan.recipe.steps}
    assert Counter(c.task for c in chosen) == {**learned, CERTIFICATE: 2, "throughput": 2}


@pytest.mark.parametrize("profile", PROFILES.values(), ids=lambda p: p.name)
def test_every_profile_is_sound(profile) -> None:
    from pebench.encodings.registry import names
    from pebench.tasks import TASKS, make
    from pebench.tasks.base import Task

    assert set(profile.encodings) <= set(names())
    assert set(profile.plans) <= set(TASKS)
    for name, plan in profile.plans.items():
        task = make(name)
        assert plan.width % plan.heads == 0
        lengths = [c["length"] for c in task.conditions(plan.recipe.length, plan.multiples)]
        assert plan.recipe.length in lengths or (
            min(plan.multiples) > 1 and task.gate > 0
        )  # the gate is at L
        if isinstance(task, Task):
            assert plan.recipe.steps > 0
            assert sorted(set(lengths)) == [round(plan.recipe.length * m) for m in plan.multiples]


def test_one_bad_cell_stops_nothing_else(tmp_path: Path) -> None:
    outcomes, text = sweep(
        tmp_path, [bad("Raises"), bad("Diverges"), bad("Dies"), Cell("nope", "copy", "SMOKE", 0)], timeout=120
    )
    assert outcomes == {"failed": 2, "diverged": 1, "measured": 1}
    raised = record_of(bad("Raises"), tmp_path)
    assert raised.provenance["seconds"] > 0
    assert raised.reason.startswith("RuntimeError: a bug of [bold]mine[/] (bad_encodings.py, line ")
    assert "a bug of [bold]mine[/]" in text
    assert "at step 1 of 4" in record_of(bad("Diverges"), tmp_path).reason
    assert record_of(bad("Dies"), tmp_path).reason.startswith("killed by signal 9")
    good = record_of(Cell("nope", "copy", "SMOKE", 0), tmp_path)
    assert {r.metric for r in good.rows} == {"gate", "exact", "per_token"}
    assert good.provenance["parameters"]["encoding"] == 0
    assert good.provenance["parameters"]["total"] > 0
    assert good.provenance["flops_per_token"] > 0
    assert good.provenance["seconds"] > 0
    assert good.provenance["threads"] == 1
    assert good.setup["gate"] == 0.9

    again, _ = sweep(tmp_path, [bad("Raises"), Cell("nope", "copy", "SMOKE", 0)])
    assert again == {"failed": 1, "kept": 1}
    retried, text = sweep(tmp_path, [bad("Raises")], retry=True)
    assert retried == {"failed": 1}
    assert "[1/1] raises copy seed 0 failed" in text


def made(task: str, seconds: object, seed: int = 0, **other: str) -> Record:
    return replace(FAILED, task=task, seed=seed, provenance={"seconds": seconds}, **other)


FAILED = Record("rope", "copy", "SMOKE", 0, "0" * 64, outcome="failed", reason="x")


def test_the_time_is_the_median_of_the_same_profile_and_task() -> None:
    rows = {"rows": (Row("exact", 0.5, 8),), "outcome": "measured", "reason": ""}
    known = [made("copy", seconds, n, **rows) for n, seconds in enumerate((1.0, 9.0, 4.0))]
    others = [made("copy", 1e6, profile="QUICK", **rows), made("copy", 1e6), made("copy", "soon", **rows)]
    copy, sort = Cell("rope", "copy", "SMOKE", 7), Cell("rope", "sort", "SMOKE", 7)
    assert estimate([copy, copy], [*known, *others]) == (8.0, [])
    assert estimate([copy, sort], known) == (4.0, ["sort"])
    assert estimate([], known) == (0, [])


def test_the_rest_is_shared_among_the_runs_at_a_time(tmp_path: Path) -> None:
    rows = {"rows": (Row("exact", 0.5, 8),), "outcome": "measured", "reason": ""}
    rest = Sweep([], tmp_path, jobs=4, timeout=1, memory=1)
    rest.remember(made("copy", 600.0, **rows))
    waiting = [Cell("rope", "copy", "SMOKE", seed) for seed in range(8)]
    assert rest.left(kinds(waiting), []) == "about 20 min left"
    assert rest.left(kinds(waiting[:1]), []) == "about 10 min left"
    assert rest.left(kinds([*waiting, Cell("rope", "sort", "SMOKE", 0)]), []) == (
        "more than 20 min left, time not yet known for sort"
    )
    assert rest.left(kinds([Cell("rope", "sort", "SMOKE", 0)]), []) == "time not yet known for sort"
    assert rest.left(kinds([]), []) == ""
    soon = Sweep([], tmp_path, jobs=4, timeout=1, memory=1)
    soon.remember(made("copy", 0.5, **rows))
    assert soon.left(kinds([waiting[0], Cell("rope", "sort", "SMOKE", 0)]), []) == (
        "time not yet known for sort"
    )


def test_before_a_sweep_has_its_own_times_those_of_other_runs_tell_it(tmp_path: Path) -> None:
    rows = {"rows": (Row("exact", 0.5, 8),), "outcome": "measured", "reason": ""}
    for seed in range(7):
        path = write(made("copy", 600.0 if seed else 6.0, seed, **rows), tmp_path)
        os.utime(path, (seed, seed))
    (path.parent / "0-0.json").write_text("torn")
    new = [Cell("nope", "copy", "SMOKE", 0), Cell("nope", "sort", "SMOKE", 0)]
    before = list(latest(new, tmp_path))
    # Five files, one of them torn; the oldest do not count.
    assert [record.seed for record in before] == [6, 5, 4, 3]
    rest = Sweep([], tmp_path, jobs=1, timeout=1, memory=1, before=before)
    assert rest.left(kinds(new[:1]), []) == "about 10 min left"
    assert rest.left(kinds(new), []) == "more than 10 min left, time not yet known for sort"
    rest.remember(made("copy", 60.0, **rows))
    assert rest.left(kinds(new[:1]), []) == "about 60 s left"


def test_a_sweep_uses_every_processor_and_shares_the_memory_among_what_runs(tmp_path: Path) -> None:
    whole = runner.sweep(SMOKE, [], tmp_path)
    assert whole.jobs == cores()
    assert whole.memory == pytest.approx(0.9 * machine.memory(), rel=1e-6)
    few = [Cell("nope", "copy", "SMOKE", seed) for seed in (0, 1)]
    for chosen, shared in ((few[:1], 1), (few, 2)):
        sweep = runner.sweep(SMOKE, chosen, tmp_path / str(shared), jobs=8, console=Console(quiet=True))
        sweep.go = lambda *_: None  # type: ignore[method-assign]
        sweep.run()
        assert sweep.share == sweep.memory // shared


def test_in_a_pipe_each_run_is_a_line_as_soon_as_it_ends(tmp_path: Path) -> None:
    class Pipe(io.StringIO):
        flushed = 0

        def flush(self) -> None:
            self.flushed = len(self.getvalue())

    pipe, long = Pipe(), "x" * 500 + "\n\n  y"
    quiet = Sweep([], tmp_path, 1, 1, 1, console=Console(file=pipe, width=40))
    job = SimpleNamespace(cell=Cell("rope", "copy", "SMOKE", 0), node=local.HERE, seconds=lambda: 2.0)
    quiet.report(job, replace(FAILED, reason=long), "3/9", "about 7 min left")
    assert pipe.getvalue() == f"[3/9] rope copy seed 0 failed in 2 s: {'x' * 500} y; about 7 min left\n"
    assert pipe.flushed == len(pipe.getvalue())


def test_a_clock_that_jumps_disturbs_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    jumps = itertools.cycle((0.0, 4e9, -1e6))
    monkeypatch.setattr(time, "time", lambda: next(jumps))
    cell = Cell("nope", "copy", "SMOKE", 0)
    outcomes, text = sweep(tmp_path, [cell])
    assert outcomes == {"measured": 1}
    assert "measured in " in text
    assert sweep(tmp_path, [cell])[0] == {"kept": 1}


def test_a_run_takes_its_time_from_no_clock_that_is_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Wrong(datetime.datetime):
        years = itertools.cycle((2001, 1970))

        @classmethod
        def now(cls, tz=None):
            return cls(next(cls.years), 1, 1, tzinfo=tz)

    monkeypatch.setattr(datetime, "datetime", Wrong)
    record = run(Cell("nope", "copy", "SMOKE", 0), torch.device("cpu"), tmp_path)
    assert record.outcome == "measured"
    assert 0 < record.provenance["seconds"] < 60
    assert record.provenance["started"].startswith("2001-01-01")


@pytest.mark.parametrize("kernels", [True, False])
def test_a_record_tells_what_its_training_multiplied_in(
    kernels: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if kernels and build.library() is None:
        pytest.skip("no kernels can be compiled here")
    attempt, taken = NativeStep.attempt, []

    def seen(self, data, rate, half):
        taken.append("float16" if half else "float32")
        return attempt(self, data, rate, half)

    monkeypatch.setattr(NativeStep, "attempt", seen)
    monkeypatch.setattr(precision, "fast_bf16", lambda device: False)
    with contextlib.nullcontext() if kernels else ops.definitions():
        record = run(Cell("nope", "copy", "SMOKE", 0), torch.device("cpu"), tmp_path)
    assert bool(taken) == kernels
    assert {record.provenance["precision"]} == set(taken or ["float32"])


def test_a_disk_that_does_not_give_a_record_does_not_make_it_a_broken_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(FAILED, tmp_path)
    cell = SimpleNamespace(path=path.relative_to(tmp_path))

    def refuse(*args: Any, **kwargs: Any) -> str:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(OSError, match="Input/output"):
        existing(cell, tmp_path)
    assert path.exists()


@pytest.mark.parametrize("task", [CERTIFICATE, *SMOKE.plans])
def test_each_task_becomes_a_record(task: str, tmp_path: Path, books: None) -> None:
    cell = Cell("rope", task, "SMOKE", 0)
    record = run(cell, torch.device("cpu"), tmp_path)
    assert record.outcome == "measured"
    write(record, tmp_path)
    assert record_of(cell, tmp_path) == record


def test_a_read_only_folder_is_one_clear_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    kernel = Path("/sys/kernel")  # which refuses new files to the superuser too
    if not kernel.exists():
        pytest.skip("this system has no /sys")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(
        "from pebench.encodings.nope import NoPE\n\n\nclass Mine(NoPE):\n    pass\n"
    )
    for command in (["run", "-e", "nope", "-t", "copy"], ["submit", f"{tmp_path / 'mine.py'}:Mine"]):
        words = [*command, "--profile", "SMOKE", "--records", str(kernel / "records")]
        assert exit_code(monkeypatch, *words) == 3
        said = capsys.readouterr().err
        assert said.splitlines()[-1].startswith("pebench: cannot use the records folder /sys/kernel/records")
        assert "Traceback" not in said


def test_what_a_killed_run_left_half_written_is_removed(tmp_path: Path) -> None:
    cell = Cell("rope", "copy", "SMOKE", 0)
    paths = [tmp_path / p for p in (cell.path, cell.checkpoint, cell.place.with_suffix(".state"))]
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.with_name(f".{path.name}.abc.tmp").write_text("half")
    other = paths[0].with_name(".1-0123456789abcdef.json.abc.tmp")
    other.write_text("of a run that may be under way")
    sweep(tmp_path, [cell])
    assert list(tmp_path.rglob("*.tmp")) == [other]


def test_time_and_memory_are_limited(tmp_path: Path) -> None:
    outcomes, _ = sweep(tmp_path, [bad("Swallows")], memory=2**30)
    assert outcomes == {"out of memory": 1}
    swallowed = record_of(bad("Swallows"), tmp_path)
    assert "more than 1.0" in swallowed.reason
    assert 2**30 < swallowed.provenance["peak_memory_bytes"] < 2**32
    outcomes, _ = sweep(tmp_path, [bad("Hangs")], timeout=6)
    assert outcomes == {"timed out": 1}
    hung = record_of(bad("Hangs"), tmp_path)
    assert hung.reason == "took longer than 6 s"
    assert 6 < hung.provenance["seconds"] < 60
    assert hung.provenance["threads"] == 1


@pytest.mark.walks
def test_the_same_runs_twice_give_the_same_rows_however_many_at_a_time_and_forked_or_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = [Cell("fox", "copy", "SMOKE", 3), Cell("rope", "copy", "SMOKE", 3)]
    sweep(tmp_path / "two", chosen)
    monkeypatch.setattr(local, "FORKS", False)
    sweep(tmp_path / "one", chosen[:1], jobs=1)
    two, one = (record_of(chosen[0], tmp_path / folder) for folder in ("two", "one"))
    assert two.rows == one.rows
    assert two.provenance["final_loss"] == one.provenance["final_loss"]


@pytest.mark.walks
def test_an_extended_encoding_measures_the_model_of_its_base(tmp_path: Path) -> None:
    chosen = cells(SMOKE, ["rope@yarn", "rope", "rope@ntk"], ["copy"], [0], None)
    outcomes, _ = sweep(tmp_path, chosen)
    assert outcomes == {"measured": 3}
    base, *others = (
        record_of(Cell(name, "copy", "SMOKE", 0), tmp_path) for name in ("rope", "rope@yarn", "rope@ntk")
    )
    assert base.provenance["tokens"] > 0
    assert (tmp_path / base.provenance["checkpoint"]).exists()
    for record in others:
        assert "tokens" not in record.provenance  # trained nothing
        assert record.provenance["base"] == base.path.as_posix()
        near = [row for row in record.rows if row.condition.get("length", 4) == 4]
        assert near == list(base.rows[: len(near)])
        assert len(record.rows) == len(base.rows)

    # Without the base in the sweep its model is trained once, and stays for the next.
    chosen = cells(SMOKE, ["rope@yarn", "rope@ntk"], ["copy"], [0], None)
    sweep(tmp_path / "alone", chosen)
    alone = [record_of(cell, tmp_path / "alone") for cell in chosen]
    assert [record.rows for record in alone] == [record.rows for record in others]
    assert ["tokens" in record.provenance for record in alone] == [True, False]


def test_a_checkpoint_that_cannot_be_used_is_made_again(tmp_path: Path) -> None:
    cell = Cell("rope@pi", "copy", "SMOKE", 0)
    assert cell.base
    path = tmp_path / cell.base.checkpoint
    path.parent.mkdir(parents=True)
    path.write_bytes(b"torn")
    sweep(tmp_path, [cell])
    assert record_of(cell, tmp_path).provenance["tokens"] > 0
    assert "trained again" in (tmp_path / cell.place.with_suffix(".log")).read_text()
    assert config(path).encoding == "rope"


KILLED = """
import os, signal
from pebench.suite.experiment import resume
from pebench.suite.runs import worker

def save(self, lm, opt, progress, save=resume.Resume.save):
    save(self, lm, opt, progress)
    if progress.step == 2:
        os.kill(os.getpid(), signal.SIGKILL)

resume.Resume.save, resume.Resume.due = save, lambda self: True
worker.main()
"""


def worked(code: str, cell: Cell, folder: Path, monkeypatch: pytest.MonkeyPatch) -> int:
    """The exit status of a worker that runs this code in the place of its own, for a cell whose model is saved."""
    with (folder / "log").open("w") as log, monkeypatch.context() as patched:
        patched.setattr(local, "WORKER", ("-c", code))
        worker = local.spawn(log)
    assert worker.stdin
    worker.stdin.write(local.order(cell, folder, save=True))
    worker.stdin.flush()
    status = worker.wait()
    worker.communicate()
    return status


def test_a_training_that_was_killed_goes_on_to_an_equal_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cell = Cell("fox", "copy", "SMOKE", 0)
    sweep(tmp_path / "whole", [cell])
    assert worked(KILLED, cell, tmp_path, monkeypatch) == -signal.SIGKILL
    state = tmp_path / cell.place.with_suffix(".state")
    assert state.exists()
    sweep(tmp_path, [cell])
    assert "continues after step 2" in (tmp_path / cell.place.with_suffix(".log")).read_text()
    whole, resumed = record_of(cell, tmp_path / "whole"), record_of(cell, tmp_path)
    assert resumed.rows == whole.rows
    for fact in ("final_loss", "tokens"):
        assert resumed.provenance[fact] == whole.provenance[fact]
    assert not state.exists()
    assert 0 < resumed.provenance["earlier_seconds"] < resumed.provenance["seconds"]
    assert "earlier_seconds" not in whole.provenance


UNMEASURED = """
from pebench.suite.experiment import resume
from pebench.suite.runs import cell, worker

def examine(*args):
    raise MemoryError("16 times the training length")

resume.Resume.due, cell.examine = lambda self: True, examine
worker.main()
"""


def test_a_measurement_that_fails_leaves_the_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cell = Cell("rope", "sort", "SMOKE", 0)
    worked(UNMEASURED, cell, tmp_path, monkeypatch)
    assert record_of(cell, tmp_path).outcome == "out of memory"
    steps = PROFILES["SMOKE"].plans["sort"].recipe.steps
    sweep(tmp_path, [cell], retry=True)
    assert record_of(cell, tmp_path).rows
    assert f"continues after step {steps}" in (tmp_path / cell.place.with_suffix(".log")).read_text()
    assert not (tmp_path / cell.place.with_suffix(".state")).exists()


def order(cell: Cell, folder: Path, profile: str = "QUICK") -> list[str]:
    return [
        *(sys.executable, "-m", "pebench.suite.cli", "run", "--profile", profile),
        *("-e", cell.encoding, "-t", cell.task, "--records", os.fspath(folder)),
    ]


def worker_of(process: subprocess.Popen[str]) -> psutil.Process:
    """The worker of a sweep, once it trains: below the fork server, or where there is none below the sweep."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        sweep = psutil.Process(process.pid)
        for child in set(sweep.children(recursive=local.FORKS)) - set(
            sweep.children() if local.FORKS else []
        ):
            with contextlib.suppress(
                psutil.NoSuchProcess
            ):  # another that the sweep had started, and that ended
                if child.cpu_times().user > 1 and not child.name().startswith("cc1"):  # no compiler
                    return child
        time.sleep(0.05)
    raise AssertionError("no worker started")


@pytest.mark.parametrize("how", [signal.SIGINT, pytest.param(signal.SIGKILL, marks=pytest.mark.walks)])
def test_a_sweep_that_is_stopped_loses_only_what_runs(how: signal.Signals, tmp_path: Path) -> None:
    cell = Cell("rope", "copy", "QUICK", 0)
    process = subprocess.Popen(
        order(cell, tmp_path), stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    worker = worker_of(process)
    process.send_signal(how)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == (130 if how == signal.SIGINT else -9)
    assert "Traceback" not in errors
    worker.wait(timeout=10)  # it ends with its parent
    assert read_all(tmp_path) == ([], [])
    assert [state for _, state in states([cell], tmp_path)] == ["missing"]
    assert not [p for p in tmp_path.rglob("*.tmp")]


@pytest.mark.walks
def test_two_sweeps_on_one_folder_share_the_work(tmp_path: Path) -> None:
    chosen = cells(SMOKE, ["rope", "alibi"], ["copy"], [0], None)
    command = [
        *(sys.executable, "-m", "pebench.suite.cli", "run", "--profile", "SMOKE", "-e", "rope,alibi"),
        *("-t", "copy", "--jobs", "1", "--records", os.fspath(tmp_path)),
    ]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    texts = [process.communicate(timeout=200)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert sum(text.count(" measured in ") for text in texts) == len(chosen)
    found, unreadable = read_all(tmp_path)
    assert len(found) == len(chosen)
    assert not unreadable


def test_a_corrupt_record_is_set_aside_and_run_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cell = Cell("nope", "copy", "SMOKE", 0)
    path = tmp_path / cell.path
    path.parent.mkdir(parents=True)
    path.write_text('{"schema": 1, "rows"')
    assert [state for _, state in states([cell], tmp_path)] == ["unreadable"]
    assert path.exists()  # looking changes nothing
    assert existing(cell, tmp_path) is None
    assert path.with_suffix(".broken").exists()
    said = capsys.readouterr().err
    assert "is no record (not JSON" in said
    assert said.count("\n") == 1
    assert sweep(tmp_path, [cell])[0] == {"measured": 1}


def test_a_corrupt_record_is_named_whatever_it_says(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cell = Cell("nope", "copy", "SMOKE", 0)
    path = tmp_path / cell.path
    path.parent.mkdir(parents=True)
    path.write_text('{"schema": 1, "rows": [{"[/bold]\\n": 1}]}')
    assert existing(cell, tmp_path) is None
    said = capsys.readouterr().err
    assert "[/bold]" in said
    assert said.count("\n") == 1


def test_records_of_other_code_are_stale(tmp_path: Path) -> None:
    cell = Cell("nope", "copy", "SMOKE", 0)
    path = tmp_path / cell.path
    path.parent.mkdir(parents=True)
    (path.parent / "0-0123456789abcdef.json").write_text("{}")
    assert [state for _, state in states([cell], tmp_path)] == ["stale"]
    assert [state for _, state in states([Cell("nope", "copy", "SMOKE", 1)], tmp_path)] == ["missing"]


def test_a_folder_that_cannot_be_used_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SweepError, match="cannot use the records folder"):
        sweep(tmp_path / "file" / "records", [Cell("nope", "copy", "SMOKE", 0)])
    (tmp_path / ".running").write_text("")
    with pytest.raises(SweepError, match=re.escape(f"{tmp_path / '.running'}: File exists")):
        sweep(tmp_path, [Cell("nope", "copy", "SMOKE", 0)])


def test_a_record_that_cannot_be_written_is_one_clear_error(tmp_path: Path) -> None:
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("this system has no /dev/full")
    cell = Cell("nope", "copy", "SMOKE", 0)
    (tmp_path / "SMOKE" / "copy").mkdir(parents=True)
    (tmp_path / "SMOKE" / "copy" / "nope").symlink_to(full)  # writing below it fails in the worker
    with pytest.raises(SweepError, match="cannot write the record"):
        sweep(tmp_path, [cell])


FULL = """
import errno
from pebench.suite.runs import checkpoint, worker

def full(path, data):
    raise OSError(errno.ENOSPC, "No space left on device")

checkpoint.write_whole = full
raise SystemExit(worker.main())
"""


def test_a_disk_that_is_full_when_the_model_is_saved_loses_no_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A record is smaller than a model, and its scores stand without one."""
    cell = Cell("nope", "copy", "SMOKE", 0)
    (tmp_path / "full.py").write_text(FULL)
    monkeypatch.setattr(local, "WORKER", (os.fspath(tmp_path / "full.py"),))
    monkeypatch.setattr(local, "FORKS", False)
    text = io.StringIO()
    console = Console(file=text, width=300)
    full = Sweep([cell], tmp_path, 1, 120, 4 * 2**30, save=True, console=console)
    assert full.run() == {"measured": 1}
    record = record_of(cell, tmp_path)
    assert record.rows
    assert record.provenance["missing"] == {"checkpoint": "OSError: No space left on device"}
    assert "checkpoint" not in record.provenance
    assert "checkpoint not written (OSError: No space left on device)" in text.getvalue()


def test_a_run_may_print_and_crash_after_its_record(tmp_path: Path) -> None:
    outcomes, _ = sweep(tmp_path, [bad("Prints"), bad("EndsBadly")])
    assert outcomes == {"measured": 2}
    assert record_of(bad("EndsBadly"), tmp_path).rows


def test_code_that_changes_under_a_sweep_ends_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cell = Cell("nope", "copy", "SMOKE", 0)
    monkeypatch.setattr(
        Cell, "fingerprint", lambda cell: "0123456789abcdef" * 4
    )  # what we knew when it began
    with pytest.raises(SweepError, match="the code has changed since this sweep began; start it again"):
        sweep(tmp_path, [cell])
    assert read_all(tmp_path) == ([], [])


def test_a_worker_that_cannot_start_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local.sys, "executable", "/bin/false")
    monkeypatch.setattr(forkserver, "_server", None)
    outcomes, text = sweep(tmp_path, [Cell("nope", "copy", "SMOKE", 0)])
    assert outcomes == {"failed": 1}
    assert "ended with status 1: said nothing" in text


def test_the_worker_speaks_lines_of_json(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "pebench.suite.runs.worker"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin
    assert process.stdout
    process.stdin.write(local.order(Cell("nope", "copy", "SMOKE", 0), tmp_path))
    process.stdin.flush()
    said = [json.loads(text) for text in process.stdout]
    process.stdin.close()
    process.stdout.close()
    assert process.wait() == 0
    assert said[-1] == {"done": 7, "total": 7}  # 4 steps, the gate, 2 lengths


@pytest.mark.parametrize(("own", "kept"), [(None, "1000000000"), ("7", "7")])
def test_a_worker_keeps_freed_memory_unless_the_user_says_otherwise(
    own: str | None, kept: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "MALLOC_TRIM_THRESHOLD_"
    monkeypatch.delenv(name, raising=False)
    if own:
        monkeypatch.setenv(name, own)
    monkeypatch.setattr(local, "WORKER", ("-c", f"import os; print(os.environ['{name}'])"))
    with (tmp_path / "log").open("w") as errors:
        assert local.spawn(errors).communicate()[0].strip() == kept


def test_a_newer_pebenchs_record_stays_where_it_is(tmp_path: Path) -> None:
    cell = Cell("nope", "copy", "SMOKE", 0)
    path = write(replace(cell.record(reason="x", outcome="undefined")), tmp_path)
    text = path.read_text().replace(f'"schema": {SCHEMA}', '"schema": 999')
    path.write_text(text)
    with pytest.raises(NewerSchema, match=r"copy/nope/.*upgrade pebench"):
        sweep(tmp_path, [cell])
    assert path.read_text() == text
    assert not list(tmp_path.rglob("*.broken"))


def test_a_run_that_cannot_start_leaves_no_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cell = Cell("nope", "copy", "SMOKE", 0)

    class Fails(local.Local):
        def start(self, cell: Cell, node: str, save: bool) -> local.Job:
            raise KeyboardInterrupt

    lock = locked(cell, tmp_path)
    monkeypatch.setattr(runner, "locked", lambda cell, folder: lock)
    started = Sweep([cell], tmp_path, 1, 60, 2**30, console=Console(file=io.StringIO()))
    started.engine = Fails(tmp_path, 1, "cpu", local.Limits(60, 2**30))
    with pytest.raises(KeyboardInterrupt):
        started.run()
    assert not lock.held


def test_a_group_may_take_each_others_locks(tmp_path: Path) -> None:
    tmp_path.chmod(0o2775)
    with umask(0o022), locked(Cell("nope", "copy", "SMOKE", 0), tmp_path) as lock:
        assert stat.S_IMODE(lock.path.stat().st_mode) & 0o060 == 0o060


@contextlib.contextmanager
def umask(mode: int) -> Iterator[None]:
    before = os.umask(mode)
    try:
        yield
    finally:
        os.umask(before)


def test_an_engine_of_other_machines_asks_for_no_gpu_here(tmp_path: Path) -> None:
    engine = local.Local(tmp_path, 1, "cpu", local.Limits(60, 2**30))
    made = runner.sweep(SMOKE, [], tmp_path, device="cuda", engine=engine)
    assert made.jobs == 1


def test_the_state_of_a_training_belongs_to_its_engine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An engine of another source may round differently: its half of a training would not be the same bits."""
    job, device = Cell("nope", "copy", "SMOKE", 0), torch.device("cpu")
    before = cell_module.resume(job, tmp_path, device).run
    assert cell_module.resume(job, tmp_path, device).run == before
    monkeypatch.setattr(cell_module, "engine", lambda: "another")
    assert cell_module.resume(job, tmp_path, device).run != before


@pytest.mark.parametrize(
    "name", ["lm/step.py", "lm/native/declared.py", "lm/gpu/walk.py", "experiment/graphs.py"]
)
def test_the_engine_is_each_of_its_files(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, before = Path.read_text, cell_module.engine.__wrapped__()
    assert cell_module.engine.__wrapped__() == before

    def changed(self, *args, **options):
        return whole(self, *args, **options) + "\n# changed" * self.as_posix().endswith(f"suite/{name}")

    monkeypatch.setattr(Path, "read_text", changed)
    assert cell_module.engine.__wrapped__() != before
