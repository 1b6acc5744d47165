"""Sentences on a board: differences that its questions tell apart, questions that say little, noise of costs."""

from collections import defaultdict
from typing import NamedTuple

import numpy as np

from pebench.leaderboard.extension.board import CACHE, CACHE_RATIO, COSTS, Track
from pebench.leaderboard.extension.parts import KINDS, levels_by_length
from pebench.leaderboard.extension.quantities import found
from pebench.leaderboard.extension.records import BASE
from pebench.leaderboard.extension.shares import FEWEST, Share
from pebench.suite.results.metrics import counted

FAR = 0.15  # between two methods at a length: what the track is to tell apart


class Telling(NamedTuple):
    """What a board's questions tell apart at one length."""

    halves: dict[int, float]  # by length: half of the 95 % interval of a difference, the median over pairs
    pairs: int  # of methods with an interval, at all lengths together
    far: int  # pairs at least FAR apart, on two texts or more
    told: int  # of these: with an interval without 0
    texts: int  # at most
    questions: int  # of a text at a length, at most


def telling(track: Track) -> Telling | None:
    """What paired differences of two methods' found numbers tell apart; None where none has an interval."""
    exact = track.answers[track.answers["metric"] == "exact"]
    halves, far = defaultdict[int, list[float]](list), list[Share]()
    for (length, _, _), share in found(exact, list(exact["length"])).pairs.items():
        if share.half is not None:
            halves[int(length)].append(share.half)
        if share.texts >= FEWEST and abs(share.value) > FAR - 1e-9:
            far.append(share)
    if not halves:
        return None
    counts = exact.groupby(["method", "length", "text"]).size()
    return Telling(
        {length: float(np.median(halves[length])) for length in sorted(halves)},
        sum(map(len, halves.values())),
        len(far),
        sum(share.separated for share in far),
        int(exact.groupby("method")["text"].nunique().max()),
        int(counts.max()),
    )


def told_apart(track: Track) -> list[str]:
    """The same in sentences; none where there is nothing to say."""
    board = telling(track)
    if board is None:
        return []
    halves = ", ".join(f"{half:.2f} at {length:,}" for length, half in board.halves.items())
    said = [
        f"Half of the 95 % interval of a difference between two methods' found numbers, by length in tokens: {halves}. "
        f"Each is a median over pairs of methods, {counted(board.pairs, 'pair')} in all, of at most {board.texts} "
        f"texts with {board.questions} questions."
    ]
    if board.far:
        said.append(
            f"Of {counted(board.far, 'pair')} at least {FAR} apart at one length, {board.told} "
            f"{'is' if board.told == 1 else 'are'} told apart: their intervals lie beside 0."
        )
    return said


def remarks(track: Track) -> list[str]:
    """What these numbers say of the questions and of the costs, in sentences."""
    return [*told_apart(track), *on_questions(track), *on_costs(track)]


def told(track: Track) -> list[str]:
    """The same as a paragraph; none where there is nothing to say."""
    return [" ".join(said)] if (said := remarks(track)) else []


def on_questions(track: Track) -> list[str]:
    """What the unextended model finds, and which questions say little."""
    said = []
    alone = levels_by_length(track)
    base = alone[(alone["method"] == BASE) & (alone["length"] <= track.trained)].sort_values("length")
    if len(base):
        levels = " and ".join(f"{row.value:.2f} at {row.length:,} tokens" for row in base[-2:].itertuples())
        said.append(f"Of the single needles the unextended model finds {levels}.")
    exact = track.answers[track.answers["metric"] == "exact"]
    right = exact.groupby("kind")["value"].sum()
    if never := [kind for kind in KINDS if kind in right and right[kind] == 0]:
        said.append(f"No answer to {' or '.join(never)} has every number right.")
    keys = exact[(exact["kind"] == "multi_key") & (exact["value"] == 1)]
    if len(keys):
        last = int((keys["depth"] == exact.loc[exact["kind"] == "multi_key", "depth"].max()).sum())
        said.append(
            f"Of {counted(len(keys), 'right answer')} to multi_key, {last} asked for the last key of the text."
        )
    return said


def on_costs(track: Track) -> list[str]:
    """How exact ratios of cost are, and the bytes of the unextended model's cache."""
    costs = {line.method: line.costs for line in track.lines if CACHE_RATIO in line.costs}
    if BASE not in costs:
        return []
    said = [f"The unextended model's cache takes {costs[BASE][CACHE]:,.0f} bytes a token."]
    own = [f"{costs[BASE][name]:.2f}x" for name in COSTS[:2] if name in costs[BASE]]
    like = [
        each[name]
        for method, each in costs.items()
        if each[CACHE_RATIO] == 1 and method != BASE
        for name in COSTS[:2]
        if name in each
    ]
    if own:
        others = (
            f" Methods with a cache as large compute about as much, so theirs show the noise: {min(like):.2f}x to "
            f"{max(like):.2f}x."
            if like
            else ""
        )
        said.append(f"Its ratios of time against itself are {' and '.join(own)}.{others}")
    return said
