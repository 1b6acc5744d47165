"""The leaderboard in a browser: one function a page, no arithmetic (that is in views.py).

Text in records is hostile: names and prose are escaped for Markdown, formulas cannot leave their block, and
nothing is ever shown as HTML.
"""

import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import pandas as pd
import streamlit as st

from pebench.leaderboard import figures, ranking, views
from pebench.leaderboard.board import Board, BoardError, cached_board, plain, safe_csv, stamp
from pebench.leaderboard.figures import Looks
from pebench.leaderboard.launch import FOLDER_VARIABLE
from pebench.suite.metrics import METRICS

DEFAULT_FOLDER = "results"
MAP_WIDTH = 260
BOUND: dict[str, Any] = {"bind": "query-params", "persist_state": "session"}  # links reproduce a view

NUMBER = st.column_config.NumberColumn
COLUMNS: dict[str, Any] = {
    "rank": NUMBER("rank", format="%d", help="Encodings of one tier share it."),
    "tier": NUMBER("tier", format="%d", help="Encodings of one tier are not separable."),
    "name": st.column_config.TextColumn("encoding", pinned=True),
    "title": st.column_config.TextColumn("title", width="medium"),
    "score": NUMBER("score", format="%.3f", help="0: without reading the input, 1: an oracle."),
    "low": NUMBER("low", format="%.3f", help="Lower end of the 95 % interval."),
    "high": NUMBER("high", format="%.3f", help="Upper end of the 95 % interval."),
    "p_best": NUMBER("P(best)", format="%.2f", help="Share of bootstrap draws in which it is the best."),
    "coverage": NUMBER("coverage", format="percent", help="Share of the conditions that were measured."),
    "learned": NUMBER("learned", format="percent", help="Share of the runs that passed the task's gate."),
    "train_ratio": NUMBER("train", format="%.2f x", help="Time of a training step over RoPE's."),
    "prefill_ratio": NUMBER("prefill", format="%.2f x", help="Time of a forward pass over RoPE's."),
    "decode_ratio": NUMBER("decode", format="%.2f x", help="Time of one cached token over RoPE's."),
    "cache_bytes": NUMBER("cache B/token", format="%.0f"),
}
SHOWN = ["tier", "name", "score", "low", "high", "p_best"]
SHOWN_LAST = ["coverage", "learned", "train_ratio", "seeds", "certificate"]


def open_board() -> Board:
    """The board that the sidebar chooses; ends the page with the remedy where there is none."""
    with st.sidebar:
        folder = st.text_input(
            "Results folder", os.environ.get(FOLDER_VARIABLE, DEFAULT_FOLDER), key="records", **BOUND
        )
        slot = st.empty()
    path = str(Path(folder or ".").expanduser())
    try:
        changed = stamp(Path(path))
        with st.spinner("Reading the records"):
            board = cached_board(path, None, changed)
        profile = slot.selectbox("Profile", list(board.profiles), key="profile", **BOUND)
        if profile != board.profile:
            board = cached_board(path, profile, changed)
    except (BoardError, OSError) as e:
        st.error(plain(str(e)))
        st.stop()
    for file in board.unreadable:
        st.warning(f"Unreadable and left out: {plain(str(file.path))}: {plain(file.reason)}")
    return board


def looks(board: Board) -> Looks:
    return Looks([entry.name for entry in board.entries])


def download(frame: pd.DataFrame, name: str) -> None:
    """A button that saves what one sees."""
    st.download_button("Download as CSV", safe_csv(frame), f"{name}.csv", "text/csv", key=f"csv-{name}")


def draw(figure: Any, key: str, width: int | Literal["stretch"] = "stretch") -> None:
    """A figure that can be saved as a picture from its own menu."""
    picture = {"toImageButtonOptions": {"format": "svg", "filename": f"pebench-{key}"}, "displaylogo": False}
    st.plotly_chart(figure, key=f"figure-{key}", config=picture, width=width)


