"""Do methods of context extension order alike on our small models and on a pretrained one?

Both sides are differences from the model without the method: of a small model's score beyond its training length, and
of the pretrained model's loss or found numbers beyond its own. Each pair of methods that both sides measured agrees if
the two differences lie in the same order. The small side is of one training, read by each method: of several, the one
that most methods read. The pretrained side is of the texts that all these methods share. From FEWEST methods on a
permutation test of Kendall's tau is given.
"""

import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pebench.leaderboard.about import EXTENDED
from pebench.leaderboard.board import Board
from pebench.leaderboard.extension import (
    BASE,
    FULL,
    Quantity,
    Track,
    in_phase,
    loss_quantities,
    make_tracks,
    profiles,
    retrieval_quantities,
    texts_of,
    title,
)
from pebench.leaderboard.printing import plain
from pebench.leaderboard.ranking.comparisons import one_model
from pebench.leaderboard.ranking.scores import Cells
from pebench.leaderboard.reports.quantities import Quantity as Ours
from pebench.leaderboard.reports.quantities import measured, size, trained_at
from pebench.leaderboard.reports.vocabulary import BEYOND
from pebench.suite.results.metrics import counted, listed

ENCODING = "rope"
FEWEST = 5  # methods that a test needs; with fewer no order has a p-value below 0.05
DIGITS = 12  # of a difference: means of the same numbers in another order are equal
PERMUTATIONS = 20_000  # at most, where a tie rules out the exact distribution of tau
# Our task, the pretrained model's quantity in words, and whether more of it is better.
SIDES = (
    ("language_ends", "loss", "loss", -1),
    ("language", "loss", "loss", -1),
    ("needle", "retrieval", "found numbers", +1),
)


@dataclass(frozen=True)
class Side:
    """One of our tasks beside the pretrained model's quantity of the same kind; values of a method minus none's."""

    task: str
    kind: str
    ours: dict[str, float]  # by method: score beyond L
    theirs: dict[str, float]  # by method: better is larger
    seeds: int  # of the method with fewest
    texts: int
    others: tuple[
        str, ...
    ] = ()  # methods that both sides measured, but on another training of the small model

    @property
    def methods(self) -> list[str]:
        """Those that both sides measured on one training; the unextended model too, if it is of that training."""
        return [name for name in self.theirs if name in self.ours]

    @property
    def about(self) -> str:
        """What the pretrained model's difference is; more is better."""
        return "none's loss minus its own" if self.kind == "loss" else "found numbers minus none's"

    @property
    def agreeing(self) -> tuple[int, int]:
        """Pairs of methods in the same order on both sides, and all pairs without a tie."""
        pairs = [
            (self.ours[a] - self.ours[b]) * (self.theirs[a] - self.theirs[b])
            for a, b in itertools.combinations(self.methods, 2)
        ]
        return sum(x > 0 for x in pairs), sum(x != 0 for x in pairs)

    @property
    def smallest(self) -> float:
        """The smallest difference between two methods on the pretrained model."""
        return min(abs(self.theirs[a] - self.theirs[b]) for a, b in itertools.combinations(self.methods, 2))


@dataclass(frozen=True)
class Tau:
    """Kendall's tau of two orders of the same methods, and the two-sided p-value of its permutation test."""

    value: float
    p: float
    exact: bool  # over all permutations


def compared(side: Side) -> list[str]:
    """The methods without the unextended model."""
    return [name for name in side.methods if name != BASE]


def tested(side: Side) -> Tau | None:
    """The test over the methods, the unextended model left out; None with too few or where one side is all equal."""
    names = compared(side)
    ours, theirs = (np.array([part[name] for name in names]) for part in (side.ours, side.theirs))
    distinct = [len(np.unique(part)) for part in (ours, theirs)]
    if len(names) < FEWEST or min(distinct) < 2:
        return None
    from scipy import stats  # a second to import, which no other board needs

    if min(distinct) == len(names):
        found = stats.kendalltau(ours, theirs, method="exact")
        return Tau(float(found.statistic), float(found.pvalue), exact=True)

    def concordance(part: NDArray[np.float64], axis: int = -1) -> NDArray[np.float64]:
        """Concordant minus discordant pairs, which orders permutations as tau does."""
        sums: NDArray[np.float64] = (signs(part) * signs(theirs)).sum(axis=axis)
        return sums

    drawn = stats.permutation_test(
        (ours,), concordance, permutation_type="pairings", vectorized=True, n_resamples=PERMUTATIONS, rng=0
    )
    exact = math.factorial(len(names)) <= PERMUTATIONS
    return Tau(float(stats.kendalltau(ours, theirs).statistic), float(drawn.pvalue), exact)


