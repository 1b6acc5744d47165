"""What one change of an encoding does, at L and beyond it: each variant against its original, paired by seed."""

import numpy as np
import pandas as pd
from scipy import special

from pebench.leaderboard import ranking
from pebench.leaderboard.board import Board
from pebench.leaderboard.reports.claims import Pair, gaps, signed, verdict
from pebench.leaderboard.reports.quantities import ALL, Quantity, measured, on_other_processors, scope
from pebench.leaderboard.reports.vocabulary import AT, BEYOND

# All that the variant changes, the variant, and what it is a variant of.
VARIANTS = (
    Pair("RoPE, read with YaRN", "rope@yarn", "rope"),
    Pair("RoPE, read with NTK-aware frequencies", "rope@ntk", "rope"),
    Pair("RoPE, positions interpolated", "rope@pi", "rope"),
    Pair("RoPE with base 500,000", "rope_500k", "rope"),
    Pair("RoPE without its slowest quarter of frequencies", "p_rope", "rope"),
    Pair("RoPE on a quarter of the channels", "partial_rope", "rope"),
    Pair("RoPE with high frequencies only", "hope", "rope"),
    Pair("RoPE that decays (xPos)", "xpos", "rope"),
    Pair("RoPE with scalable softmax", "ssmax", "rope"),
    Pair("RoPE in all layers but one", "rnope", "rope"),
    Pair("RoPE in windows, and in all layers but one", "swan", "rope"),
    Pair("RoPE at positions drawn at random", "randomized", "rope"),
    Pair("RoPE with learned frequencies (GRAPE-M)", "grape_m_nonctx", "rope"),
    Pair("GRAPE-M: frequencies of each head", "grape_m_per_head", "grape_m_nonctx"),
    Pair("GRAPE-M of each head: planes learned too", "grape_m_basis", "grape_m_per_head"),
    Pair(
        "GRAPE-M: one plane per head, its frequency 16 times as fast to learn",
        "grape_m_rank2",
        "grape_m_nonctx",
    ),
    Pair(
        "GRAPE-M: planes that do not commute, frequencies 16 times as fast to learn",
        "grape_m_noncommuting",
        "grape_m_nonctx",
    ),
    Pair(
        "GRAPE-M: phases from the content, frequencies 16 times as fast to learn",
        "grape_m_ctx",
        "grape_m_nonctx",
    ),
    Pair("GRAPE-M with context: phases of each head", "grape_m_ctx_per_head", "grape_m_ctx"),
    Pair("GRAPE-M with context: softplus", "grape_m_ctx_softplus", "grape_m_ctx"),
    Pair("ALiBi with slopes 1/h on half of the heads, none on the others (NAPE)", "nape", "alibi"),
    Pair("KERPLE: power in place of logarithm", "kerple_power", "kerple_log"),
    Pair("KERPLE of each layer, corrected by an MLP (DAPE)", "dape", "kerple_log"),
    Pair("FoX, with RoPE", "rope+fox", "fox"),
    Pair("GRAPE-A: gate of the query alone", "grape_a_q", "grape_a_qk"),
    Pair("GRAPE-A: gate of the key alone", "grape_a_k", "grape_a_qk"),
    Pair("GRAPE-A: free gates", "grape_a_qk_free", "grape_a_qk"),
    Pair("GRAPE-A: modulated by a phase, without gates of query and key", "grape_a_phase", "grape_a_qk"),
    Pair("GRAPE-AP: paths without rotation", "grape_ap_still", "grape_ap"),
    Pair("GRAPE-AP: normalised on both sides", "grape_ap_both", "grape_ap"),
    Pair("GRAPE-AP: features are the queries", "grape_ap_q", "grape_ap"),
    Pair("GRAPE-AP: features are the keys", "grape_ap_k", "grape_ap"),
    Pair("GRAPE-AP: features are the values", "grape_ap_v", "grape_ap"),
    Pair("PaTH, with forget gates", "path_fox", "path"),
)


PHASES = {"at_length": Quantity(ALL, AT), "beyond": Quantity(ALL, BEYOND)}
_NUMBERS = ["difference", "low", "high", "p", "verdict"]


