"""The map of positional encodings: what each reads, how it acts, what it costs and where it stands."""

import json
from pathlib import Path

from pebench.leaderboard.board import Board
from pebench.leaderboard.printing import plain

FACTS = Path(__file__).parents[1] / "facts.json"
HEAD = ("Encoding", "Reads", "Acts", "Group action on q and k", "Step / RoPE's", "Score", "Tier")


def to_markdown(board: Board) -> str:
    """One row for each registered encoding; what no record of the board's profile has is `null`."""
    entries = {entry.name: entry for entry in board.entries}
    lines = [HEAD, ("---",) * len(HEAD)]
    for fact in json.loads(FACTS.read_text(encoding="utf-8")):
        entry = entries.get(fact["name"])
        cost = entry.costs.get("train_ratio") if entry else None
        lines.append(
            (
                f"`{fact['name']}` {plain(fact['title'])}",
                ", ".join(fact["reads"]) or "nothing",
                ", ".join(fact["acts"]),
                fact["action"],
                "null" if cost is None else f"{cost:.2f}x",
                "null" if entry is None or entry.score is None else f"{entry.score:.2f}",
                "null" if entry is None or entry.tier is None else f"{entry.tier}",
            )
        )
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
