"""Tiers: what no test separates from the best of them."""

from collections.abc import Sequence

from pebench.leaderboard.ranking.scores import Array, Mask
from pebench.leaderboard.ranking.variances import LEVEL


def tiers(order: Sequence[int], p: Array, leads: Mask | None = None, level: float = LEVEL) -> dict[int, int]:
    """Tier of each encoding: the first that a tier's best encoding or its leader beats begins the next.

    `order` are indices from the best down, `p` (E, E) corrected p-values; row a, column b: of a being better than b. So
    no encoding is in a better tier than an encoding ahead of it, however little is known of that one. A tier's leader
    is its best encoding that `leads` (E,) marks, if that one is not separable from the encodings ahead of it. One of
    which little is known, after a lucky run, would make a single tier of a board if it alone were asked.
    """
    tier: dict[int, int] = {}
    best = leader = number = 0
    for n, e in enumerate(order):
        if n == 0 or min(p[best, e], p[leader, e]) < level:
            best, leader, number = e, _leader(order[n:], p, leads, level), number + 1
        tier[e] = number
    return tier


def _leader(rest: Sequence[int], p: Array, leads: Mask | None, level: float) -> int:
    """The leader of the tier that the first of these begins."""
    known = next((n for n, e in enumerate(rest) if leads is not None and leads[e]), 0)
    ahead, chosen = list(rest[:known]), rest[known]
    alike = (p[chosen, ahead] >= level).all() and (p[ahead, chosen] >= level).all()
    return chosen if alike else rest[0]
