from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from pebench.leaderboard.submissions.comment import safe, to_markdown
from pebench.suite.results.record import Record
from tests.spoiled import found


def test_the_comparison_is_a_table_with_its_neighbours(whole: Path, board: list[Record]) -> None:
    text = to_markdown(found(whole, board), board)
    assert "every check holds" in text
    assert "| **my\\_idea** |" in text
    assert "paired by seed" in text
    table = [line for line in text.splitlines() if line.startswith("|")]
    assert len({line.count("|") for line in table}) == 1
    assert len(table) == 2 + 4


def test_without_a_board_the_questions_cannot_be_compared_and_that_is_said(whole: Path) -> None:
    report = found(whole, [])
    assert report.passed
    assert "the board has no run of copy to compare the questions with" in report.notes
    assert "my\\_idea" in to_markdown(report, [])


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=60))
def test_no_text_of_a_stranger_becomes_markdown(text: str) -> None:
    shown = safe(text)
    assert "\n" not in shown
    for sign in "<>`[]|*_#":
        assert shown.replace(f"\\{sign}", "").count(sign) == 0
    assert "@" not in shown.replace("@\u200b", "")