def judged(board: Board) -> pd.DataFrame:
    """Each variant with results of both encodings, on all tasks at L and on all tasks beyond L.

    The verdicts are corrected for all lines of both phases (Holm). Columns: change, first, second, seeds, and for each
    of at_length and beyond: _difference, _low, _high, _p, _verdict.
    """
    keys = ["about", "first", "second"]
    parts = {name: paired(board, quantity).set_index(keys) for name, quantity in PHASES.items()}
    corrected = ranking.holm(np.concatenate([frame["p"].to_numpy(float) for frame in parts.values()]))
    start = 0
    columns: dict[str, pd.Series] = {}
    for name, frame in parts.items():
        frame["p"] = corrected[start : start + len(frame)]
        start += len(frame)
        frame["verdict"] = [verdict(row.difference, row.p) for row in frame.itertuples()]
        columns |= {f"{name}_{number}": frame[number] for number in _NUMBERS}
    seeds = pd.concat([frame["seeds"] for frame in parts.values()], axis=1).min(axis=1)
    made = pd.DataFrame({"seeds": seeds, **columns}).reset_index()
    order = {pair.first: n for n, pair in enumerate(VARIANTS)}
    made = made.sort_values("first", key=lambda names: names.map(order), kind="stable", ignore_index=True)
    return made.rename(columns={"about": "change"})


def paired(board: Board, quantity: Quantity) -> pd.DataFrame:
    """The frame of `gaps` of all variants; two readings of one model are compared seed by seed.

    `about` says where an extension reads another training than its original's row. It also says where no processor
    made runs of both encodings.
    """
    frame, data = gaps(board, VARIANTS, quantity), board.ranking.data
    for at, row in frame.iterrows():
        alike = ranking.one_model(data, row["first"], row["second"]) if "@" in row["first"] else None
        if alike is False:
            frame.loc[at, "about"] = f"{row['about']}, from another training"
        elif not alike and on_other_processors(board.runs, row["first"], row["second"]):
            frame.loc[at, "about"] = f"{row['about']}, on another processor"
        elif alike:
            phase = next(name for name, of in PHASES.items() if of == quantity)
            here = ranking.only(data, (data.names["phase"] == phase).to_numpy())
            difference, *sure, seeds = readings(here, row["first"], row["second"])
            frame.loc[at, ["difference", "seeds"]] = difference, seeds
            if np.isfinite(row["p"]):  # neither is a preview, or failed its certificate
                frame.loc[at, ["low", "high", "p"]] = sure
    return frame


def readings(data: ranking.Cells, first: str, second: str) -> tuple[float, float, float, float, int]:
    """`first` minus `second` over the seeds of both, with its 95 % interval, p by Student's t-test, and the seeds.

    What a seed does to a model cancels here, as both read one. NaN for all but the difference with one seed.
    """
    a, b = (data.encodings.index(name) for name in (first, second))
    both = data.has_cell[a] & data.has_cell[b]
    gaps = (data.score[a] - data.score[b])[:, both] @ ranking.weights(data.groups, both)[both]
    gaps = gaps[np.isfinite(gaps)]
    mean, n = float(gaps.mean()), len(gaps)
    if n < ranking.FEWEST:
        return mean, np.nan, np.nan, np.nan, n
    error = float(gaps.std(ddof=1)) / n**0.5
    half = error * float(special.stdtrit(n - 1, 1 - ranking.LEVEL / 2))
    p = 2 * float(special.stdtr(n - 1, -abs(mean) / error)) if error else float(mean == 0.0)
    return mean, mean - half, mean + half, p, n


def over(board: Board, first: str, second: str, phase: str) -> str:
    """The tasks of both encodings, over which a difference at L or beyond it is averaged, in words."""
    return measured(board, Quantity(ALL, phase)).shared(first, second) or scope(board, phase)


def to_markdown(board: Board) -> str:
    """The variants as a Markdown table."""
    at, beyond = (scope(board, phase) for phase in (AT, BEYOND))
    lines = [
        f"| change | variant | of | seeds | {at} at L (95 %) | at L the variant is | {beyond} beyond L (95 %) "
        "| beyond L the variant is |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in judged(board).to_dict("records"):
        cells = [row["change"], row["first"], row["second"], f"{row['seeds']:.0f}"]
        for name, quantity in PHASES.items():
            gap, low, high = (row[f"{name}_{number}"] for number in ("difference", "low", "high"))
            fewer = measured(board, quantity).shared(row["first"], row["second"])
            said = signed(gap, low, high) + (f" ({fewer})" if fewer else "")
            cells += ["-", "-"] if pd.isna(gap) else [said, row[f"{name}_verdict"]]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)
