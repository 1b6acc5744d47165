"""What a submission's card says of an encoding: its fields, and what may stand in them."""

import unicodedata

SCHEMA = 1
STATED = ("authors", "licence", "bibtex")  # what only the author knows
# The texts of a card, with the most characters of each.
TEXTS = {"title": 200, "paper": 200, "authors": 500, "licence": 60, "bibtex": 4000}
KEYS = {"schema", "name", "file", "sha256", "profile", "seeds", *TEXTS}


def text_problem(key: str, value: object) -> str:
    """Why this text cannot stand in a card; empty where it can.

    >>> text_problem("title", "Rotary <b>"), text_problem("title", "Rotary")
    ("holds '<' or '>'", '')
    """
    if not isinstance(value, str) or not value.strip():
        return "is empty"
    if len(value) > TEXTS[key]:
        return "is too long"
    hidden = [c for c in value if unicodedata.category(c) in ("Cc", "Cf", "Cs", "Co") and c not in "\n\t"]
    if hidden:
        return f"holds the invisible character U+{ord(hidden[0]):04X}"
    if key != "bibtex" and "\n" in value:
        return "is more than one line"
    return "holds '<' or '>'" if "<" in value or ">" in value else ""
