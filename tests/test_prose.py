"""How the docstrings are written: contorted phrases are counted, and stay rare."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
PARTS = ("encodings", "tasks", "suite", "leaderboard", "pebench")
PHRASE = re.compile(r"\b(that of|those of|what is|who|of which)\b", re.IGNORECASE)
MOST = 1.0  # per 1,000 words; other code bases of the field have 0.0 to 0.8


def docstrings(text: str) -> Iterator[str]:
    """Every docstring of a source text."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield ast.get_docstring(node) or ""


def phrases(text: str) -> list[str]:
    """The phrases of a text that stand for a noun."""
    return PHRASE.findall(text)


def test_docstrings_name_their_nouns() -> None:
    files = [file for part in PARTS for file in sorted((ROOT / part).rglob("*.py"))]
    texts = [(file, text) for file in files for text in docstrings(file.read_text(encoding="utf-8"))]
    words = sum(len(text.split()) for _, text in texts)
    found = [f"{file.relative_to(ROOT)}: {phrase}" for file, text in texts for phrase in phrases(text)]
    assert words > 10_000
    assert 1000 * len(found) / words < MOST, found


def test_the_count_sees_a_phrase() -> None:
    source = 'def f():\n    """That of a page, for those of us who read what is there, of which much."""\n'
    (text,) = filter(None, docstrings(source))
    assert len(phrases(text)) == 5
    assert phrases("What a whole sentence says, and those that follow.") == []
