"""Methods of context extension on a pretrained model: loss by position, retrieval by length and depth, cost."""

import pandas as pd
import streamlit as st

from pebench.leaderboard.app import figures, links
from pebench.leaderboard.app.widgets import (
    MAP_WIDTH,
    NUMBER,
    board_or_reason,
    download,
    draw,
    show_frame,
    shown_folders,
    tracks_of,
)
from pebench.leaderboard.board import BoardError
from pebench.leaderboard.printing import plain
from pebench.leaderboard.reports import extension

SHARES = ("exact", "found")  # metrics between 0 and 1
FORMATS = {
    **{name: NUMBER(name, format="%.3f") for name in ("loss up to L", "loss beyond L")},
    **{name: NUMBER(name, format="%.2f") for name in ("found up to L", "found beyond L")},
    **{name: NUMBER(name, format="%.1f") for name in (*extension.TIMES, "bytes/token")},
    "minus none's, beyond L": NUMBER("minus none's, beyond L", format="%+.3f"),
    "found minus none's, beyond L": NUMBER("found minus none's, beyond L", format="%+.2f"),
}
COSTS = {
    "prefill_ratio": NUMBER("prefill, x none", format="%.1f"),
    "decode_ratio": NUMBER("decode, x none", format="%.1f"),
    "prefill_speed": NUMBER("prefill, tokens/s", format="%.1f"),
    "decode_speed": NUMBER("decode, tokens/s", format="%.1f"),
    "cache_bytes": NUMBER("cache, bytes/token", format="%d"),
    "cache_ratio": NUMBER("cache, x none", format="%.1f"),
}
FIRST = 4  # methods whose maps are drawn at first


def show() -> None:
    st.title("Extended contexts")
    board = board_or_reason()  # a folder of this track alone has none
    try:
        profile = links.pick("Profile of the track", extension.profiles(shown_folders()), "track")
        tracks, unreadable = tracks_of(profile)
    except BoardError as e:
        if isinstance(board, str):
            st.error(plain(board))
        else:
            st.info(plain(str(e)))
        return
    if isinstance(board, str):  # no board has told of them
        for file in unreadable:
            st.warning(f"Unreadable and left out: {plain(str(file.path))}: {plain(file.reason)}")
    names = {extension.label(each): each for each in tracks}
    track = names[links.pick("Model", list(names), "model")]
    st.markdown(plain(extension.heading(track)))
    for note in track.notes:
        st.warning(plain(note))
    st.caption(plain(extension.LEGEND))
    show_frame(extension.numbers(track), FORMATS, intervals=extension.ENDS)
    for said in extension.told(track):
        st.caption(plain(said))
    download(extension.to_frame([track]), "extension")
    losses(track)
    retrieval(track)
    costs(track)


def losses(track: extension.Track) -> None:
    """The loss of each stretch of the texts."""
    frame = extension.losses_by_method(track)
    if frame.empty:
        return
    st.header("Loss by position")
    curves(track, frame, "loss, nats a token", "extension-loss")
    st.caption(
        "Each point is the mean loss of the tokens since the point before. Bars span the texts, and are no intervals. "
        "Books are held out by document. The model may have read them in its training, and all methods share that."
    )
    download(frame, "extension-loss")


def curves(track: extension.Track, frame: pd.DataFrame, title: str, name: str) -> None:
    """A curve for each method over the length, its colour the same on all figures of the page."""
    looks = figures.Looks(line.method for line in track.lines)
    drawn = frame.rename(columns={"method": "encoding"})
    draw(figures.curves(drawn, "length", "tokens", title, looks, track.trained), name)


def retrieval(track: extension.Track) -> None:
    """What was found, by length and depth."""
    every = extension.retrieval_by_length(track)
    if every.empty:
        return
    st.header("Hidden numbers")
    by_kind(track)
    kind = links.pick("Needles", extension.KINDS, "kind")
    found(track, kind)
    metrics = sorted(every.loc[every["kind"] == kind, "metric"].unique())
    metric = links.pick("Measured by", metrics, "measure")
    frame = every[(every["kind"] == kind) & (every["metric"] == metric)]
    if frame["depth"].notna().any() and metric in SHARES:
        maps(track, frame)
    frame = frame.pivot_table(index=["method", "depth"], columns="length", values="value", dropna=False)
    shown = frame.dropna(how="all").reset_index()
    shown.columns = [str(column) for column in shown.columns]
    show_frame(shown)
    st.caption("Rows are methods and depths (0 the beginning of the text), columns lengths in tokens.")
    download(shown, "extension-retrieval")


def by_kind(track: extension.Track) -> None:
    """What was found of each kind of question."""
    columns, rows = extension.kind_table(track)
    show_frame(pd.DataFrame(rows, columns=columns))
    st.caption(f"{extension.BY_KIND}. A question of several numbers has no choice.")
    download(extension.by_kind(track), "extension-kinds")


def found(track: extension.Track, kind: str) -> None:
    """The share of one kind of questions that is answered, by length."""
    frame = extension.levels_by_length(track, kind)
    if frame.empty:
        return
    drawn = frame.assign(**{end: frame[end].fillna(frame["value"]) for end in ("low", "high")})
    curves(track, drawn, "share found", "extension-found")
    st.caption(
        "The share of questions with every number right. Bars are 95 % intervals. A mark without a bar is of one text, "
        "or all its answers are equal."
    )
    download(frame, "extension-found")


def costs(track: extension.Track) -> None:
    """Time and memory at the end of the longest text."""
    frame = pd.DataFrame([{"method": line.method, **line.costs} for line in track.lines if line.costs])
    if frame.empty:
        return
    st.header("Cost")
    show_frame(frame, {name: column for name, column in COSTS.items() if name in frame})
    download(frame, "extension-cost")


def maps(track: extension.Track, frame: pd.DataFrame) -> None:
    """Heat maps of length and depth, a method each."""
    there = set(frame["method"])
    methods = [line.method for line in track.lines if line.method in there]
    chosen = links.pick_many("Methods", methods, "methods", what="method", default=methods[:FIRST])
    rows = frame.assign(place=frame["depth"].map("depth {:.2f}".format)).sort_values("depth")
    with st.container(horizontal=True):
        for method in chosen:
            draw(
                figures.heat_map(rows[rows["method"] == method], method),
                f"extension-map-{method}",
                width=MAP_WIDTH,
            )
    st.caption("Depth 0 is the beginning of the text. Each field is the mean over texts.")
