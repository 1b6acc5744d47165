"""The order of encodings in the GRAPE paper's tables, single changes of an encoding, and what the records say."""

import pandas as pd
import streamlit as st

from pebench.leaderboard.app.widgets import COLUMNS, NUMBER, download, open_board, records_of, show_frame
from pebench.leaderboard.reports import claims, variants

PAPER = {
    f"paper_{size}": NUMBER(
        f"paper, {size}",
        format="%+.2f",
        width=84,
        help="Lead of the first encoding in the paper's table, in points.",
    )
    for size in claims.TABLES
}
NUMBERS = {"difference": 74, "low": 58, "high": 58}  # pixels
SIDES: dict[str, object] = {
    "pair": st.column_config.TextColumn("first > second", width=208),
    "quantity": st.column_config.TextColumn("here", width=114),
    "verdict": st.column_config.TextColumn(
        "verdict", width=150, help="It stands only where both sides measure the same quantity."
    ),
    **{name: NUMBER(name, format="%+.3f", width=width) for name, width in NUMBERS.items()},
}
PHASES = {
    f"{phase}_{number}": NUMBER(f"{title}, {number}", format="%+.3f")
    for phase, title in (("at_length", "at L"), ("beyond", "beyond L"))
    for number in ("difference", "low", "high", "p")
}
VERDICTS = {
    "at_length_verdict": st.column_config.TextColumn("at L the variant is"),
    "beyond_verdict": st.column_config.TextColumn("beyond L the variant is"),
}
ORDER = (
    *("first", "second", "verdict", "quantity", "models", "same_quantity"),
    *("difference", "low", "high", "p", "seeds", "paper_quantity", *PAPER, "claim"),
)
# On the page both sides stand where no one scrolls: the pair in one column, the verdict says whether both are the same.
SHOWN = (
    *("pair", "quantity", "difference", "low", "high", *PAPER, "verdict"),
    *("p", "seeds", "models", "paper_quantity", "claim"),
)


def show() -> None:
    st.title("Orders in the GRAPE paper")
    board = open_board()
    frame = claims.judged(board)
    if frame.empty:
        st.info("No claim can be judged yet: a claim needs results of both its encodings.")
    else:
        st.markdown(
            f"The paper (arXiv:2512.07805) measures {claims.PAPER}: averages over seven zero-shot tasks, one seed, "
            "models of 355M and 770M parameters, a sampling error of about half a point. The same quantity here is "
            f"{claims.OURS.title}: how well text is predicted at the training length. Only there a verdict stands, "
            "corrected for the number of claims (Holm, 5 %). A second line of each claim shows "
            f"{claims.BESIDE.title}, which the paper does not measure: *{claims.OTHER}*. *Not separated* does not mean "
            "equal. Where the paper's figure is negative, its own table says the opposite of the line."
        )
        listed(frame[list(ORDER)], "claims")
    changed = variants.judged(board)
    if not changed.empty:
        st.header("One change at a time")
        st.markdown(
            "Encodings that differ from another one in a single choice; the first is the variant. All tasks at L and "
            "all tasks beyond L are two quantities, each with its verdict, corrected for all lines of both (Holm, "
            f"5 %). A *{claims.PREVIEW}* has fewer than two seeds in some task: neither an interval nor a verdict."
        )
        listed(changed, "variants")
    if pairs := [*frame["first"], *frame["second"], *changed["first"], *changed["second"]]:
        records_of(pairs)


def listed(frame: pd.DataFrame, name: str) -> None:
    """The table of these pairs, to read and to download."""
    table = frame.assign(pair=frame["first"].str.cat(frame["second"], sep=" > "))
    if "quantity" in table:
        table["quantity"] = table["quantity"].str.replace("`", "")
        table = table[list(SHOWN)]
    else:
        table = table[["pair", *frame.columns.drop(["first", "second"])]]
    show_frame(table, {**COLUMNS, **PAPER, **SIDES, **PHASES, **VERDICTS})
    download(frame, name)
