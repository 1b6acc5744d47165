"""How docstrings and pages are written: contorted phrases and long sentences are counted, and stay rare."""

import ast
import functools
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
PARTS = ("encodings", "tasks", "suite", "leaderboard", "pebench")
PAGES = [*(ROOT / name for name in ("README.md", "CONTRIBUTING.md")), *sorted((ROOT / "docs").rglob("*.md"))]
PHRASE = re.compile(r"\b(that of|those of|what is|who|of which|one that)\b", re.IGNORECASE)
MOST = 0.5  # phrases per 1,000 words; other code bases of the field have 0.0 to 0.8
LONG, SHARE = 25, 0.03  # words of a sentence, and the share of sentences that may have more


def docstrings(text: str) -> Iterator[str]:
    """Every docstring of a source text."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield ast.get_docstring(node) or ""


@functools.cache
def all_docstrings() -> list[tuple[str, str]]:
    """Every docstring of the packages, with its file."""
    return [
        (file.relative_to(ROOT).as_posix(), text)
        for part in PARTS
        for file in sorted((ROOT / part).rglob("*.py"))
        for text in docstrings(file.read_text(encoding="utf-8"))
    ]


def phrases(text: str) -> list[str]:
    """The phrases of a text that stand for a noun."""
    return PHRASE.findall(text)


def sentences(text: str) -> list[str]:
    """The sentences of a text's paragraphs."""
    return [
        sentence
        for paragraph in re.split(r"\n\s*\n", text)
        for sentence in re.split(r"(?<=[.!?:])\*{0,2}\s+(?=[A-Z0-9`(*\[\"])", paragraph.strip())
        if sentence
    ]


def by_hand(page: str) -> str:
    """A page's paragraphs without generated parts, code, tables and headings; an item of a list is a paragraph."""
    page = re.sub(r"<!-- ([\w-]+) -->.*?<!-- /\1 -->", "", page, flags=re.DOTALL)
    page = re.sub(r"```.*?```", "", page, flags=re.DOTALL)
    kept = [line for line in page.splitlines() if not line.startswith(("|", "    ", "#"))]
    return re.sub(r"^\s*([-*]|\d+\.)\s+", "\n\n", "\n".join(kept), flags=re.MULTILINE)


def test_docstrings_name_their_nouns() -> None:
    texts = all_docstrings()
    words = sum(len(text.split()) for _, text in texts)
    found = [f"{file}: {phrase}" for file, text in texts for phrase in phrases(text)]
    assert words > 10_000
    assert 1000 * len(found) / words < MOST, found


def test_pages_name_their_nouns() -> None:
    texts = {page.name: page.read_text(encoding="utf-8") for page in PAGES}
    words = sum(len(text.split()) for text in texts.values())
    found = [f"{name}: {phrase}" for name, text in texts.items() for phrase in phrases(text)]
    assert words > 5_000
    assert 1000 * len(found) / words < MOST, found


def test_few_sentences_are_long() -> None:
    found = [(file, sentence) for file, text in all_docstrings() for sentence in sentences(text)]
    long = [f"{file}: {sentence}" for file, sentence in found if len(sentence.split()) > LONG]
    assert len(found) > 1_000
    assert len(long) < SHARE * len(found), long


def test_few_sentences_of_pages_are_long() -> None:
    texts = {page.name: by_hand(page.read_text(encoding="utf-8")) for page in PAGES}
    found = [(name, sentence) for name, text in texts.items() for sentence in sentences(text)]
    long = [f"{name}: {sentence}" for name, sentence in found if len(sentence.split()) > LONG]
    assert len(found) > 1_000
    assert len(long) < SHARE * len(found), long


def test_the_count_sees_a_phrase() -> None:
    source = 'def f():\n    """That of a page, for those of us who read what is there, of which much."""\n'
    (text,) = filter(None, docstrings(source))
    assert len(phrases(text)) == 5
    assert phrases("What a whole sentence says, and those that follow.") == []


def test_the_count_sees_a_long_sentence() -> None:
    text = "One two.\n\nThree four! `five` six."
    assert sentences(text) == ["One two.", "Three four!", "`five` six."]
    page = "# A\n\nOne\ntwo:\n\n- three. *Four*\n- five\n\n| a |\n\n```\nb\n```\n<!-- c -->\n\nsix\n\n<!-- /c -->\n"
    assert sentences(by_hand(page)) == ["One\ntwo:", "three.", "*Four*", "five"]