def chosen_encodings(board: Board, key: str, count: int = 5) -> list[str]:
    """The encodings to draw; starts with the best few."""
    names = [entry.name for entry in board.entries]
    return st.multiselect("Encodings", names, default=views.few(board, count), key=key, **BOUND)


def chosen_metric(board: Board, along: str, key: str) -> tuple[str, str] | None:
    """The task and metric to draw, among those measured along length, depth or position."""
    pairs = {
        f"{task}: {METRICS[metric].title}": (task, metric) for task, metric in views.measured(board, along)
    }
    if not pairs:
        st.info(f"Nothing in this profile was measured at more than one {along}.")
        return None
    label = st.selectbox("Task and metric", list(pairs), key=key, **BOUND)
    return pairs[label]


def overview() -> None:
    st.title("Positional encodings, ranked")
    board = open_board()
    seeds = "1 seed" if len(board.seeds) == 1 else f"{len(board.seeds)} seeds"
    st.caption(
        f"Profile {board.profile}, {len(board.entries)} encodings, {seeds}. Encodings of one tier are not "
        "separable; scores run from 0 (without reading the input) to 1 (an oracle)."
    )
    with st.expander("Search, filters and columns"):
        search = st.text_input("Search", key="search", type="search", live=True, **BOUND)
        families = sorted({entry.family for entry in board.entries})
        kernels = sorted({entry.kernel for entry in board.entries})
        chosen = views.Filter(
            search=search or "",
            families=many("Family", families, "family"),
            kernels=many("Kernel", kernels, "kernel"),
            seeds=st.number_input("Seeds, at least", 0, max(1, len(board.seeds)), key="seeds", **BOUND),
            certified=st.toggle("Certificate passed", key="certified", **BOUND),
        )
        frame = views.overview(board, chosen)
        known = {**dict.fromkeys(frame.columns), **COLUMNS}
        start = [*SHOWN, *board.task_families, *SHOWN_LAST]
        columns = st.multiselect(
            "Columns",
            list(frame.columns),
            [c for c in start if c in frame],
            key="columns",
            format_func=plain,
            **BOUND,
        )
    if frame.empty:
        st.info("No encoding passes these filters.")
        return
    configuration = {c: known[c] or NUMBER(c, format="%.3f") for c in [*COLUMNS, *board.task_families]}
    state = st.dataframe(
        frame, column_order=columns, column_config=configuration, hide_index=True, height="content",
        on_select="rerun", selection_mode="multi-row", key="table",
    )  # fmt: skip
    follow([frame["name"].iloc[row] for row in state["selection"]["rows"] if row < len(frame)])
    download(frame[columns], "overview")
    draw(figures.scores(frame), "overview")
    for entry in board.entries:
        if entry.reason:
            st.caption(f"No rank: {plain(entry.name)}: {plain(entry.reason)}")
    for note in board.notes:
        st.caption(plain(note))


def many(label: str, options: Sequence[str], key: str) -> list[str]:
    """A choice of none to all; none means that it does not matter."""
    return st.pills(label, options, selection_mode="multi", key=key, format_func=plain, **BOUND)


def follow(names: Sequence[str]) -> None:
    """Links from the chosen rows to their pages."""
    if not names:
        st.caption("Tick rows to open an encoding or to compare several.")
        return
    with st.container(horizontal=True):
        for name in names[:4]:
            st.page_link(PAGES["encoding"], label=f"Open {plain(name)}", query_params={"encoding": name})
        if len(names) > 1:
            query = {"first": names[0], "others": list(names[1:])}
            st.page_link(PAGES["compare"], label="Compare these", query_params=query)


