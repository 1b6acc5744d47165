"""The order of encodings in the GRAPE paper's tables, single changes of an encoding, and what the records say."""

import pandas as pd
import streamlit as st

from pebench.leaderboard.app.widgets import COLUMNS, NUMBER, download, open_board, records_of
from pebench.leaderboard.reports import claims, variants

PAPER = {
    f"paper_{size}": NUMBER(f"paper, {size}", format="%+.2f", help="Points by which the first leads there.")
    for size in ("355M", "770M")
}


def show() -> None:
    st.title("Orders in the GRAPE paper")
    board = open_board()
    frame = claims.judged(board)
    if frame.empty:
        st.info("No claim can be judged yet: it takes results of both of its encodings.")
    else:
        st.markdown(
            "The paper (arXiv:2512.07805) compares averages over seven zero-shot tasks, one seed each, at 355M and "
            "770M parameters; their sampling error is about half a point. Here are the same pairs on this board: the "
            "difference of the overall scores, paired by seed, with the 95 % interval of that pair alone. The verdict "
            "is corrected for the number of lines of its table (p after Holm, 5 %); the board's tiers, which compare "
            "all pairs, ask for more. *Not separated* does not mean equal, and where the paper's figure is negative "
            "its own tables say the opposite of the line. Length generalisation and retrieval in small models is "
            "another question than the paper's, so a verdict is about this board."
        )
        listed(frame, "claims")
    changed = variants.judged(board)
    if not changed.empty:
        st.header("One change at a time")
        st.markdown(
            "Encodings that differ from another one in a single choice, judged in the same way: the first is the "
            "variant. What is read on another's weights (`rope@yarn`) shares their training, which its interval does "
            "not know: it is too wide rather than too narrow."
        )
        listed(changed, "variants")
    if pairs := [*frame["first"], *frame["second"], *changed["first"], *changed["second"]]:
        records_of(pairs)


def listed(frame: pd.DataFrame, name: str) -> None:
    """The table of these pairs, to read and to download."""
    st.dataframe(frame, hide_index=True, height="content", column_config={**COLUMNS, **PAPER})
    download(frame, name)
