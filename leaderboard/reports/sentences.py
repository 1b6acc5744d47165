"""What the records say in sentences: each is a predicate over a board, and a text with its figures.

A sentence whose predicate does not hold, or whose data are not there, is not printed. Each names its quantity, lengths
and seeds. At L and beyond L are never mixed.
"""

from collections.abc import Callable, Sequence
from itertools import product

import numpy as np

from pebench.leaderboard.board import Board
from pebench.leaderboard.ranking import FEWEST, LEVEL, holm
from pebench.leaderboard.reports import claims, published, quantities, variants
from pebench.leaderboard.reports.quantities import (
    ALL,
    Gap,
    Quantity,
    measured,
    raw_means,
    size,
    train_lengths,
    trained_at,
)
from pebench.leaderboard.reports.validity import Agreement, validity
from pebench.leaderboard.reports.validity_tables import interval
from pebench.leaderboard.reports.vocabulary import AT, BEYOND
from pebench.suite.results.metrics import counted

DECAYS = ("grape_a_qk", "kerple_log", "fox", "alibi")
ROTATIONS = ("rope", "p_rope", "grape_m_nonctx")
SINGLE = "Intervals of 95 % are of single differences; verdicts are corrected (Holm, 5 %)."
SOURCES = 5  # fewer agree by chance, and their interval is too narrow


def in_short(board: Board) -> list[str]:
    """The sentences that hold on this board, what was measured first."""
    return [text for sentence in SENTENCES if (text := sentence(board))]


def scope(board: Board) -> str:
    """What was measured: sizes, lengths, seeds."""
    lengths = train_lengths(board)
    tasks = sorted(set(board.ranking.data.tasks) & lengths.keys())
    if not tasks:
        return ""
    rows = board.scores[board.scores["score"].notna() & board.scores["task"].isin(tasks)]
    times = rows["length"] / rows["task"].map(lengths).astype(float)
    at, farthest = rows["task"][times == 1].nunique(), times.groupby(rows["task"]).max()
    beyond = counted(rows["task"][times > 1].nunique(), "task")
    to = " to ".join(dict.fromkeys(f"{x:.3g}" for x in (farthest.min(), farthest.max())))
    previews = sum(entry.preview for entry in board.entries)
    sure = len(board.ranking.data.encodings) - previews
    return (
        f"Measured: {counted(len(tasks), 'task')}, {size(board)} a model, trained at {trained_at(board)}. Scored at L: "
        f"{counted(at, 'task')}. Scored beyond L: {beyond}, at most at {to} L. Two seeds or more in every task: "
        f"{counted(sure, 'encoding')}. Fewer: {counted(previews, 'preview')}, which no sentence here compares."
    )


def decays_score_higher(board: Board) -> str:
    """Beyond L the decaying biases score higher than the rotations that are named."""
    quantity = Quantity(ALL, BEYOND)
    sure = {entry.name for entry in board.entries if not entry.preview}
    decaying, rotating = ([name for name in names if name in sure] for names in (DECAYS, ROTATIONS))
    pairs = list(product(decaying, rotating))
    if min(len(decaying), len(rotating)) < 2:
        return ""
    gaps = _gaps(board, quantity, pairs)
    if gaps is None or not all(gap.difference > 0 and p < LEVEL for gap, p in gaps):
        return ""
    mean = measured(board, quantity).mean
    decays, rotations = (", ".join(f"`{n}` {mean[n]:.2f}" for n in names) for names in (decaying, rotating))
    return (
        f"Beyond L, averaged over {quantities.scope(board, BEYOND)}, {len(decaying)} biases that decay with "
        f"distance score higher than {len(rotating)} rotations: {decays}, against {rotations}. Each of the "
        f"{len(pairs)} pairs is separated (Holm, 5 %; {_seeds(gaps)})."
    )