def curves() -> None:
    st.title("Length curves")
    board = open_board()
    pair = chosen_metric(board, "length", "curve")
    if pair is None:
        return
    task, metric = pair
    names = chosen_encodings(board, "encodings")
    everyone = st.toggle("Also runs that did not learn the task", key="unlearned", **BOUND)
    frame = views.by_length(board, task, metric, names, learned_only=not everyone)
    if frame.empty:
        st.info("No run of these encodings learned this task at its training length.")
        return
    draw(
        figures.curves(frame, "length", views.better(metric), looks(board), views.train_length(board, task)),
        "curves",
    )
    st.caption(
        "Lines are means over seeds, bars reach from the lowest to the highest seed. No point: not measured."
    )
    download(frame, "curves")
    st.subheader("Effective length")
    st.caption("The longest length up to which the score stays at least 0.5; 0: not even at the shortest.")
    st.dataframe(views.effective_lengths(board), hide_index=True, height="content")


def heat_maps() -> None:
    st.title("Needle: length and depth")
    board = open_board()
    pair = chosen_metric(board, "depth", "map")
    names = chosen_encodings(board, "encodings") if pair else []
    if pair is None or not names:
        return
    frame = views.by_depth(board, *pair, names)
    with st.container(horizontal=True):
        for name, rows in frame.groupby("encoding", sort=False):
            draw(figures.heat_map(rows, name), f"map-{name}", width=MAP_WIDTH)
    st.caption("Depth 0 is the beginning of the text. Empty fields were not measured.")
    download(frame, "maps")


def positions() -> None:
    st.title("Loss by position")
    board = open_board()
    pair = chosen_metric(board, "position", "loss")
    if pair is None:
        return
    task, metric = pair
    lengths = views.position_lengths(board, task, metric)
    length = st.selectbox("Text length", lengths, len(lengths) - 1, key="length", **BOUND)
    names = chosen_encodings(board, "encodings")
    frame = views.by_position(board, task, metric, length, names)
    if frame.empty:
        st.info("Not measured for these encodings at this length.")
        return
    draw(
        figures.curves(
            frame, "position", views.better(metric), looks(board), views.train_length(board, task)
        ),
        "loss",
    )
    st.caption(
        "A model that only forgets looks good at length in the mean, because few tokens are early. By position "
        "one sees whether late tokens gain from what lies further back."
    )
    download(frame, "positions")


def costs() -> None:
    st.title("Cost and quality")
    board = open_board()
    metrics = views.cost_metrics(board)
    if not metrics:
        st.info("This profile has no measurement of cost.")
        return
    cost = st.segmented_control(
        "Cost",
        metrics,
        default=metrics[0],
        required=True,
        key="cost",
        format_func=lambda m: METRICS[m].title,
        **BOUND,
    )
    frame = views.cost_quality(board, cost)
    draw(figures.cost_quality(frame, views.better(cost), looks(board)), "cost")
    st.caption("The front holds those that no other beats in both. Cost is never mixed into the score.")
    st.dataframe(frame, hide_index=True, height="content", column_config=COLUMNS)
    download(frame, "cost")


def compare() -> None:
    st.title("Compare")
    board = open_board()
    names = board.ranking.data.encodings
    best = [entry.name for entry in board.entries if entry.name in names]
    if len(best) < 2:
        st.info("A comparison needs two encodings with results.")
        return
    first = st.selectbox("Encoding", best, key="first", **BOUND)
    rest = [name for name in best if name != first]
    others = st.multiselect("minus", rest, default=rest[:1], key="others", **BOUND)
    frame = views.compare(board, first, others)
    if frame.empty:
        st.info("Choose at least one encoding to compare with.")
        return
    draw(figures.differences(frame, first, looks(board)), "compare")
    st.caption(
        "Paired by seed, on the conditions that both have, with 95 % intervals. The p-values are those of "
        "single comparisons; tiers correct for all pairs."
    )
    st.dataframe(frame, hide_index=True)
    download(frame, "compare")


