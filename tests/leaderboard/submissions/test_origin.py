from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pebench.leaderboard.submissions.validate import validate
from pebench.suite.results.record import Record, from_json, to_json
from tests.spoiled import (
    CODE,
    RULES,
    TAKEN,
    Spoiled,
    card,
    demand_found,
    found,
    problems,
    provenance,
    source,
    their_card,
)


def their_cards(f: Path, **other: Any) -> None:
    """Another card in all records."""
    for path in (f / "records").rglob("*.json"):
        record = from_json(path.read_text())
        path.write_text(to_json(replace(record, card={**record.card, **other})))


SPOILED: Spoiled = {
    "the name of another": (lambda f: card(f, name="rope"), "there is an encoding 'rope' already"),
    "another sha256": (lambda f: card(f, sha256="0" * 64), "its sha256 differs"),
    "another file": (lambda f: (f / "my_idea.py").write_text("x = 1\n"), "of another source"),
    "two files": (lambda f: (f / "conftest.py").write_text(CODE), "2 Python files"),
    "no Python": (lambda f: source(f, "class ("), "is no Python"),
    "a null byte": (lambda f: source(f, "a\0b"), "is no Python"),
    "deep Python": (lambda f: source(f, "(" * 50_000), "is no Python"),
    "deep sums": (lambda f: source(f, "x = " + "-" * 90_000 + "1"), "is no Python"),
    "another class": (lambda f: source(f, "class Other: pass\n"), "defines no encoding 'my_idea'"),
    "a network": (lambda f: source(f, "import urllib.request\n"), "does not import 'urllib.request'"),
    "the corpus": (lambda f: source(f, "from pebench.tasks.data.corpus import load\n"), "does not import"),
    "eval": (lambda f: source(f, "eval('1')\n"), "no use for `eval`"),
    "bidirectional source": (lambda f: source(f, "x = 1  # \u202e\n"), "U+202E"),
    "code of the hub": (
        lambda f: source(f, "import torch\ntorch.hub.load('x/y', 'm')\n"),
        "loads by `torch.hub`",
    ),
    "two encodings": (
        lambda f: source(
            f, (f / "my_idea.py").read_text() + '\n@register("rope")\nclass R2(Encoding): pass\n'
        ),
        "registers 'rope' too",
    ),
    "a date to come": (lambda f: provenance(f, started="9999-12-31T00:00:00+00:00"), "does not say when"),
    "a date of no zone": (lambda f: provenance(f, started="2026-01-02T03:04:05"), "does not say when"),
    "another title": (lambda f: card(f, title="Best of all"), "and card.json 'Best of all'"),
    "a family of markup": (lambda f: their_cards(f, family="<b>additive"), "`family` in the records"),
    "an endless formula": (lambda f: their_cards(f, formula="x" * 5000), "`formula` in the records"),
    "changed code": (lambda f: provenance(f, dirty=True), "clean checkout"),
    "no commit": (lambda f: provenance(f, commit="$(rm -rf ~)"), "clean checkout"),
    "no date": (lambda f: provenance(f, started="yesterday"), "does not say when"),
    "another card": (lambda f: their_card(f, title="Best of all"), "describes the encoding differently"),
    "another source in a record": (lambda f: their_card(f, source=CODE), "of another source"),
}


@pytest.mark.parametrize("what", SPOILED)
def test_what_is_wrong_with_its_origin_is_found(what: str, folder: Path, board: list[Record]) -> None:
    demand_found(SPOILED[what], folder, board)


def test_a_name_on_the_board_is_taken(whole: Path, board: list[Record]) -> None:
    mine = [replace(r, encoding="my_idea") for r in board if r.encoding == "rope"]
    assert "has 'my_idea' already" in problems(found(whole, mine))
    assert validate(whole, RULES, TAKEN, mine, board).passed  # only one's own earlier runs have the name


def test_a_published_encoding_is_nobody_elses_though_its_file_is_the_same(
    whole: Path, board: list[Record]
) -> None:
    own = found(whole, board).records
    earlier = [replace(r, seed=r.seed + 7) for r in own]
    assert found(whole, [*board, *own]).passed  # an `accept` that was cut off
    assert "has 'my_idea' already" in problems(found(whole, [*board, *earlier]))


def test_a_submission_that_stands_on_the_board_already_still_passes(whole: Path, board: list[Record]) -> None:
    report = found(whole, board)
    assert found(whole, [*board, *report.records]).passed
