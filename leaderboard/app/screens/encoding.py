"""All that is known of one encoding, down to the record of each number."""

import re
from typing import Any

import pandas as pd
import streamlit as st

from pebench.leaderboard import about
from pebench.leaderboard.app import links, views
from pebench.leaderboard.app.screens.pictures import show_pictures
from pebench.leaderboard.app.widgets import COLUMNS, download, open_board, show_frame, show_raw, shown_folders
from pebench.leaderboard.printing import plain

REPORTED = ("reads content", "relative range", "left padding", "cost of a cached token")  # these cannot fail


def show() -> None:
    board = open_board()
    name = links.pick("Encoding", [entry.name for entry in board.entries], "encoding")
    entry = next(e for e in board.entries if e.name == name)
    card, parts = board.cards[name], views.one(board, name)
    asked = "FILE.py:CLASS" if name in board.own else name
    links.demand("file", list(parts["runs"]["file"]), "record")
    st.title(plain(entry.title or name))
    st.caption(f"{plain(name)} · {plain(entry.family)} · kernel {plain(entry.kernel)} · {paper(entry.paper)}")
    formula(text(card, "formula"))
    for paragraph in text(card, "about").split("\n\n"):
        st.markdown(plain(paragraph))
    standing(entry)
    quantities = views.quantities(entry)
    if len(quantities):
        show_frame(quantities, COLUMNS)
    if len(parts["families"]):
        show_frame(parts["families"], COLUMNS)
    st.subheader("Costs")
    costs = views.costs(entry)
    if len(costs):
        show_frame(costs, {"value": COLUMNS["value"]})
    elif about.task(board.profile, "throughput"):
        st.info(f"Not measured yet: `pebench run --profile {board.profile} -e {asked} -t throughput`.")
    else:
        st.info(f"{board.profile} measures no cost.")
    st.subheader("Certificate")
    claims = [claim for claim in ("relative", "norm_preserving") if card.get(claim) is True]
    st.caption(f"Claims: {plain(', '.join(claims)) or 'none'}. Each claim is among the checks.")
    if parts["certificate"].empty:
        st.info(f"Not checked yet: `pebench run --profile {board.profile} -e {asked} -t certificate`.")
    else:
        badges(parts["certificate"])
        with st.expander("What was measured"):
            show_frame(parts["certificate"], height="auto")
    show_pictures(shown_folders(), board.profile, name, asked)
    st.subheader("Source")
    with st.expander(plain(text(card, "file") or "no source in the records")):
        st.code(text(card, "source"), language="python")
    st.subheader("Records")
    show_raw(parts["runs"])
    download(parts["runs"], f"{name}-runs")
    file = links.pick("Provenance of", list(parts["runs"]["file"]), "file", what="record")
    run = parts["runs"].set_index("file").loc[file]
    if run["reason"]:
        st.warning(plain(f"{run['outcome']}: {run['reason']}"))
    st.caption("The command that reproduces it:")
    st.code(run["command"], language=None)
    show_frame(views.run_facts(parts["runs"], file), height="auto")
    with st.expander("Every number of this record"):
        scores = parts["scores"][parts["scores"]["file"] == file].drop(columns="file")
        show_raw(scores)
        download(scores, f"{name}-scores")


def standing(entry: Any) -> None:
    """Rank, score and what qualifies them."""
    with st.container(horizontal=True):
        st.metric("Tier", entry.tier or "none", border=True)
        st.metric("Score", "none" if entry.score is None else f"{entry.score:.3f}", border=True)
        if entry.low is not None and entry.high is not None:
            st.metric("95 % interval", f"{entry.low:.3f} to {entry.high:.3f}", border=True)
        st.metric("Coverage", f"{entry.coverage:.0%}", border=True)
        st.metric("Seeds", entry.seeds, border=True)
        st.metric("Certificate", entry.certificate, border=True)
        if entry.verified:
            share = f"{entry.verified:.0%}"
            st.metric("Verified", share, border=True, help="Records that came out the same again.")
    for reason in [entry.reason, *entry.failed_runs]:
        if reason:
            st.warning(plain(reason))


def badges(checks: pd.DataFrame) -> None:
    """One for each check of the certificate; those that only report say what."""
    with st.container(horizontal=True, gap="small"):
        for check in checks.itertuples():
            if check.check in REPORTED:
                st.badge(plain(f"{check.check}: {check.detail}"), color="blue")
            elif check.passed:
                st.badge(plain(check.check), icon=":material/check:", color="green", help=plain(check.detail))
            else:
                st.badge(plain(check.check), icon=":material/close:", color="red", help=plain(check.detail))


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