def language_turns_round(board: Board) -> str:
    """In language the order of RoPE and ALiBi at L is the opposite of that beyond L."""
    pair, task = [("rope", "alibi")], claims.ours(board).task
    at, beyond = (_gaps(board, Quantity(task, phase), pair) for phase in (AT, BEYOND))
    if at is None or beyond is None:
        return ""
    (first, _), (second, q) = at[0], beyond[0]
    rows = claims.judged(board)  # at L the pair is one of the paper's, corrected with them
    said = rows[rows["same_quantity"] & (rows["first"] == "alibi") & (rows["second"] == "rope")][
        "verdict"
    ].tolist()
    if said != ["lower"] or not (q < LEVEL and second.difference < 0):
        return ""
    length = train_lengths(board)[task]
    bits = raw_means(board, pair[0], task, "bits_per_byte", length)
    if bits is None:
        return ""
    return (
        f"In `{task}` at {trained_at(board, task)} `rope` is ahead of `alibi`: {bits[0]:.2f} against "
        f"{bits[1]:.2f} bits per byte, {_signed(first)} of score ({_seeds(at)}). "
        f"Beyond L it is behind: {_signed(second)} (95 %, single differences)."
    )


def against_alibi(board: Board) -> str:
    """What biases that read the content gain on ALiBi beyond L, whichever way it comes out."""
    others = ("grape_a_qk", "fox", "grape_ap")
    gaps = _gaps(board, Quantity(ALL, BEYOND), [(name, "alibi") for name in others])
    if gaps is None:
        return ""
    cost = {entry.name: entry.costs.get("train_ratio") for entry in board.entries}
    said = [
        f"`{name}` {claims.verdict(gap.difference, p)}, {_signed(gap)}"
        + (f", {cost[name]:.2f} times RoPE's training step" if cost.get(name) else "")
        for name, (gap, p) in zip(others, gaps, strict=True)
    ]
    over = {variants.over(board, name, "alibi", BEYOND) for name in others}
    tasks = over.pop() if len(over) == 1 else "the tasks of both"
    return (
        f"Biases that read the content, against `alibi`, beyond L, averaged over {tasks} ({_seeds(gaps)}): "
        f"{'; '.join(said)}. {SINGLE}"
    )


def half_without_positions(board: Board) -> str:
    """NAPE, whose other heads have no positions, against ALiBi."""
    return _variant(
        board,
        "nape",
        "ALiBi with slopes 1/h on half of the heads, none on the others (`nape`, against `alibi`)",
    )


def rotation_beside_decay(board: Board) -> str:
    """What RoPE added to FoX does beyond L, and in language at L."""
    said = _variant(board, "rope+fox", "RoPE added to FoX (`rope+fox`, against `fox`)")
    language = claims.ours(board)
    gaps = _gaps(board, language, [("rope+fox", "fox")])
    if said and gaps is not None:
        gap, p = gaps[0]
        verdict = claims.verdict(gap.difference, p)
        said += f" In `{language.task}` at {trained_at(board, language.task)}: {verdict}, {_signed(gap)}."
    return said


def grape_tables(board: Board) -> str:
    """How the orders of the GRAPE paper's tables come out on the same quantity."""
    found = claims.tally(board)
    judged = sum(found.values())
    if not judged:
        return ""
    task = claims.ours(board).task
    carried = claims.carried()
    rest = "" if judged == len(carried) else f"; this board can judge {judged}"
    return (
        f"Of {len(claims.CLAIMS)} orders chosen here, the GRAPE paper's tables carry {len(carried)} at each size with "
        f"a figure ({claims.PAPER}, 353M and 770M parameters, one seed){rest}. `{task}` at {trained_at(board, task)} "
        f"(bits per byte, {size(board, task)}, {counted(FEWEST, 'seed')} or more) has {found['higher']} in that "
        f"direction, {found['lower']} in the other, {found['not separated']} not separated (Holm, 5 %)."
    )


