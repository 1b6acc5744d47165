"""Writes the table of the committed records into README.md: python -m tests.readme_board

A test compares the two, so that the README never shows another board than the records make.
"""

import re
from pathlib import Path

from pebench.leaderboard import claims
from pebench.leaderboard.board import make_board, to_markdown

ROOT = Path(__file__).parent.parent
RECORDS = ROOT / "leaderboard" / "records"
PROFILE = "STANDARD"
README = ROOT / "README.md"
MARKED = re.compile(r"(?<=<!-- board -->\n).*?(?=<!-- /board -->)", re.DOTALL)


def section() -> str:
    """The board and the claims, as they stand in the README."""
    board = make_board(RECORDS, PROFILE)
    return f"\n{to_markdown(board)}\n\n{claims.to_markdown(board)}\n\n"


if __name__ == "__main__":
    README.write_text(MARKED.sub(lambda _: section(), README.read_text()))
