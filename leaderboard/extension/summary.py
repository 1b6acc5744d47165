"""The published boards: in full, and in a paragraph."""

import numpy as np

from pebench.leaderboard.about import EXTENDED
from pebench.leaderboard.extension.board import Track
from pebench.leaderboard.extension.make import make_tracks, profiles
from pebench.leaderboard.extension.records import FULL
from pebench.leaderboard.extension.tables import difference, heading, spanned, to_markdown
from pebench.suite.results.metrics import counted, listed


def published() -> str:
    """The boards of all published profiles of the track as Markdown."""
    return "\n\n".join(to_markdown(make_tracks([EXTENDED], profile)[0]) for profile in profiles([EXTENDED]))


def in_short() -> str:
    """The published boards of the full profile in a paragraph; of the quick one where there is none."""
    there = profiles([EXTENDED])
    tracks, _ = make_tracks([EXTENDED], FULL if FULL in there else there[0])
    return "\n\n".join(map(best, tracks))


def best(track: Track) -> str:
    """The methods that lead a board beyond L, by their paired differences from the unextended model."""
    said = [f"{heading(track)}: {counted(len(track.lines), 'method')}. Intervals of 95 %."]
    for words, part, style, sign in (
        ("Largest fall of the loss, in nats a token,", "loss", "{:+.3f}", -1),
        ("Largest rise of the share of hidden numbers found", "retrieval", "{:+.2f}", 1),
    ):
        gaps = {
            line.method: getattr(line, part)["beyond"]
            for line in track.lines
            if "beyond" in getattr(line, part) and getattr(line, part)["beyond"].difference is not None
        }
        if gaps:
            top = max(sign * gap.difference for gap in gaps.values())
            lead = [name for name, gap in gaps.items() if np.isclose(sign * gap.difference, top)]
            gap = gaps[lead[0]]
            texts = counted(gap.difference_texts, "text") + (
                "" if gap.difference_texts > 1 else ", so no interval"
            )
            said.append(
                f"{words} beyond L: {listed([f'`{name}`' for name in lead])}, "
                f"{spanned(*difference(gap), style)} against the unextended model ({texts})."
            )
    return " ".join(said)