def encoding() -> None:
    board = open_board()
    name = st.selectbox("Encoding", [entry.name for entry in board.entries], key="encoding", **BOUND)
    entry = next(e for e in board.entries if e.name == name)
    card, parts = board.cards[name], views.one(board, name)
    st.title(plain(entry.title or name))
    st.caption(f"{plain(name)} · {plain(entry.family)} · kernel {plain(entry.kernel)} · {paper(entry.paper)}")
    formula(text(card, "formula"))
    for paragraph in text(card, "about").split("\n\n"):
        st.markdown(plain(paragraph))
    standing(entry)
    if len(parts["families"]):
        st.dataframe(parts["families"], hide_index=True, column_config=COLUMNS)
    st.subheader("Certificate")
    claims = [claim for claim in ("relative", "norm_preserving") if card.get(claim) is True]
    st.caption(f"Claims: {plain(', '.join(claims)) or 'none'}. Each claim is among the checks.")
    if parts["certificate"].empty:
        st.info(f"Not checked yet: `pebench check {name}`.")
    else:
        st.dataframe(parts["certificate"], hide_index=True)
    st.subheader("Source")
    with st.expander(plain(text(card, "file") or "no source in the records")):
        st.code(text(card, "source"), language="python")
    st.subheader("Records")
    st.dataframe(parts["runs"], hide_index=True)
    download(parts["runs"], f"{name}-runs")
    file = st.selectbox("Provenance of", list(parts["runs"]["file"]), key="file", **BOUND)
    run = parts["runs"].set_index("file").loc[file]
    if run["reason"]:
        st.warning(plain(f"{run['outcome']}: {run['reason']}"))
    st.caption("The command that reproduces it:")
    st.code(run["command"], language=None)
    st.dataframe(views.run_facts(parts["runs"], file), hide_index=True)
    with st.expander("Every number of this record"):
        st.dataframe(parts["scores"][parts["scores"]["file"] == file].drop(columns="file"), hide_index=True)
    download(parts["scores"], f"{name}-scores")


def standing(entry: Any) -> None:
    """Rank, score and what qualifies them."""
    with st.container(horizontal=True):
        st.metric("Tier", entry.tier or "none", border=True)
        st.metric("Score", "none" if entry.score is None else f"{entry.score:.3f}", border=True)
        if entry.low is not None:
            st.metric("95 % interval", f"{entry.low:.3f} to {entry.high:.3f}", border=True)
        st.metric("Coverage", f"{entry.coverage:.0%}", border=True)
        st.metric("Seeds", entry.seeds, border=True)
        st.metric("Certificate", entry.certificate, border=True)
    for reason in [entry.reason, *entry.failed_runs]:
        if reason:
            st.warning(plain(reason))


def paper(name: str) -> str:
    """A link where the paper is on arXiv, else its escaped name."""
    number = re.fullmatch(r"arXiv:(\d{4}\.\d{4,5})", name)
    return f"[{name}](https://arxiv.org/abs/{number[1]})" if number else plain(name)


def formula(latex: str) -> None:
    """Typeset a formula; without dollar signs and line breaks it cannot end its block and become Markdown."""
    if latex:
        st.latex(" ".join(latex[:2000].replace("$", "").split()))


def text(card: dict[str, Any], key: str) -> str:
    """A text of a card, empty where the record has something else there."""
    value = card.get(key)
    return value if isinstance(value, str) else ""


def methodology() -> None:
    st.title("How a rank comes about")
    board = open_board()
    st.markdown(METHOD)
    st.subheader("How sure is the order?")
    st.caption(
        "Each encoding and the next. `p` is corrected for all pairs (Holm). `seeds_needed`: with so many seeds "
        "a difference this large would be found four times out of five; empty: separated already, or over 1000."
    )
    st.dataframe(ranking.neighbours(board.ranking), hide_index=True)
    st.subheader("Would another way to count change it?")
    st.caption(
        "Places of the encodings with full coverage under other aggregations. Where they differ, the order is "
        "a matter of taste."
    )
    st.dataframe(ranking.other_orders(board.ranking))
    ranks, distance = views.mean_ranks(board)
    if len(ranks) > 1:
        draw(figures.critical_difference(ranks, distance), "ranks")
        st.caption(
            "Mean ranks over tasks; bars that overlap are not separable by Nemenyi's test (critical difference "
            f"{distance:.1f}). It sees the order within each task alone: with few tasks it separates little."
        )


