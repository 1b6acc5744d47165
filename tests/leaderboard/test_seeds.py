"""What a seed changes, against the law that made the records."""

from dataclasses import replace

import numpy as np
import pytest

from pebench.leaderboard.board import board_of
from pebench.leaderboard.ranking import Ranking
from pebench.leaderboard.reports import seeds
from tests.made_records import Sweep

NAMES = [f"made_{n:02}" for n in range(seeds.FEWEST)]


def made(spread: float, **other: int) -> Ranking:
    skills = {name: float(n) for n, name in enumerate(NAMES)}
    sweep = Sweep(skills, seed_spread=spread, tasks=("copy",), answers=10**6, **other)
    return board_of(sweep.records(), "QUICK", {"QUICK": 3}, []).ranking


def test_the_spread_of_seeds_is_that_which_made_them() -> None:
    frame = seeds.spread(made(0.02, seeds=40))
    row = frame.iloc[0]
    assert (len(frame), row["task"], row["encodings"], row["seeds"]) == (1, "copy", len(NAMES), 40)
    assert row["within"] == pytest.approx(0.02, rel=0.15)
    assert row["within"] < row["largest"] < 0.04
    assert -1 <= row["agree_low"] < row["agree_high"] <= 1


def test_without_spread_two_seeds_order_alike() -> None:
    row = seeds.spread(made(0.0, seeds=3)).iloc[0]
    assert row["within"] < 0.001
    assert row["between"] > 0.1
    assert row["agree_low"] == pytest.approx(1)


def test_one_seed_and_few_encodings_say_nothing() -> None:
    assert seeds.spread(made(0.02, seeds=1)).empty
    few = Sweep(dict.fromkeys(NAMES[1:], 1.0), seeds=3)
    assert seeds.spread(board_of(few.records(), "QUICK", {"QUICK": 3}, []).ranking).empty


def test_equal_encodings_have_no_order_that_seeds_could_agree_on() -> None:
    one = Sweep({NAMES[0]: 1.0}, seeds=2, tasks=("copy",)).records()
    alike = [replace(record, encoding=name) for name in NAMES for record in one]
    text = seeds.to_markdown(board_of(alike, "QUICK", {"QUICK": 3}, []).ranking)
    assert text.splitlines()[2].endswith("| 0.00 | - |")


def test_the_table_has_a_line_for_each_task() -> None:
    r = made(0.02, seeds=3)
    frame = seeds.spread(r)
    line = seeds.to_markdown(r).splitlines()[2]
    assert line.startswith("| `copy` | 10 | 3 | 0.0")
    assert f"({frame['whose'].iloc[0]})" in line
    assert np.isfinite(frame.select_dtypes("number").to_numpy()).all()
