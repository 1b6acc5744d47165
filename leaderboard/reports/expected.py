"""What papers say of methods of context extension, held against the board of a pretrained model.

Each line is an order of two methods. It holds here, or is contradicted, where the 95 % interval of the paired
difference excludes 0. A paper's models, texts and lengths are others.
"""

from dataclasses import dataclass
from typing import NamedTuple

import pandas as pd

from pebench.leaderboard.about import EXTENDED
from pebench.leaderboard.reports.extension import (
    BASE,
    FEWEST,
    PHASES,
    Track,
    answers_by_method,
    as_rows,
    heading,
    in_phase,
    make_tracks,
    means_by_method,
    over_texts,
    profiles,
    resampled,
    spanned,
    student,
)

HOLDS, CONTRADICTED, OPEN = "holds", "contradicted", "not separated"
LOSSES, FOUND = "loss", "found"
STYLES = {LOSSES: "{:+.3f}", FOUND: "{:+.2f}"}
AT, BEYOND = PHASES


class Order(NamedTuple):
    """One method is better than another in a quantity, says a source."""

    better: str
    worse: str
    quantity: str
    phase: str
    source: str

    @property
    def title(self) -> str:
        """The quantity in words."""
        return f"{self.quantity} {'up to L' if self.phase == AT else 'beyond L'}"


ORDERS = (
    Order("yarn", BASE, LOSSES, BEYOND, "arXiv:2309.00071: extends without fine-tuning"),
    Order("yarn", "ntk", LOSSES, BEYOND, "arXiv:2309.00071, of the dynamic forms; here both have one factor"),
    Order("ntk", "pi", LOSSES, BEYOND, "bloc97, 2023: without fine-tuning"),
    Order(BASE, "pi", LOSSES, AT, "implied by arXiv:2306.15595: interpolation is fine-tuned"),
    Order(BASE, "dropped", LOSSES, AT, "implied by arXiv:2512.12167: a short training follows the drop"),
    Order("self_extend", BASE, FOUND, BEYOND, "arXiv:2401.01325: passkeys without tuning"),
    Order("dual_chunk", BASE, FOUND, BEYOND, "arXiv:2402.17463: passkeys without training"),
    Order("rerope", BASE, LOSSES, BEYOND, "Su, 2023: without fine-tuning"),
    Order("streaming", BASE, LOSSES, BEYOND, "arXiv:2309.17453: stable beyond the training length"),
    Order(
        "self_extend",
        "streaming",
        FOUND,
        BEYOND,
        "implied by arXiv:2309.17453: what left the window is not seen",
    ),
)


@dataclass(frozen=True)
class Judged:
    """An order on a board: by how much the better method is better, with its interval."""

    order: Order
    gap: float
    low: float | None  # None with one text, or where all differences are equal
    high: float | None
    texts: int

    @property
    def verdict(self) -> str:
        """Whether the order holds, is contradicted, or is not separated."""
        if self.low is None or self.high is None or self.low <= 0 <= self.high:
            return OPEN
        return HOLDS if self.low > 0 else CONTRADICTED


def judged(track: Track, order: Order) -> Judged | None:
    """An order on a board; None where a method was not measured on a text that the other one read."""
    gaps = gaps_of(track, order)
    if gaps is None or gaps.empty:
        return None
    texts = gaps.index.get_level_values("text").nunique()
    if order.quantity == LOSSES:
        low, high = student(gaps)
        return Judged(order, float(gaps.mean()), low, high, texts)
    low, high = resampled(gaps, -1.0)
    return Judged(order, over_texts(gaps), low, high, texts)


def gaps_of(track: Track, order: Order) -> "pd.Series[float] | None":
    """By how much the better method is better, by text (losses) or question (found); None where one is not measured."""
    rows = track.losses if order.quantity == LOSSES else track.answers[track.answers["metric"] == "exact"]
    rows = rows[in_phase(rows, order.phase, track.trained)]
    values = -means_by_method(rows) if order.quantity == LOSSES else answers_by_method(rows)
    if not {order.better, order.worse} <= set(values):
        return None
    return (values[order.better] - values[order.worse]).dropna()


def orders(track: Track) -> list[Judged]:
    """All orders that a board can say something of, from two texts on."""
    found = [judged(track, order) for order in ORDERS]
    return [each for each in found if each and each.texts >= FEWEST]


def to_markdown(track: Track) -> str:
    """The orders of a board as a table; empty where it has none."""
    found = orders(track)
    if not found:
        return ""
    rows = [
        [
            f"{each.order.better} before {each.order.worse}",
            each.order.title,
            spanned(each.gap, each.low, each.high, STYLES[each.order.quantity]),
            str(each.texts),
            each.verdict,
            each.order.source,
        ]
        for each in found
    ]
    columns = ("order", "quantity", "better by (95 %)", "texts", "here", "source")
    return "\n".join([f"**{heading(track)}**", "", *as_rows(columns, rows)])


def published() -> str:
    """The orders on the published boards; a method that was read on one text alone says nothing yet."""
    tracks = [t for name in profiles([EXTENDED]) for t in make_tracks([EXTENDED], name)[0]]
    return "\n\n".join(filter(None, map(to_markdown, tracks))) or "No board has two texts of a pair yet."
