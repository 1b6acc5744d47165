"""Records that were run again elsewhere, as a table."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from pebench.leaderboard.about import PUBLISHED
from pebench.leaderboard.board import Board, board_of
from pebench.leaderboard.reports import machines
from pebench.suite.results.record import VERIFIED
from tests.made_records import Sweep


def marks(folder: Path, *ratios: float | None) -> Path:
    stated = {
        f"QUICK/copy/rope/{n}-ab.json": {
            "verdict": "within seed spread" if ratio else "equal",
            "numbers": 9,
            "unequal": 4,
            "machine": ["processor: A then, B now"],
            "over_seeds": ratio,
        }
        for n, ratio in enumerate(ratios)
    }
    (folder / VERIFIED).write_text(json.dumps({"schema": 1, "verified": stated}))
    return folder


def test_the_summary_is_the_root_mean_square_over_records(tmp_path: Path) -> None:
    text = machines.to_markdown(marks(tmp_path, 0.6, 0.8, None))
    assert "| `copy` | rope | 1 | within seed spread | 5 of 9 | 0.80 |" in text
    assert "2 records run again (processor: A then, B now): 2 within seed spread" in text
    assert f"is {(0.5) ** 0.5:.2f} times" in text


def test_without_marks_of_another_machine_there_is_no_table(tmp_path: Path) -> None:
    assert machines.to_markdown(tmp_path) == ""
    assert machines.to_markdown(marks(tmp_path, None)) == ""


def test_two_kinds_of_processor_agree_or_not_on_the_pairs_that_both_separate() -> None:
    def board(cpu: str, **skills: float) -> Board:
        records = [
            replace(r, provenance={**r.provenance, "cpu": cpu, "precision": "float32"})
            for r in Sweep(skills).records()
        ]
        return board_of(records, "QUICK", {"QUICK": 1}, [])

    first = board("A Xeon", rope=1.0, alibi=4.0, fox=30.0)
    same, turned = (
        board("An EPYC", rope=1.0, alibi=4.0, fox=30.0),
        board("An EPYC", rope=30.0, alibi=4.0, fox=1.0),
    )
    text = machines.orders(first, same)
    assert (
        "A: A Xeon, float32; 3 encodings, 3 seeds. B: An EPYC, float32; 3 encodings, 3 seeds. `QUICK`" in text
    )
    assert "of 3 pairs that both have A separates 3 and B 3 (Holm, 5 %)." in text
    assert "Of the pairs that both separate, 3 have the same order and 0 the opposite one." in text
    assert "0 have the same order and 3 the opposite one" in machines.orders(first, turned)
    assert text.startswith("| encoding | A: tier | A: score, 95 % | B: tier | B: score, 95 % |")
    (line,) = (line for line in text.splitlines() if line.startswith("| `fox` |"))
    assert line.count("| 1 |") == 2


def test_what_one_alone_has_or_separates_is_no_agreement() -> None:
    first = board_of(Sweep({"rope": 1.0, "alibi": 4.0, "fox": 30.0}).records(), "QUICK", {"QUICK": 1}, [])
    other = board_of(Sweep({"rope": 1.0, "alibi": 1.0}).records(), "QUICK", {"QUICK": 1}, [])
    text = machines.orders(first, other)
    assert "`fox`" not in text
    assert "of 1 pair that both have A separates 1 and B 0" in text
    assert "0 have the same order and 0 the opposite one" in text


def test_the_published_sample_moves_as_seeds_do() -> None:
    frame = machines.again(PUBLISHED)
    assert len(frame) >= 8
    assert frame["task"].is_unique
    assert set(frame["verdict"]) <= {"equal", "within seed spread"}
    assert (frame["over_seeds"] ** 2).mean() ** 0.5 == pytest.approx(0.67, abs=0.02)
