"""The table of gates says of each task who learned it, with every seed."""

from dataclasses import replace

from pebench.leaderboard.board import board_of
from pebench.leaderboard.reports import gates
from pebench.suite.results.record import Row
from tests.made_records import Sweep


def test_gates_stand_by_seed_and_one_that_fails_is_named() -> None:
    learned = {
        ("rope", 0): 0.99,
        ("rope", 1): 0.9,
        ("fox", 0): 0.95,
        ("fox", 1): 0.5,
        ("nope", 0): 0.1,
        ("nope", 1): 1.0,
        ("alibi", 0): 1.0,  # a second seed might fail
    }
    records = [
        replace(record, rows=(Row("gate", learned[record.encoding, record.seed], 256),))
        for record in Sweep(dict.fromkeys(("rope", "fox", "nope", "alibi"), 1.0), seeds=2).records()
        if record.task == "copy" and (record.encoding, record.seed) in learned
    ]
    lines = gates.to_markdown(board_of(records[::-1], "QUICK", {"QUICK": 6}, [])).splitlines()
    assert lines[2:] == ["| `copy` | 0.9 | 0.99 0.90 | 1.00 |  | 0.95 0.50 (fails) | 1 of 3 |"]


def test_a_control_names_who_keeps_half_to_the_longest_length() -> None:
    ends = {"fox": (0.9, 0.9), "alibi": (0.9, 0.1), "rope": (0.1, 0.1), "nope": (0.9, 0.9)}
    records = [
        replace(
            record,
            task="copy_unique",
            rows=(
                Row("gate", 0.1 if record.encoding == "nope" else 1.0, 256),
                Row("exact", 1.0, 256, {"length": 64}, 0.0, 1.0),
                Row("exact", ends[record.encoding][record.seed], 256, {"length": 128}, 0.0, 1.0),
            ),
        )
        for record in Sweep(dict.fromkeys(ends, 1.0), seeds=2).records()
        if record.task == "copy"
    ]
    lines = gates.controls(board_of(records, "QUICK", {"QUICK": 8}, [])).splitlines()
    assert lines[2:] == ["| `copy_unique` | to generalise | 2.00 L | `fox` | `alibi` | `rope` | `nope` |"]
