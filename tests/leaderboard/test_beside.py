"""One's own records beside the published ones, and boards of a part of a profile."""

import io
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from pebench.leaderboard import about, board, printing
from pebench.leaderboard.board import make_board
from pebench.leaderboard.entries import Entry
from pebench.leaderboard.reading import BoardError
from pebench.suite.commands.common import Published, sources
from pebench.suite.results.record import Answer
from tests.made_records import Sweep, write_sweep
from tests.publishing import publish


@pytest.fixture
def published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A made-up published leaderboard of three encodings."""
    folder = write_sweep(tmp_path / "published", {"rope": 1.0, "alibi": 4.0, "fox": 6.0})
    publish(monkeypatch, folder)
    return folder


def by_name(made: board.Board) -> dict[str, Entry]:
    return {entry.name: entry for entry in made.entries}


def test_ones_own_row_stands_among_the_published_ones(tmp_path: Path, published: Path) -> None:
    mine = write_sweep(tmp_path / "mine", {"mine": 5.0, "rope": 9.0})
    alone, beside = make_board(mine), make_board([mine, published])
    assert set(by_name(beside)) == {"rope", "alibi", "fox", "mine"}
    assert beside.own == {"mine"}
    assert by_name(beside)["mine"].rank is not None
    # Of an encoding that is in both, the published records stand: none of the user's change its row.
    assert by_name(beside)["rope"].score == pytest.approx(
        by_name(make_board(published))["rope"].score, abs=0.02
    )
    assert any(note.startswith("In your folder too, and shown as published: rope;") for note in beside.notes)
    assert alone.own == frozenset()


def test_ones_own_row_is_marked_wherever_a_board_is_text(tmp_path: Path, published: Path) -> None:
    mine = write_sweep(tmp_path / "mine", {"mine": 5.0})
    beside = make_board([mine, published])
    assert [row["name"] for row in printing.to_json(beside)["encodings"] if row["own"]] == ["mine"]
    assert [line for line in printing.to_markdown(beside).splitlines() if r"**mine \(own\)**" in line]
    assert "**" not in printing.to_markdown(make_board(mine))
    header, *rows = printing.to_csv(beside).splitlines()
    assert header.endswith(",own")
    assert [row.split(",")[0] for row in rows if row.endswith("True")] == ["mine"]
    console = Console(
        record=True, width=200, file=io.StringIO(), color_system="truecolor", force_terminal=True
    )
    printing.print_board(beside, console)
    (row,) = [line for line in console.export_text(styles=True).splitlines() if "mine" in line]
    assert "mine (own)" in row
    assert "\x1b[1m" in row


def test_a_profile_without_published_records_is_told(tmp_path: Path, published: Path) -> None:
    mine = write_sweep(tmp_path / "mine", {"mine": 5.0}, profile="SMOKE")
    told = "There are no published records of SMOKE: nothing stands beside your own."
    assert told in make_board([mine, published]).notes
    assert told not in make_board(mine).notes
    assert told not in make_board([published, mine]).notes


def test_the_published_row_is_the_same_whoever_stands_beside(tmp_path: Path, published: Path) -> None:
    mine = write_sweep(tmp_path / "mine", {"rope": 9.0})
    rows = make_board([mine, published]).scores
    expected = make_board(published).scores
    assert (
        rows.sort_values(list(rows.columns)).value.tolist()
        == expected.sort_values(list(rows.columns)).value.tolist()
    )


def test_two_folders_of_ones_own_are_one_board(tmp_path: Path) -> None:
    parts = [write_sweep(tmp_path / name, {name: skill}) for name, skill in (("rope", 1.0), ("fox", 6.0))]
    both = make_board(parts)
    assert set(by_name(both)) == {"rope", "fox"}
    with pytest.raises(BoardError, match="there is no records folder"):
        make_board([parts[0], tmp_path / "absent"])


def test_coverage_is_of_the_profile_and_what_lacks_is_named(tmp_path: Path) -> None:
    """After one task of three there is a score and no rank; after two families still none; after all there is."""
    skills = {"rope": 1.0, "fox": 6.0}
    one = make_board(write_sweep(tmp_path, skills, tasks=("copy",)))
    assert [e.rank for e in one.entries] == [None, None]
    assert [e.coverage for e in one.entries] == pytest.approx([1 / 3, 1 / 3])
    assert one.entries[0].reason == "not counted yet of QUICK: needle, language"
    assert "pebench run --profile QUICK" in one.notes[0]
    two = make_board(write_sweep(tmp_path, skills, tasks=("copy", "needle")))
    assert two.entries[0].coverage == pytest.approx(2 / 3)
    assert two.entries[0].rank is None
    whole = make_board(write_sweep(tmp_path, skills))
    assert [e.rank for e in whole.entries] == [1, 2]
    assert [e.coverage for e in whole.entries] == [1.0, 1.0]


def test_a_choice_of_tasks_ranks_again_and_lacks_nothing(tmp_path: Path) -> None:
    folder = write_sweep(tmp_path, {"rope": 1.0, "fox": 6.0})
    chosen = make_board(folder, "QUICK", ["needle"])
    assert chosen.task_families == ["needle"]
    assert [e.rank for e in chosen.entries] == [1, 2]
    assert "Ranked on needle alone." in chosen.notes
    assert chosen.entries[0].costs


def test_a_folder_that_is_named_twice_counts_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    (tmp_path / "link").symlink_to(about.PUBLISHED)
    a, b = Path("a"), Path("b")
    assert sources([a, b, tmp_path / "a", Path("./b/.")], None) == [a, b]
    assert sources([a, Path("link")], Published.published) == [a, about.PUBLISHED]
    assert sources([about.PUBLISHED, a], Published.published) == [about.PUBLISHED, a]


def pebench(*words: str, where: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-P", "-m", "pebench.suite.cli", *words]
    return subprocess.run(command, cwd=where, capture_output=True, text=True, timeout=240)


@pytest.mark.walks
def test_the_board_without_a_folder_is_the_published_one_and_says_so(tmp_path: Path) -> None:
    shown = pebench("board", "--profile", "QUICK", "--json", where=tmp_path)
    assert shown.returncode == 0, shown.stderr
    assert "these are the published results" in shown.stderr
    assert {"rope", "alibi", "fox"} <= {e["name"] for e in json.loads(shown.stdout)["encodings"]}
    write_sweep(tmp_path / "records", {"mine": 5.0}, tasks=("copy",), seeds=1, lengths=(8, 10, 12, 16))
    beside = json.loads(pebench("board", "--beside", "published", "--json", where=tmp_path).stdout)
    rows: dict[str, dict[str, Any]] = {e["name"]: e for e in beside["encodings"]}
    assert {"mine", "rope"} <= rows.keys()
    assert rows["mine"]["coverage"] < 0.5
    assert rows["mine"]["rank"] is None
    assert [name for name, row in rows.items() if row["own"]] == ["mine"]
    difference = pebench("compare", "mine", "rope", "--beside", "published", "--json", where=tmp_path)
    assert {row["task"] for row in json.loads(difference.stdout)} >= {"copy"}


def test_what_is_written_down_of_the_tasks_is_what_they_are(books: None) -> None:
    """python -m pebench.suite.experiment.items writes it."""
    from pebench.suite.experiment.items import document

    assert json.loads(json.dumps(document())) == about.document()


def test_an_item_is_told_with_its_right_answer() -> None:
    item = about.items("STANDARD", "copy")[0]
    assert item.condition == {"length": 12}
    (question, *_), answer = "".join(t for t, asked in item.pieces if not asked).split("="), item.right
    assert question.split()[1:] == answer.split()
    assert about.items("NONE", "copy") == about.items("STANDARD", "copy")
    assert about.task("NONE", "copy") is None
    assert about.title("none") == "none"


def test_records_keep_what_was_answered() -> None:
    said = Answer(condition={"length": 12}, item=0, asked="a b > _ _", answer="a b", said="a b", right=True)
    made = replace(Sweep({"rope": 1.0}, seeds=1).records()[0], answers=(said,))
    frame = board.table.answer_table([made])
    assert frame[["encoding", "task", "condition", "said"]].values.tolist() == [
        ["rope", "copy", "length 12", "a b"]
    ]
