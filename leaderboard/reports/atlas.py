"""The map of positional encodings: what each reads, how it acts, what it costs and where it stands."""

import json
from pathlib import Path

from pebench.leaderboard.board import Board, Entry
from pebench.leaderboard.printing import plain

FACTS = Path(__file__).parents[1] / "facts.json"
HEAD = ("Encoding", "Reads", "Acts", "Group action on q and k", "Step / RoPE's")


def to_markdown(*boards: Board) -> str:
    """One row for each registered encoding, with score and tier on each board; "-" is for what has no record."""
    standing = [{entry.name: entry for entry in board.entries} for board in boards]
    shown = [f"{board.profile}: score{what}" for board in boards for what in ("", ", tier")]
    lines = [(*HEAD, *(name.replace("score, ", "") for name in shown))]
    lines.append(("---",) * len(lines[0]))
    for fact in json.loads(FACTS.read_text(encoding="utf-8")):
        entries = [entries.get(fact["name"]) for entries in standing]
        costs = [cost for entry in entries if entry and (cost := entry.costs.get("train_ratio")) is not None]
        lines.append(
            (
                f"`{fact['name']}` {plain(fact['title'])}",
                ", ".join(fact["reads"]) or "nothing",
                ", ".join(fact["acts"]),
                fact["action"],
                f"{costs[0]:.2f}x" if costs else "-",
                *(cell for entry in entries for cell in stands(entry)),
            )
        )
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def stands(entry: Entry | None) -> tuple[str, str]:
    """Score and tier of an encoding on one board."""
    if entry is None:
        return "-", "-"
    return (
        "-" if entry.score is None else f"{entry.score:.2f}",
        "-" if entry.tier is None else f"{entry.tier}",
    )
