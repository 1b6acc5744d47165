"""The map of positional encodings: what each reads, how it acts, what it costs and where it stands."""

import json
from pathlib import Path

from pebench.leaderboard.board import Board
from pebench.leaderboard.entries import Entry
from pebench.leaderboard.printing import plain

FACTS = Path(__file__).parents[1] / "facts.json"
HEAD = ("Encoding", "Reads", "Acts", "Group action on q and k")


def to_markdown(*boards: Board) -> str:
    """One row for each registered encoding, with its score, tier and step on each board. "-": no record."""
    standing = [{entry.name: entry for entry in board.entries} for board in boards]
    shown = (f"{board.profile}: {what}" for board in boards for what in ("score", "tier", "step / RoPE's"))
    lines = [(*HEAD, *shown)]
    lines.append(("---",) * len(lines[0]))
    for fact in json.loads(FACTS.read_text(encoding="utf-8")):
        entries = [entries.get(fact["name"]) for entries in standing]
        lines.append(
            (
                f"`{fact['name']}` {plain(fact['title'])}",
                ", ".join(fact["reads"]) or "nothing",
                ", ".join(fact["acts"]),
                fact["action"],
                *(cell for entry in entries for cell in stands(entry)),
            )
        )
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def stands(entry: Entry | None) -> tuple[str, str, str]:
    """Score and tier of an encoding on one board, and the time of its training step over RoPE's there."""
    if entry is None:
        return "-", "-", "-"
    step = entry.costs.get("train_ratio")
    return (
        "-" if entry.score is None else f"{entry.score:.2f}",
        "-" if entry.tier is None else f"{entry.tier}",
        "-" if step is None else f"{step:.2f}x",
    )
