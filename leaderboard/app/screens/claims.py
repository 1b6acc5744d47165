"""The order of encodings in the GRAPE paper's tables, single changes of an encoding, and what the records say."""

import streamlit as st

from pebench.leaderboard.app import rows, views
from pebench.leaderboard.app.widgets import download, open_board, records_of, show_plain
from pebench.leaderboard.reports import claims, variants

ORDER = (
    *("first", "second", "verdict", "quantity", "models", "same_quantity"),
    *("difference", "low", "high", "p", "seeds", "paper_quantity"),
    *(*(f"paper_{size}" for size in claims.TABLES), "claim"),
)


def show() -> None:
    st.title("Orders in the GRAPE paper's tables")
    board = open_board()
    frame, ours = claims.judged(board), claims.ours(board).title
    if frame.empty:
        st.info("No claim can be judged yet: a claim needs results of both its encodings.")
    else:
        st.markdown(
            f"The paper (arXiv:2512.07805) measures {claims.PAPER}: averages over seven zero-shot tasks, one seed, "
            "models of 353M and 770M parameters, a sampling error of about half a point. The nearest quantity here is "
            f"{ours}: how well text is predicted at the training length. It is not downstream accuracy. Only there a "
            "verdict stands, corrected for the number of claims with one (Holm, 5 %). A second line of each claim "
            f"shows {claims.BESIDE.title}, which the paper does not measure: *{claims.OTHER}*. *Not separated* does "
            "not mean equal. Where the paper's figure is negative, its own table says the opposite of the line."
        )
        for quantity, models in dict(zip(frame["quantity"], frame["models"], strict=True)).items():
            st.caption(views.quoted(f"{quantity}: {models}."))
        show_plain(rows.claims_table(frame))
        download(frame[list(ORDER)], "claims")
    changed = variants.judged(board)
    if not changed.empty:
        st.header("One change at a time")
        st.markdown(
            "Encodings that differ from another one in a single choice; the first is the variant. All tasks at L and "
            "all tasks beyond L are two quantities, each with its verdict, corrected for all lines of both (Holm, "
            f"5 %). A *{claims.PREVIEW}* has fewer than two seeds in some task: neither an interval nor a verdict."
        )
        show_plain(rows.variants_table(changed))
        download(changed, "variants")
    if pairs := [*frame["first"], *frame["second"], *changed["first"], *changed["second"]]:
        records_of(pairs)
