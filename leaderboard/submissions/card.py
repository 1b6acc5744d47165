"""The card of a submission: `card.json`, whose fields the submit command and the author fill."""

import re
from typing import Any

from pebench.leaderboard.submissions.folder import KILO, SOURCE, strict_json
from pebench.leaderboard.submissions.report import Check, quote
from pebench.suite.results import card as cards
from pebench.suite.results.names import name_problem, profile_problem
from pebench.suite.results.record import RecordError

CARD_BYTES = 20 * KILO


def read_card(data: bytes, check: Check) -> dict[str, Any]:
    """The fields of card.json that are right; wrong and missing ones become problems."""
    try:
        card = strict_json(data)
    except RecordError as e:
        check.problems.append(f"card.json: {e}")
        return {}
    if not isinstance(card, dict):
        check.problems.append("card.json is no object")
        return {}
    if unknown := sorted(card.keys() - cards.KEYS):
        check.problems.append(f"card.json has unknown fields: {quote(', '.join(unknown))}")
    if card.get("schema") != cards.SCHEMA:
        check.problems.append(f"card.json has schema {quote(card.get('schema'))}, not {cards.SCHEMA}")
    for key in cards.TEXTS:
        value = card.get(key)
        if not isinstance(value, str) or not value.strip():
            check.problems.append(f"fill `{key}` in card.json")
        elif wrong := cards.text_problem(key, value):
            check.problems.append(f"`{key}` in card.json {wrong}")
    if isinstance(bibtex := card.get("bibtex"), str) and bibtex.strip():
        balanced = bibtex.count("{") == bibtex.count("}")
        if not re.match(r"\s*@[A-Za-z]+\{[^\s,{}]+,", bibtex) or not balanced:
            check.problems.append(
                "`bibtex` in card.json is no BibTeX entry: @article{key, title = {...}, ...}"
            )
    right = {
        "name": lambda v: not name_problem(v),
        "file": lambda v: isinstance(v, str) and SOURCE.fullmatch(v),
        "sha256": lambda v: isinstance(v, str) and re.fullmatch(r"[0-9a-f]{64}", v),
        "profile": lambda v: not profile_problem(v),
        "seeds": lambda v: isinstance(v, int) and not isinstance(v, bool) and 1 <= v <= 1000,
    }
    for key, fits in right.items():
        if not fits(card.get(key)):
            check.problems.append(
                f"`{key}` in card.json is {quote(card.get(key))}; `pebench submit` fills it"
            )
            card.pop(key, None)
    return card
