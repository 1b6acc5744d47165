"""Tiers: what no test separates from the best of them."""

from collections.abc import Sequence

from pebench.leaderboard.ranking.scores import Array, Mask
from pebench.leaderboard.ranking.variances import LEVEL


def tiers(order: Sequence[int], p: Array, leads: Mask | None = None, level: float = LEVEL) -> dict[int, int]:
    """Tier of each encoding: the first that is separable from a tier's leader begins the next.

    `order` are indices from the best down, `p` (E, E) corrected p-values. So no encoding is in a better tier than
    an encoding ahead of it, however little is known of that one. A tier's leader is its best encoding that `leads`
    (E,) marks, if that one is not separable from the encodings ahead of it. A leader with one lucky run, of which
    little is known, would make a single tier of a board.
    """
    tier: dict[int, int] = {}
    leader, number = None, 0
    for n, e in enumerate(order):
        if leader is None or p[leader, e] < level:
            leader, number = _leader(order[n:], p, leads, level), number + 1
        tier[e] = number
    return tier


def _leader(rest: Sequence[int], p: Array, leads: Mask | None, level: float) -> int:
    """The leader of the tier that the first of these begins."""
    known = next((n for n, e in enumerate(rest) if leads is not None and leads[e]), 0)
    return rest[known] if (p[rest[known], list(rest[:known])] >= level).all() else rest[0]
