"""The table of gates says of each task who learned it, with every seed."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from pebench.leaderboard.about import PUBLISHED
from pebench.leaderboard.board import board_of, make_board
from pebench.leaderboard.reports import gates
from pebench.suite.experiment.measure import generator
from pebench.suite.results.metrics import counted, listed
from pebench.suite.results.record import Row
from pebench.tasks.parity import BIT, Parity
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


def test_the_page_says_how_many_items_of_parity_need_no_count_beyond_training() -> None:
    board, task = make_board(PUBLISHED, "STANDARD_2"), Parity()
    scores = board.scores[(board.scores["task"] == task.name) & (board.scores["metric"] == "exact")]
    exact = scores.astype({"encoding": str}).pivot_table(
        index=["encoding", "seed"], columns="length", values="value"
    )
    trained = int(board.runs.loc[board.runs["task"] == task.name, "train_length"].iloc[0])

    def shares(most: int) -> list[float]:
        """Of the test items of each length, with at most so many ones."""
        found = []
        for length in exact:
            condition = {"length": int(length)}
            n = int(scores.loc[scores["length"] == length, "n"].iloc[0])
            tokens = task.examples(condition, n, generator(task, condition, "test"), "test").tokens
            found.append(float(np.mean(((tokens == BIT + 1).sum(dim=1) <= most).numpy())))
        return found

    def said(of: list[float]) -> str:
        return listed([f"{share:.1%}" for share in of])

    few, all_seen = shares(trained - 1), shares(trained)
    alike = (exact == few).all(axis=1).groupby(level="encoding").agg(["sum", "size"])
    named = [
        f"`{name}` ({row['sum']} of {counted(int(row['size']), 'seed')})"
        for name, row in alike.iterrows()
        if row["sum"]
    ]
    beyond = (exact > all_seen).all(axis=1).groupby(level="encoding").all()
    page = " ".join((Path(__file__).parents[2] / "docs/standard2.md").read_text(encoding="utf-8").split())
    lengths = listed([f"{length:g}" for length in exact])
    assert f"Of its test items with {lengths} bits {said(few)} have at most {trained - 1} ones" in page
    assert f"and {said(all_seen)} have at most {trained}." in page
    assert f"exactly the first shares: {listed(named)}." in page
    assert (
        f"at each length and with each seed: {listed([f'`{name}`' for name in beyond.index[beyond]])}."
        in page
    )