def submit() -> None:
    st.title("Submit an encoding")
    st.markdown(SUBMIT)


METHOD = f"""
1. **One scale.** Every answer of every task is scored between what one can get *without reading the
   input* (0) and what an oracle gets (1), under the same condition.
2. **Equal weights.** Scores are averaged over the conditions of a length (for example the depths of a
   needle), then over the lengths, then over the tasks of a family, then over the families. Speed is
   shown beside and never mixed in.
3. **Pairs.** All encodings train on the same batches from the same weights, seed by seed. So they are
   compared seed by seed, and only on conditions that both have. What is missing (a length that an
   encoding is not defined at) is missing and never zero; *coverage* shows it. A rank needs a result in
   every family and {ranking.MIN_COVERAGE:.0%} of the conditions. The order is that of the mean
   advantage over all others.
4. **Intervals.** A bootstrap of {ranking.DRAWS} draws resamples the seeds (the same for all encodings),
   then each encoding's own deviation from seed to seed, then the sampling of the test answers. 95 % of
   the draws lie in the interval; P(best) is the share of draws in which an encoding has the largest
   advantage. With one seed the interval covers test sampling only.
5. **Few seeds.** Three seeds say little about how much an encoding varies. The estimate is therefore
   drawn towards that of the other encodings by as much as those agree (Smyth, 2004), but never below
   its own.
6. **Test sampling.** A share of n answers is binomial; bits per byte are a mean of n terms that vary as
   much as their mean. All encodings answer the same test items; ignoring that makes the intervals
   wider, not narrower.
7. **Tiers.** The best encoding leads the first tier, and everything that a paired t-test cannot
   separate from it belongs to it, at {ranking.LEVEL:.0%} after Holm's correction over *all* pairs
   (because the leader is chosen after looking). The best of the rest leads the next one. Encodings of a
   tier share a rank.
8. **Certificate.** An encoding that fails a check (it sees the future, its cached decoding differs ...)
   is listed with its numbers and gets no rank.
9. **Gate.** *Learned* is the share of runs that pass the task's gate on the training distribution.
   Length curves leave out those that do not: a model that did not learn the task has nothing to
   extrapolate.
"""

SUBMIT = """
1. **Write it.** `pebench new my_encoding` makes a file that works. Change its formula; that one file is
   all.
2. **Check it.** `pebench check my_encoding.py` proves in seconds, before any training, that the future
   is hidden, that cached decoding equals the full forward, that every parameter learns, and each claim
   that the class makes.
3. **Run it.** `pebench run --profile QUICK -e my_encoding.py` trains and measures it in minutes. It can
   be interrupted: a second call goes on where the first one stopped.
4. **Look.** `pebench board` and this app show it among the others. For a place among encodings with
   three seeds add `--seeds 3`.
5. **Send it.** `pebench submit my_encoding.py --profile QUICK` packs the file, its card, its records and
   its hash into the folder that a pull request adds. Run it from committed code, so that the commit in
   each record is the one that others can run.
"""

# Where each page lies, its title, and what draws it.
ENTRIES: dict[str, tuple[str, Callable[[], None]]] = {
    "overview": ("Overview", overview),
    "curves": ("Length curves", curves),
    "needle": ("Needle", heat_maps),
    "positions": ("Loss by position", positions),
    "cost": ("Cost and quality", costs),
    "compare": ("Compare", compare),
    "encoding": ("One encoding", encoding),
    "methodology": ("How ranks work", methodology),
    "submit": ("Submit", submit),
}
PAGES: dict[str, Any] = {}


def main() -> None:
    """Set up the pages and run the chosen one."""
    st.set_page_config("pebench", layout="wide")
    for path, (title, page) in ENTRIES.items():
        PAGES[path] = st.Page(page, title=title, url_path=path, default=path == "overview")
    st.navigation(list(PAGES.values())).run()


if __name__ == "__main__":
    main()
