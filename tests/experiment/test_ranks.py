"""Several processes train one model: real processes on this machine, that talk by gloo."""

import contextlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from typer.testing import CliRunner

from pebench.suite.cli import app
from pebench.suite.experiment.ranks import Team
from pebench.suite.experiment.sharing import Sharing
from pebench.suite.results.record import read_all
from pebench.tasks.base import IGNORE, Batch
from tests.ports import unused_port

ROOT = Path(__file__).parents[2]
LARGE = {"replicas": {}, "shares": {"sharded": True}}
SMALL = {f"{way}, small": {"micro_batch": 3, "recompute": True, "sharded": way == "shares"} for way in LARGE}
TEN = (
    "rope",
    "alibi",
    "fox",
    "grape_a_qk",
    "grape_m_ctx",
    "t5_bias",
    "stick_breaking",
    "path",
    "cope",
    "abacus",
)


def together(world: int, what: str, **rest: Any) -> list[subprocess.CompletedProcess[str]]:
    """What each rank says, and how it ended."""
    port = str(unused_port())
    shared = {**os.environ, "WORLD_SIZE": str(world), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    shared |= {"OMP_NUM_THREADS": "1", "TORCH_CPP_LOG_LEVEL": "ERROR", "PYTHONPATH": os.fspath(ROOT)}
    words = [sys.executable, "-P", "-m", "tests.experiment.together", what, json.dumps(rest)]
    ranks = [
        subprocess.Popen(
            words,
            env={**shared, "RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(world)
    ]
    ends = [(rank.communicate(timeout=280), rank.returncode) for rank in ranks]
    return [subprocess.CompletedProcess(words, code, out, err) for (out, err), code in ends]


def answers(done: list[subprocess.CompletedProcess[str]]) -> list[Any]:
    assert [each.returncode for each in done] == [0] * len(done), done[0].stderr + done[-1].stderr
    return [json.loads(each.stdout) for each in done]


@pytest.mark.engines
def test_two_ranks_compute_what_one_process_does() -> None:
    """Replicas and shares, whole and in micro-batches with recomputation and a loss in chunks."""
    said = answers(together(2, "alike", encodings=["fox"], ways=LARGE | SMALL))
    for rank in said:
        assert len(rank["far"]) == 8
        for way, far in rank["far"].items():
            assert far <= (1e-3 if "weights" in way else 1e-5), way
        words, seconds = rank["poisoned"]
        assert words.startswith("loss nan, gradient norm nan at step 7 of 12")
        assert seconds < 10


@pytest.mark.engines
@pytest.mark.timeout(600)
@pytest.mark.parametrize("world", [2, 3])
def test_ranks_compute_what_one_process_does_for_ten_encodings(world: int) -> None:
    """Three ranks have batches whose rows they cannot share evenly."""
    said = answers(together(world, "alike", encodings=TEN, ways=LARGE))[0]
    losses = {way: far for way, far in said["far"].items() if "weights" not in way}
    assert len(losses) == 20
    print(losses)
    assert max(losses.values()) <= 1e-5, losses


@pytest.mark.engines
@pytest.mark.timeout(600)
@pytest.mark.parametrize("sharded", [False, True], ids=["replicas", "shares"])
def test_a_training_goes_on_after_a_rank_was_killed_and_ends_in_the_same_bits(
    sharded: bool, tmp_path: Path
) -> None:
    """The state is read by another number of ranks too; that of another run is not."""

    def made(world: int, folder: str, stop: int = 99, run: str = "run") -> list[Any]:
        where = os.fspath(tmp_path / folder)
        return answers(together(world, "resumed", folder=where, stop=stop, run=run, sharded=sharded))

    whole = made(2, "whole")[0]
    begun = time.monotonic()
    where = os.fspath(tmp_path / "cut")
    dead = together(2, "resumed", folder=where, stop=6, run="run", sharded=sharded)
    assert dead[1].returncode == -9
    assert dead[0].returncode != 0
    print(f"all ended {time.monotonic() - begun:.0f} s after the start")
    saved = tmp_path / "cut"
    for name in ("three", "other"):
        subprocess.run(["cp", "-r", saved, tmp_path / name], check=True)
    assert [each["bits"] for each in made(2, "cut")] == [whole["bits"]] * 2
    three = made(3, "three")[0]
    assert three["before"] == [2]
    assert three["loss"] == pytest.approx(whole["loss"], abs=1e-5)
    assert made(2, "other", run="another")[0]["before"] == []


@pytest.mark.engines
@pytest.mark.parametrize("sharded", [False, True], ids=["replicas", "shares"])
def test_a_training_leaves_no_thread_that_frees_tensors_while_the_interpreter_ends(
    sharded: bool, tmp_path: Path
) -> None:
    """Such a thread waits for Python's lock, is ended there, and takes the process along (SIGABRT)."""
    said = answers(together(2, "left", folder=os.fspath(tmp_path), sharded=sharded))
    assert [rank["threads"] for rank in said] == [0, 0]


@pytest.mark.parametrize(("rows", "world", "micro"), [(7, 2, 2), (1, 3, None), (8, 4, 1), (5, 1, 3)])
def test_every_row_is_passed_once_and_every_rank_passes_as_often(
    rows: int, world: int, micro: int | None
) -> None:
    """Also where a rank has no row of its own: else the others would wait for it."""
    data = Batch(torch.arange(rows)[:, None].expand(rows, 2), torch.arange(rows)[:, None].expand(rows, 2))
    teams = [Team(Sharing(world, micro), rank, torch.device("cpu")) for rank in range(world)]
    passes = [team.passes(data) for team in teams]
    assert len({len(each) for each in passes}) == 1
    assert all(len(part.tokens) >= 1 for each in passes for part in each)
    asked = torch.cat([part.targets[:, 0] for each in passes for part in each])
    assert sorted(asked[asked != IGNORE].tolist()) == list(range(rows))


def pebench(*words: str) -> list[str]:
    return [sys.executable, "-P", "-m", "pebench.suite.cli", "run", "--profile", "SMOKE", *words]


@pytest.mark.engines
@pytest.mark.timeout(600)
def test_a_run_on_two_ranks_says_so_and_its_failure_names_the_rank(tmp_path: Path) -> None:
    file = tmp_path / "slow.py"
    file.write_text(
        "import pathlib\nimport time\nfrom pebench.encodings.rope import RoPE\n\n\n"
        "class Slow(RoPE):\n    title = 'Slow'\n\n    def qk(self, q, k, at):\n"
        "        if at.progress > 0:\n            pathlib.Path(__file__).with_name('reached').touch()\n"
        "            time.sleep(60)\n        return super().qk(q, k, at)\n"
    )
    records = tmp_path / "records"
    words = ("-t", "copy", "--records", os.fspath(records), "--ranks", "2", "--micro-batch", "4")
    subprocess.run(pebench("-e", "rope", "--sharded", *words), check=True, capture_output=True)
    record = read_all(records)[0][0]
    assert {key: record.provenance[key] for key in ("ranks", "micro_batch", "sharded", "recompute")} == {
        "ranks": 2,
        "micro_batch": 4,
        "sharded": True,
        "recompute": False,
    }
    assert record.provenance["command"].endswith("--ranks 2 --micro-batch 4 --sharded")
    sweep = subprocess.Popen(pebench("-e", f"{file}:Slow", *words), stdout=subprocess.PIPE, text=True)

    def ranks() -> dict[str, psutil.Process]:
        found = dict[str, psutil.Process]()
        for p in psutil.Process(sweep.pid).children(recursive=True):
            with contextlib.suppress(psutil.Error):  # it ended meanwhile
                found[p.environ().get("RANK", "")] = p
        return found

    log = Path(records, ".running").rglob("*slow*.log")
    while not (tmp_path / "reached").exists():  # the second step
        assert sweep.poll() is None, (sweep.communicate(), [f.read_text() for f in log])
        time.sleep(0.2)
    other, victim = ranks()["0"], ranks()["1"]
    victim.kill()
    assert psutil.wait_procs([other], timeout=10)[1] == []
    said = sweep.communicate(timeout=120)[0]
    assert sweep.returncode == 4
    assert "rank 1 of 2 ended with signal 9" in said


@pytest.mark.parametrize("words", [["--sharded"], ["--recompute"], ["--micro-batch", "4"]])
def test_options_of_ranks_need_ranks(words: list[str]) -> None:
    done = CliRunner().invoke(app, ["run", "--profile", "SMOKE", *words])
    assert done.exit_code == 2
    assert "give it too" in " ".join(done.output.split())