def nope_does_not_learn(board: Board) -> str:
    """NoPE on copy is a training failure."""
    runs = board.runs[(board.runs["encoding"] == "nope") & (board.runs["task"] == "copy")]
    runs = runs.dropna(subset=["gate", "threshold"]).sort_values("seed")
    if len(runs) < FEWEST or runs["learned"].astype(bool).any():
        return ""
    gates = ", ".join(f"{gate:.2f}" for gate in runs["gate"])
    return (
        f"`nope` does not learn `copy` at {trained_at(board, 'copy')}: exact match {gates} "
        f"({counted(len(runs), 'seed')}; the gate is {runs['threshold'].iloc[0]:g}). "
        "Its score beyond L says nothing about extrapolation."
    )


def published_orders(board: Board) -> str:
    """How far published tables agree, and where the board is no evidence."""
    v = validity(board, published.read())
    kinds = {kind.kind: kind.all for kind in v.kinds}
    named = ("perplexity beyond L", "perplexity at L", "downstream at L")
    if any(name not in kinds or kinds[name].tau is None for name in named) or v.within_class.tau is None:
        return ""
    parts = [
        *((name, kinds[name]) for name in named),
        ("pairs inside one class of encodings", v.within_class),
    ]
    said = (
        f"Against {v.compared} of {counted(v.tables, 'published table')}, of {v.total.sources} of "
        f"{counted(v.sources, 'source')} (tau: +1 the same order, -1 "
        f"the opposite; 95 % over sources): {'; '.join(f'{name} {_tau(found)}' for name, found in parts)}."
    )
    sure = [name for name, found in parts[:-1] if found.sources >= SOURCES and (found.low or 0) > 0]
    inside = v.within_class
    if sure and inside.sources >= SOURCES and inside.low is not None and inside.low <= 0:
        said += (
            f" So by {' and '.join(sure)} this board orders encodings as published. By the other named quantities, and "
            "inside a class, it is no evidence."
        )
    return said


def _tau(found: Agreement) -> str:
    many = found.low is not None
    return (
        f"{found.tau:+.2f} ({interval(found.low, found.high) if many else counted(found.sources, 'source')})"
    )


SENTENCES: tuple[Callable[[Board], str], ...] = (
    scope,
    decays_score_higher,
    against_alibi,
    half_without_positions,
    rotation_beside_decay,
    language_turns_round,
    grape_tables,
    nope_does_not_learn,
    published_orders,
)


def _variant(board: Board, name: str, told: str) -> str:
    """What a variant does beyond L, where that is separated after the correction of the table of variants."""
    rows = variants.judged(board)
    found = rows[rows["first"] == name].to_dict("records")
    if not found or found[0]["beyond_verdict"] not in ("higher", "lower"):
        return ""
    row = found[0]
    beyond, at = (
        claims.signed(*(row[f"{phase}_{number}"] for number in ("difference", "low", "high")))
        for phase in ("beyond", "at_length")
    )
    pair = row["first"], row["second"]
    said = (
        f"{told}: {row['beyond_verdict']} beyond L, {beyond}, averaged over {variants.over(board, *pair, BEYOND)}, "
        f"{counted(int(row['seeds']), 'seed')}."
    )
    if np.isfinite(row["at_length_difference"]):
        said += f" At L ({variants.over(board, *pair, AT)}): {row['at_length_verdict']}, {at}."
    return f"{said} {SINGLE}"


def _gaps(
    board: Board, quantity: Quantity, pairs: Sequence[tuple[str, str]]
) -> list[tuple[Gap, float]] | None:
    """Each pair's gap with its p-value (Holm over these); None where one is missing or is a preview."""
    ours = measured(board, quantity)
    gaps = [
        gap for first, second in pairs if (gap := ours.gap(first, second)) is not None and gap.p is not None
    ]
    if len(gaps) < len(pairs):
        return None
    corrected = holm(np.array([gap.p for gap in gaps], float))
    return list(zip(gaps, corrected.tolist(), strict=True))


def _seeds(gaps: Sequence[tuple[Gap, float]]) -> str:
    """The seeds of each pair, the fewest and the most."""
    few, many = (pick(gap.seeds for gap, _ in gaps) for pick in (min, max))
    return counted(few, "seed") if few == many else f"{few} to {many} seeds"


def _signed(gap: Gap) -> str:
    return claims.signed(gap.difference, gap.low, gap.high)
