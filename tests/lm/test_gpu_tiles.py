"""Tiles of the kernels of a GPU, and the table that docs/gpu.md shows of them."""

import importlib.util
import itertools
import json
import os
import subprocess
import sys

import pytest
import torch

from benchmarks import kernels
from pebench.suite.lm.gpu import choice, tiles
from pebench.suite.lm.gpu.bias import BROKEN, COUNTED, PATH, WHOLE

NEEDS = pytest.mark.skipif(
    not choice.installed(), reason="Triton is not installed; pip install 'pebench[gpu]'"
)
ALL = [
    tiles.planned(*given)
    for given in itertools.product(
        kernels.WIDTHS, (WHOLE, PATH, COUNTED, BROKEN), kernels.DTYPES.values(), (*kernels.CHIPS, 86, 120)
    )
]


def test_tiles_of_a_plan_fit_together() -> None:
    for plan in (*ALL, tiles.INTERPRETED):
        assert plan.table.queries == plan.table.keys
        assert plan.forward.keys * plan.part % plan.queries.keys == 0
        assert all(t.queries >= 16 and t.keys >= 16 for t in (plan.forward, plan.queries, plan.keys))
    for kind in (PATH, COUNTED, BROKEN):
        for width, dtype, chip in itertools.product(kernels.WIDTHS, kernels.DTYPES.values(), kernels.CHIPS):
            plan = tiles.planned(width, kind, dtype, chip)
            assert plan.keys.keys == plan.queries.keys


def test_every_kernel_of_every_source_is_compiled_for_every_chip() -> None:
    jobs = list(kernels.jobs())
    assert len(set(jobs)) == len(jobs)
    assert {j.chip for j in jobs} == {80, 90, 100}
    assert {j.width for j in jobs} == {16, 32, 64, 128}
    assert len(jobs) == 3 * 4 * 2 * (4 + 5 + 5 + 5 + 4)


@NEEDS
def test_the_table_shows_the_stored_results_and_these_are_of_this_code() -> None:
    stored = kernels.stored()
    assert stored.keys() == set(kernels.jobs())
    stale = [
        job for job, line in stored.items() if job not in set(kernels.jobs()) or line["code"] != job.code()
    ]
    assert not stale, f"{len(stale)} results are of other code; run `python benchmarks/kernels.py`"
    text = kernels.PAGE.read_text(encoding="utf-8")
    assert text == kernels.page(text, stored.values()), "run `python benchmarks/kernels.py --table`"
    assert all(line["shared"] <= kernels.CHIPS[line["chip"]] for line in stored.values())
    assert not any(line["atomics"] for line in stored.values())
    assert not any(line["spilled"] for job, line in stored.items() if job.dtype == "bf16")


def test_a_result_of_other_code_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernels, "triton_version", lambda: "1")
    job = next(kernels.jobs())
    before = job.code()
    monkeypatch.setattr(kernels, "kernels_meaning", lambda: "another")
    changed = job.code()
    monkeypatch.setattr(tiles, "FLOAT32", tiles.WIDE_FLOAT32)
    monkeypatch.setitem(tiles.PLANS, (False, False, False), tiles.WIDE_FLOAT32)
    assert len({before, changed, job.code()}) == 3


def test_rows_of_the_table_tell_the_most_of_their_kernels_and_what_is_missing() -> None:
    jobs = [j for j in kernels.jobs() if (j.source, j.dtype, j.width) == ("broken", "bf16", 64)]
    results = [
        {**j._asdict(), "registers": 100 + i, "shared": 1024 * i, "spilled": 4 * (j.chip == 90), "atomics": 0}
        for i, j in enumerate(jobs)
    ]
    whole, part = kernels.table(results), kernels.table(results[:1])
    assert whole.splitlines()[2:] == [
        "| broken | bf16 | 64 | 4 | 109, 9 KiB, 0 B | 110, 10 KiB, 4 B | 111, 11 KiB, 0 B |"
    ]
    assert part.splitlines()[2].endswith("| 100, 0 KiB, 0 B (1 of 4) | not compiled | not compiled |")


def compiled_again(*options: str) -> list[dict[str, object]]:
    """The lines of a compilation in a process that does not interpret."""
    code = (
        "import json, sys; from benchmarks import kernels as k\n"
        "for job in json.loads(sys.argv[1]): print(json.dumps(k.compiled(k.Job(*job))))"
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code, *options],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "TRITON_INTERPRET": "0"},
        cwd=kernels.PAGE.parent.parent,
    )
    return [json.loads(line) for line in done.stdout.splitlines()]


@NEEDS
@pytest.mark.walks
def test_a_stored_result_is_what_the_compiler_says() -> None:
    stored = kernels.stored()
    some = [j for j in stored if (j.kernel, j.source, j.width) == ("backward_keys", "path", 64)][:2]
    assert some
    assert compiled_again(json.dumps(some)) == [stored[j] for j in some]


@NEEDS
@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_all_stored_results_are_what_the_compiler_says() -> None:
    stored = kernels.stored()
    assert compiled_again(json.dumps(list(stored))) == list(stored.values())


def test_without_triton_the_command_names_the_remedy(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(sys, "argv", ["kernels.py"])
    with pytest.raises(SystemExit, match=r"pip install 'pebench\[gpu\]'"):
        kernels.main()


def test_a_gpus_capability_picks_its_plan(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    assert tiles.chip_of(torch.device("cuda")) == 90
    ampere, hopper, at_home = (tiles.planned(128, PATH, torch.bfloat16, chip) for chip in (80, 90, 120))
    assert ampere != hopper
    assert ampere == at_home
