"""Averages at the training length and beyond it say which tasks they are over."""

from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

import pytest

from pebench.leaderboard.board import Board, board_of, make_board
from pebench.leaderboard.reports.documents import top
from pebench.leaderboard.reports.quantities import (
    ALL,
    WHOLE,
    Quantity,
    measured,
    quantities,
    scope,
    train_lengths,
)
from pebench.leaderboard.reports.vocabulary import AT, BEYOND
from pebench.suite.results.record import write
from tests.made_records import TASKS, TRAIN_LENGTH, Sweep


def made(folder: Path, at: Collection[str]) -> Board:
    """A board whose tasks are measured at the training length only where `at` names them."""
    for record in Sweep({"rope": 1.0, "alibi": 5.0}).records():
        if record.task in TASKS and record.task not in at:
            rows = tuple(row for row in record.rows if row.condition.get("length") != TRAIN_LENGTH)
            record = replace(record, rows=rows)
        write(record, folder)
    return make_board(folder)


@pytest.mark.parametrize(
    ("at", "said", "note"),
    [
        (["copy", "needle", "language"], "all tasks", None),
        (["copy", "needle"], "2 of 3 tasks", "copy, needle. The gate alone judges it in 1 other task."),
        (["language"], "`language`", "language. The gate alone judges it in 2 other tasks."),
    ],
)
def test_an_average_names_its_tasks(at: list[str], said: str, note: str | None, tmp_path: Path) -> None:
    board = made(tmp_path, at)
    assert scope(board, AT) == said
    assert scope(board, BEYOND) == "all tasks"
    start = "Scored at the training length: "
    assert [n for n in board.notes if n.startswith(start)] == ([start + note] if note else [])
    assert f"| {said} at L | all tasks beyond L |" in top(board)


def test_the_time_of_a_step_is_a_column_only_where_it_was_measured(tmp_path: Path) -> None:
    assert "| train |" in top(made(tmp_path, TASKS))
    for file in tmp_path.rglob("throughput/**/*.json"):
        file.unlink()
    assert "train" not in top(make_board(tmp_path))


def test_each_quantity_is_there_once(tmp_path: Path) -> None:
    found = quantities(made(tmp_path, ["language"]))
    assert {(q.task, q.phase) for q in found} == {
        *((task, phase) for task in (ALL, "language") for phase in (AT, BEYOND, WHOLE)),
        *((task, BEYOND) for task in ("copy", "needle")),
    }
    assert len(found) == len(set(found))


def test_a_difference_over_fewer_tasks_says_so(tmp_path: Path) -> None:
    for record in Sweep({"rope": 1.0, "alibi": 5.0, "fox": 6.0}).records():
        if (record.encoding, record.task) != ("rope", "copy"):
            write(record, tmp_path)
    beyond = measured(make_board(tmp_path), Quantity(ALL, BEYOND))
    assert beyond.shared("rope", "alibi") == "2 of 3 tasks"
    assert beyond.shared("fox", "alibi") == ""


def test_one_record_cannot_move_the_training_length(tmp_path: Path) -> None:
    for record in Sweep({"rope": 1.0, "alibi": 5.0}).records():
        if (record.encoding, record.task, record.seed) == ("rope", "copy", 0):
            record = replace(record, setup={**record.setup, "train_length": 4 * TRAIN_LENGTH})
        write(record, tmp_path)
    assert train_lengths(make_board(tmp_path))["copy"] == TRAIN_LENGTH


def test_an_encoding_with_a_failed_certificate_has_no_p_value(tmp_path: Path) -> None:
    for record in Sweep({"rope": 1.0, "alibi": 5.0, "fox": 6.0}).records():
        if (record.encoding, record.task) == ("fox", "certificate"):
            record = replace(record, rows=tuple(replace(row, value=0.0) for row in record.rows))
        write(record, tmp_path)
    board = make_board(tmp_path)
    assert {e.name: e.certificate for e in board.entries}["fox"] == "failed"
    beyond = measured(board, Quantity(ALL, BEYOND))
    fox, alibi = beyond.gap("fox", "rope"), beyond.gap("alibi", "rope")
    assert fox is not None
    assert fox.p is None
    assert alibi is not None
    assert alibi.p is not None


def test_processors_are_named_with_the_precision_of_their_products(tmp_path: Path) -> None:
    for record in Sweep({"rope": 1.0, "alibi": 5.0}).records():
        precision = "float16" if record.seed == 0 else "float32"
        write(
            replace(record, provenance={**record.provenance, "cpu": "Z80", "precision": precision}), tmp_path
        )
    (note,) = [n for n in make_board(tmp_path).notes if n.startswith("Processors")]
    assert "Z80, float16 (" in note
    assert "Z80, float32 (" in note


def test_rows_that_share_no_processor_with_the_others_are_named() -> None:
    records = [
        replace(
            r,
            provenance={
                **r.provenance,
                "cpu": "A" if r.encoding != "rope" or r.seed else "B",
                "precision": "float32",
            },
        )
        for r in Sweep({"fox": 9.0, "rope": 2.0, "nope": 1.0}).records()
    ]
    apart = [
        replace(r, provenance={**r.provenance, "cpu": "B"}) if r.encoding == "nope" else r for r in records
    ]
    alone = [
        replace(r, provenance={**r.provenance, "cpu": "C"}) if r.encoding == "nope" else r for r in records
    ]
    for found, named in ((records, []), (apart, []), (alone, ["nope"])):
        board = board_of(found, "QUICK", {"QUICK": 1}, [])
        notes = [note for note in board.notes if "No other row was made" in note]
        assert [note.partition("precision of ")[2].partition(":")[0] for note in notes] == named
