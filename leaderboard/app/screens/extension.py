"""Methods of context extension on a pretrained model: loss by position, retrieval by length and depth, cost."""

import pandas as pd
import streamlit as st

from pebench.leaderboard import extension
from pebench.leaderboard.app import figures, links, rows
from pebench.leaderboard.app.widgets import (
    MAP_WIDTH,
    board_or_reason,
    download,
    draw,
    show_frame,
    shown_folders,
    tracks_of,
)
from pebench.leaderboard.printing import plain
from pebench.leaderboard.reading import BoardError

SHARES = ("exact", "found")  # metrics between 0 and 1
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
    show_frame(extension.numbers(track), rows.METHODS, intervals=extension.ENDS)
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
    draw(figures.method_curves(track, frame, extension.LOSS_AXIS), "extension-loss")
    st.caption(extension.LOSS_CURVES)
    download(frame, "extension-loss")


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
    columns, shown = extension.kind_table(track)
    show_frame(pd.DataFrame(shown, columns=columns))
    st.caption(f"{extension.BY_KIND}. {extension.NO_CHOICE}")
    download(extension.by_kind(track), "extension-kinds")


def found(track: extension.Track, kind: str) -> None:
    """The share of one kind of questions that is answered, by length."""
    frame = extension.levels_by_length(track, kind)
    if frame.empty:
        return
    draw(figures.method_curves(track, frame, extension.FOUND_AXIS), "extension-found")
    st.caption(extension.FOUND_CURVES)
    download(frame, "extension-found")


def costs(track: extension.Track) -> None:
    """Time and memory at the end of the longest text."""
    frame = extension.cost_frame(track)
    if frame.empty:
        return
    st.header("Cost")
    show_frame(frame, rows.METHOD_COSTS)
    download(frame, "extension-cost")


def maps(track: extension.Track, frame: pd.DataFrame) -> None:
    """Heat maps of length and depth, a method each."""
    there = set(frame["method"])
    methods = [line.method for line in track.lines if line.method in there]
    chosen = links.pick_many("Methods", methods, "methods", what="method", default=methods[:FIRST])
    placed = frame.assign(place=frame["depth"].map("depth {:.2f}".format)).sort_values("depth")
    with st.container(horizontal=True):
        for method in chosen:
            draw(
                figures.heat_map(placed[placed["method"] == method], method),
                f"extension-map-{method}",
                width=MAP_WIDTH,
            )
    st.caption("Depth 0 is the beginning of the text. Each field is the mean over texts.")
