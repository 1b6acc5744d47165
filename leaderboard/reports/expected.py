"""What papers say of methods of context extension, held against the board of a pretrained model.

Each line is an order of two methods. It holds here, or is contradicted, where the 95 % interval of the paired
difference excludes 0. A paper's models, texts and lengths are others. Where an order is contradicted, a likely cause
stands beside it: it follows from how the methods are computed here, and was not tested.
"""

from dataclasses import dataclass
from typing import NamedTuple

from pebench.leaderboard.about import EXTENDED
from pebench.leaderboard.extension import (
    BASE,
    PHASES,
    Found,
    Track,
    as_rows,
    found_by_phase,
    heading,
    in_phase,
    make_tracks,
    means_by_method,
    profiles,
    spanned,
    student,
)
from pebench.leaderboard.extension.shares import FEWEST

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
    cause: str = ""  # a likely one, should the order be contradicted here

    @property
    def title(self) -> str:
        """The quantity in words."""
        return f"{self.quantity} {'up to L' if self.phase == AT else 'beyond L'}"


SHARPER = "YaRN's temperature and logn both sharpen: the growth with length is counted twice"
SHORT = "the next token of a book hardly depends on more than L tokens, so nothing is lost with the far ones"
LOW_FACTOR = "NTK's factor T/L is too small: planes in the middle pass the angles that training showed them"
NEARER = "windows of a quarter of L: far keys are seen nearer than they are"
UNTRAINED = "the paper trains after the change, which is left out here"

ORDERS = (
    Order("yarn", BASE, LOSSES, BEYOND, "arXiv:2309.00071: extends without fine-tuning"),
    Order("yarn", "ntk", LOSSES, BEYOND, "arXiv:2309.00071, of the dynamic forms; here both have one factor"),
    Order("yarn", "pi", LOSSES, BEYOND, "arXiv:2309.00071: by parts", UNTRAINED),
    Order("yarn", "yarn_frequencies", LOSSES, BEYOND, "arXiv:2309.00071, section 3.4: the temperature"),
    Order("yarn", "yarn_frequencies", FOUND, BEYOND, "implied by arXiv:2309.00071, section 3.4"),
    Order("yarn+logn", "yarn", LOSSES, BEYOND, "implied by Su, 2021: logits that grow by ln n", SHARPER),
    Order("yarn+logn", "yarn", FOUND, BEYOND, "implied by Su, 2021: logits that grow by ln n", SHARPER),
    Order("longrope2", "yarn", LOSSES, BEYOND, "implied by arXiv:2502.20082, after training", UNTRAINED),
    Order("longrope2", "yarn", FOUND, BEYOND, "arXiv:2502.20082: RULER, after training", UNTRAINED),
    Order(
        "longrope2_searched",
        "longrope2",
        LOSSES,
        BEYOND,
        "implied by arXiv:2502.20082: divisors that a search found",
        "the search lowers the loss of hidden numbers alone, on validation books",
    ),
    Order(
        "longrope2_searched",
        "longrope2",
        FOUND,
        BEYOND,
        "implied by arXiv:2502.20082: divisors that a search found",
        "the search has few readings of two texts, and lowers the loss of answers, not their number",
    ),
    Order("ntk", "pi", LOSSES, BEYOND, "bloc97, 2023: without fine-tuning"),
    Order("ntk_dynamic", BASE, LOSSES, BEYOND, "emozilla, 2023", LOW_FACTOR),
    Order("ntk_dynamic", "ntk", LOSSES, AT, "emozilla, 2023: short texts stay as they are"),
    Order("ntk_dynamic", "ntk", FOUND, AT, "emozilla, 2023: short texts stay as they are"),
    Order(
        "ntk_dynamic",
        "ntk",
        FOUND,
        BEYOND,
        "implied by emozilla, 2023: no larger factor than the text needs",
        LOW_FACTOR,
    ),
    Order("llama3", "pi", LOSSES, BEYOND, "implied by arXiv:2407.21783: fast planes stay", UNTRAINED),
    Order(BASE, "pi", LOSSES, AT, "implied by arXiv:2306.15595: interpolation is fine-tuned"),
    Order(BASE, "dropped", LOSSES, AT, "implied by arXiv:2512.12167: a short training follows the drop"),
    Order("self_extend", BASE, LOSSES, BEYOND, "arXiv:2401.01325: perplexity without tuning"),
    Order("self_extend", BASE, FOUND, BEYOND, "arXiv:2401.01325: passkeys without tuning"),
    Order(
        BASE,
        "self_extend",
        FOUND,
        AT,
        "implied by arXiv:2401.01325: positions of groups are coarser",
        NEARER,
    ),
    Order("dual_chunk", BASE, LOSSES, BEYOND, "arXiv:2402.17463: perplexity without training"),
    Order("dual_chunk", BASE, FOUND, BEYOND, "arXiv:2402.17463: passkeys without training"),
    Order("rerope", BASE, LOSSES, BEYOND, "Su, 2023: without fine-tuning"),
    Order("rerope", "ntk", LOSSES, BEYOND, "Su, 2023: before NTK-aware interpolation"),
    Order("streaming", BASE, LOSSES, BEYOND, "arXiv:2309.17453: stable beyond the training length"),
    Order(
        "self_extend",
        "streaming",
        LOSSES,
        BEYOND,
        "implied by arXiv:2309.17453: what left the window is not seen",
        SHORT,
    ),
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

    @property
    def cause(self) -> str:
        """A likely cause where the order is contradicted."""
        if self.verdict != CONTRADICTED:
            return ""
        return f"likely: {self.order.cause}" if self.order.cause else "not known"


def judged(track: Track, found: Found, order: Order) -> Judged | None:
    """An order on a board; None where a method was not measured on a text that the other one read."""
    if order.quantity == FOUND:
        apart = found.difference(order.phase, order.better, order.worse)
        return apart and Judged(order, apart.value, apart.low, apart.high, apart.texts)
    means = means_by_method(track.losses[in_phase(track.losses, order.phase, track.trained)])
    if not {order.better, order.worse} <= set(means):
        return None
    gaps = (means[order.worse] - means[order.better]).dropna()
    return Judged(order, float(gaps.mean()), *student(gaps), len(gaps)) if len(gaps) else None


def orders(track: Track) -> list[Judged]:
    """All orders that a board can say something of, from two texts on."""
    found = found_by_phase(track.answers, track.trained)
    every = [judged(track, found, order) for order in ORDERS]
    return [each for each in every if each and each.texts >= FEWEST]


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
            each.cause,
            each.order.source,
        ]
        for each in found
    ]
    columns = ("order", "quantity", "better by (95 %)", "texts", "here", "cause", "source")
    return "\n".join([f"**{heading(track)}**", "", *as_rows(columns, rows)])


def published() -> str:
    """The orders on the published boards; a method that was read on one text alone says nothing yet."""
    tracks = [t for name in profiles([EXTENDED]) for t in make_tracks([EXTENDED], name)[0]]
    return "\n\n".join(filter(None, map(to_markdown, tracks))) or "No board has two texts of a pair yet."
