"""Moves a validated submission into its places in a checkout. Nothing of the submission is run."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pebench.suite.results.record import Record, write_whole
from pebench.suite.results.source import parse, registered_names

CARDS = "leaderboard/cards"
CITATIONS = "leaderboard/citations.bib"
RECORDS = "leaderboard/records"


class AcceptError(ValueError):
    """A submission that cannot be moved into this checkout, with the remedy."""


def accept(
    folder: Path, records: list[Record], root: Path, documents: Callable[[], list[str]] = list
) -> list[str]:
    """Move a submission that `validate` passed into the checkout at `root`; returns the files that are new there.

    `records` come from its report. The source goes to encodings/, the records to leaderboard/records, the card to
    leaderboard/cards, its BibTeX to leaderboard/citations.bib. `documents` then writes those that follow from the
    records, and returns which. No file is overwritten: AcceptError names a file that exists with other bytes, before
    anything is written. The submission is removed last, so a call that was cut off is continued by another.
    """
    demand_checkout(root)
    card = json.loads((folder / "card.json").read_text(encoding="utf-8"))
    source = (folder / card["file"]).read_bytes()
    if card["name"] not in registered_names(parse(source.decode())):
        raise AcceptError(
            f"{card['file']} registers no class as {card['name']!r}, and encodings/ finds classes by that: ask for "
            f'@register("{card["name"]}") and a submission that was made with it'
        )
    moves = {folder / card["file"]: f"encodings/{card['name']}.py"}
    moves |= {folder / "records" / record.path: f"{RECORDS}/{record.path.as_posix()}" for record in records}
    moves[folder / "card.json"] = f"{CARDS}/{card['name']}.json"
    whole = {to: file.read_bytes() for file, to in moves.items()}
    new = [to for to in moves.values() if not (root / to).exists()]
    if other := [to for to in moves.values() if to not in new and (root / to).read_bytes() != whole[to]]:
        raise AcceptError(
            f"{other[0]} exists and differs; nothing was moved: remove it, or ask for another name"
        )
    for to in new:
        write_whole(root / to, whole[to])
    written = new + write_citations(root) + documents()
    clear(folder, list(moves))
    return written


def clear(folder: Path, moved: list[Path]) -> None:
    """Remove a submission that is in its places."""
    for file in moved:
        file.unlink()
    for left in sorted((path for path in folder.rglob("*") if path.is_dir()), reverse=True):
        left.rmdir()
    folder.rmdir()


def demand_checkout(root: Path) -> None:
    """AcceptError where these are no files of a git checkout, as in an installed package."""
    if not (root / ".git").exists() or not (root / "encodings").is_dir():
        raise AcceptError(
            "`pebench accept` changes a git checkout, and this pebench is not run from one; "
            "clone the repository and install it with `pip install -e .`"
        )


def write_citations(root: Path) -> list[str]:
    """Write the BibTeX of every accepted card into one file; returns it where it changed."""
    text, file = bibliography(root / CARDS), root / CITATIONS
    if file.exists() and file.read_text(encoding="utf-8") == text:
        return []
    write_whole(file, text.encode())
    return [CITATIONS]


def bibliography(folder: Path) -> str:
    """The BibTeX of the cards in a folder, by name."""
    cards: list[dict[str, Any]] = [
        json.loads(file.read_text(encoding="utf-8")) for file in sorted(folder.glob("*.json"))
    ]
    return "\n".join(f"% {card['name']}: {card['title']}\n{card['bibtex'].strip()}\n" for card in cards)