def signs(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """The signs of all pairs' differences (..., pairs) of values (..., n)."""
    first, second = np.triu_indices(values.shape[-1], 1)
    return np.sign(values[..., first] - values[..., second])


def sides(board: Board, track: Track) -> list[Side]:
    """The tasks of which both sides measured at least two methods beyond the unextended model."""
    found = []
    for task, field, kind, sign in SIDES:
        ours = measured(board, Ours(task, BEYOND))
        gaps = {
            line.method: ours.gap(named(line.method), ENCODING)
            for line in track.lines
            if line.method != BASE and paired(getattr(line, field))
        }
        known = {method: gap for method, gap in gaps.items() if gap is not None}
        alike = one_training(board.ranking.data, [BASE, *known])
        theirs = on_shared_texts(track, field, [name for name in alike if name != BASE])
        if len(theirs) >= 2:
            own = {BASE: 0.0} | {name: round(known[name].difference, DIGITS) for name in theirs}
            large = {name: round(sign * (q.difference or 0.0), DIGITS) for name, q in theirs.items()}
            found.append(
                Side(
                    task=task,
                    kind=kind,
                    ours={name: gap for name, gap in own.items() if name in alike},
                    theirs={name: gap for name, gap in ({BASE: 0.0} | large).items() if name in alike},
                    seeds=min(known[name].seeds for name in theirs),
                    texts=min(q.difference_texts for q in theirs.values()),
                    others=tuple(name for name in (BASE, *known) if name not in alike),
                )
            )
    return found


def one_training(data: Cells, methods: Iterable[str]) -> list[str]:
    """Of these methods, the largest group that reads one trained model; of equal ones the first."""
    groups: list[list[str]] = []
    for method in methods:
        alike = (group for group in groups if one_model(data, *map(named, (group[0], method))))
        group = next(alike, None)
        if group is None:
            groups.append([method])
        else:
            group.append(method)
    return max(groups, key=len, default=[])


def named(method: str) -> str:
    """The encoding that a method makes of ours."""
    return ENCODING if method == BASE else f"{ENCODING}@{method}"


def paired(quantities: dict[str, Quantity]) -> bool:
    """Whether a method has a difference from the unextended model beyond L."""
    return "beyond" in quantities and quantities["beyond"].difference is not None


def on_shared_texts(track: Track, field: str, methods: list[str]) -> dict[str, Quantity]:
    """Each method's quantity beyond L on the texts that all of them and the unextended model have.

    Empty where they share no text.
    """
    whole, quantities = {
        "loss": (track.losses, loss_quantities),
        "retrieval": (track.answers, retrieval_quantities),
    }[field]
    beyond = whole[in_phase(whole, "beyond", track.trained)]
    texts = texts_of(beyond)
    shared = set.intersection(*(texts.get(name, set()) for name in (BASE, *methods)))
    frame = beyond[beyond["text"].isin(shared)]
    return {name: quantities(frame, name, track.trained)["beyond"] for name in methods if shared}


def told(board: Board, track: Track, shared: Sequence[Side]) -> str:
    """A paragraph and a table for each task that both sides measured, as Markdown."""
    if not shared:
        return (
            f"`{track.profile}` and `{board.profile}` share fewer than two methods beside the unextended model, of "
            "one training and on one text, so nothing can be compared."
        )
    paragraphs = [paragraph(board, track, side) for side in shared]
    return "\n\n".join([*paragraphs, FACTORS, *map(plain, track.notes)])


def paragraph(board: Board, track: Track, side: Side) -> str:
    """What one task says, and the differences in a table."""
    large = f"{plain(title(track))}, L = {track.trained:,} tokens, {counted(side.texts, 'text')}"
    rows = [
        f"| {name.replace('_', chr(92) + '_')} | {side.ours[name]:+.3f} | {side.theirs[name]:+.3f} |"
        for name in sorted(side.methods, key=lambda name: -side.theirs[name])
    ]
    return "\n".join(
        [
            f"**`{side.task}` beyond L (`{board.profile}`) and {side.kind} beyond L (`{track.profile}`)**: "
            f"{ordered(side)} The smallest difference on the pretrained model is {side.smallest:.3f}. "
            f"{significance(side)} Small models: {small(board, side)}. Pretrained: {large}.",
            "",
            f"| method | small: score minus rope's | pretrained: {side.about} |",
            "|---|---|---|",
            *rows,
        ]
    )


def small(board: Board, side: Side) -> str:
    """The size, training length and seeds of the small models."""
    return f"{size(board, side.task)}, {trained_at(board, side.task)}, {counted(side.seeds, 'seed')}"


FACTORS = (
    "A small model takes each length's own factor. The pretrained model takes its longest text's for all texts; only a "
    "dynamic method takes each text's own."
)


def ordered(side: Side) -> str:
    """How many pairs of methods have the same order."""
    same, pairs = side.agreeing
    if not pairs:
        return "no pair of methods differs on both sides."
    among = f", {BASE} among them," if BASE in side.methods else ""
    said = f"{same} of {pairs} pairs of methods{among} have the same order by the sign of their difference."
    if side.others:
        their = "other trainings" if side.others[1:] else "another training"
        said += f" Left out, as of {their}: {listed([f'`{name}`' for name in side.others])}."
    return said


def significance(side: Side) -> str:
    """What the test says, or why there is none."""
    number = len(compared(side))
    if number < FEWEST:
        return f"{counted(number, 'extending method')} are too few for a test."
    found = tested(side)
    if found is None:
        return "All methods are equal on one side, so no test is possible."
    kind = "exact" if found.exact else f"{PERMUTATIONS:,} draws"
    return (
        f"Kendall's tau over the {number} extending methods is {found.value:+.2f} (two-sided permutation test, "
        f"{kind}: p = {found.p:.2g})."
    )


def in_short(board: Board) -> str:
    """The published full profile beside a board: the order and its test, a paragraph for each task with a test."""
    said = [
        f"Beside small models, by `{side.task}` beyond L (`{board.profile}`: {small(board, side)}) and {side.kind} "
        f"beyond L (`{FULL}`: {counted(side.texts, 'text')}): {ordered(side)} {significance(side)}"
        for track in make_tracks([EXTENDED], FULL)[0]
        for side in sides(board, track)
        if tested(side)
    ]
    return "\n\n".join(said) or f"`{board.profile}` has too few of these methods for a test of their order."


def published(boards: Sequence[Board]) -> str:
    """The published tracks beside each board that shares methods with them, as Markdown."""
    tracks = [track for profile in profiles([EXTENDED]) for track in make_tracks([EXTENDED], profile)[0]]
    every = [(board, track, sides(board, track)) for board in boards for track in tracks]
    return "\n\n".join(told(*each) for each in [one for one in every if one[2]] or every)
