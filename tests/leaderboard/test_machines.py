"""Records that were run again elsewhere, as a table."""

import json
from pathlib import Path

import pytest

from pebench.leaderboard.board import PUBLISHED
from pebench.leaderboard.reports import machines
from pebench.suite.results.record import VERIFIED


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


def test_the_published_sample_moves_as_seeds_do() -> None:
    frame = machines.again(PUBLISHED)
    assert len(frame) >= 8
    assert frame["task"].is_unique
    assert set(frame["verdict"]) <= {"equal", "within seed spread"}
    assert (frame["over_seeds"] ** 2).mean() ** 0.5 == pytest.approx(0.67, abs=0.02)
