"""Writes what is made of the committed records into README.md and standard.md: python -m tests.generated

A test compares them, so that no text shows other numbers than the records make.
"""

import functools
import re
from collections.abc import Callable
from pathlib import Path

from pebench.leaderboard.board import Board, make_board
from pebench.leaderboard.printing import to_markdown
from pebench.leaderboard.reports import claims, gates, rates, seeds, variants
from pebench.suite.results.record import read_all

ROOT = Path(__file__).parent.parent
RECORDS = ROOT / "leaderboard" / "records"
PROFILE = "STANDARD"


@functools.cache
def board() -> Board:
    """The board of the committed records."""
    return make_board(RECORDS, PROFILE)


def ranks() -> str:
    """The board and the claims, as they stand in the README."""
    return f"\n{to_markdown(board())}\n\n{claims.to_markdown(board())}\n\n"


def learned() -> str:
    """The gates, as they stand in suite/experiment/standard.md."""
    return f"\n{gates.to_markdown(board())}\n\n"


def seed_spread() -> str:
    """What a seed changes, as it stands in suite/experiment/standard.md."""
    return f"\n{seeds.to_markdown(board().ranking)}\n\n"


def changes() -> str:
    """What single changes do, as it stands in leaderboard/variants.md."""
    return f"\n{variants.to_markdown(board())}\n\n"


def learning_rates() -> str:
    """What other learning rates change, as it stands in suite/experiment/standard.md."""
    return f"\n{rates.to_markdown(read_all(RECORDS)[0])}\n\n"


PARTS: dict[str, tuple[str, Callable[[], str]]] = {
    "board": ("README.md", ranks),
    "variants": ("leaderboard/variants.md", changes),
    "gates": ("suite/experiment/standard.md", learned),
    "seeds": ("suite/experiment/standard.md", seed_spread),
    "rates": ("suite/experiment/standard.md", learning_rates),
}


def marked(name: str) -> re.Pattern[str]:
    """What stands between the marks of this part."""
    return re.compile(rf"(?<=<!-- {name} -->\n).*?(?=<!-- /{name} -->)", re.DOTALL)


if __name__ == "__main__":
    for name, (file, made) in PARTS.items():
        text = (ROOT / file).read_text()
        (ROOT / file).write_text(marked(name).sub(lambda _, made=made: made(), text))
