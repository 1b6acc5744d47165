from pathlib import Path

import pytest

from pebench.suite.results.record import Record
from tests.spoiled import CODE, Spoiled, card, demand_found

SPOILED: Spoiled = {
    "no card": (lambda f: (f / "card.json").unlink(), "there is no card.json"),
    "a card that is no JSON": (lambda f: (f / "card.json").write_text("{"), "card.json: not JSON"),
    "a card that is a list": (lambda f: (f / "card.json").write_text("[]"), "no object"),
    "a deep card": (lambda f: (f / "card.json").write_text("[" * 9000), "card.json: not JSON"),
    "a huge card": (lambda f: (f / "card.json").write_text(" " * 2**20), "larger than 20 kB"),
    "a key twice": (lambda f: (f / "card.json").write_text('{"name": "a", "name": "b"}'), "there twice"),
    "no authors": (lambda f: card(f, authors=" "), "fill `authors`"),
    "no licence": (lambda f: card(f, licence=None), "fill `licence`"),
    "wrong BibTeX": (lambda f: card(f, bibtex="see our paper"), "no BibTeX"),
    "HTML in the title": (lambda f: card(f, title="<script>alert(1)</script>"), "holds '<' or '>'"),
    "a hidden character": (lambda f: card(f, title="a\u202eb"), "U+202E"),
    "half a surrogate": (lambda f: card(f, title="a\ud800b"), "U+D800"),
    "lines in the title": (lambda f: card(f, title="a\n\n# b"), "more than one line"),
    "another schema": (lambda f: card(f, schema=2), "has schema 2, not 1"),
    "an unknown field": (lambda f: card(f, run=CODE), "unknown fields"),
    "a path as name": (lambda f: card(f, name="../../rope"), "`name` in card.json"),
    "code as name": (lambda f: card(f, name=CODE), "`name` in card.json"),
    "a path as file": (lambda f: card(f, file="/etc/passwd"), "`file` in card.json"),
    "too many seeds": (lambda f: card(f, seeds=10**9), "`seeds` in card.json"),
    "a huge number": (lambda f: (f / "card.json").write_text(f'{{"seeds": {"9" * 5000}}}'), "5000 digits"),
    "an unknown profile": (lambda f: card(f, profile="MINE"), "there is no profile 'MINE'"),
}


@pytest.mark.parametrize("what", SPOILED)
def test_what_is_wrong_with_the_card_is_found(what: str, folder: Path, board: list[Record]) -> None:
    demand_found(SPOILED[what], folder, board)
