"""How a rank comes about, and how sure it is."""

import streamlit as st

from pebench.leaderboard import ranking
from pebench.leaderboard.app import figures, views
from pebench.leaderboard.app.widgets import COLUMNS, NUMBER, download, draw, open_board
from pebench.leaderboard.board import Board
from pebench.leaderboard.printing import plain
from pebench.leaderboard.reports import seeds

METHOD = f"""
1. **One scale.** Every answer of every task is scored between what one can get *without reading the
   input* (0) and what an oracle gets (1), under the same condition.
2. **Equal weights.** Scores are averaged over the conditions of a length (for example the depths of a
   needle), then over the lengths, then over the tasks of a family, then over the families. Speed is
   shown beside and never mixed in.
3. **Pairs.** All encodings train on the same batches from the same weights, seed by seed. So they are
   compared seed by seed within each task, and only on conditions that both have. Where one lacks seeds, what those
   do to all is taken out by least squares, from the encodings that have them. What is missing (a length that an
   encoding is not defined at) is missing and never zero; *coverage* shows it. A rank needs a result in
   every family and {ranking.MIN_COVERAGE:.0%} of the conditions. The order is that of the mean
   advantage over all others.
4. **Intervals.** Each task trains models of its own, so its seeds count by themselves, and tasks may have
   different numbers of them. The 95 % confidence interval covers, for each task, the part that a seed gives to all
   encodings, the part of a run alone, and the sampling of the test answers. P(best) is the share of
   {ranking.DRAWS} draws of these parts in which an encoding has the largest advantage. A run that diverged counts as
   missing, and is named.
5. **Few seeds.** A rank, a tier, P(best) and a p-value need two seeds in every task that counts. An encoding with
   fewer is a *preview*: a score without a place. Three seeds say little about how much an encoding varies. The
   estimate is drawn towards the mean of all encodings, plus its standard error, by as much as their variances agree
   (Smyth, 2004), but never below the encoding's own. A preview gets that mean. Where every encoding has one seed
   there is no interval.
6. **Test sampling.** A share of n answers is binomial; bits per byte are a mean of n terms that vary as
   much as their mean. All encodings and seeds answer the same test items: more seeds make this part no
   smaller, and taking it as independent between encodings makes the intervals wider, not narrower.
7. **Tiers.** The best encoding begins the first tier. The first, from the best down, that a paired t-test
   separates from its tier's leader begins the next one, at {ranking.LEVEL:.0%} after Holm's correction over
   *all* pairs (because the leader is chosen after looking). The leader is the tier's best with the full number of
   seeds, unless that one is separable from one ahead of it. Encodings of a tier share a rank.
8. **Certificate.** An encoding that fails a check (it sees the future, its cached decoding differs ...)
   is listed with its numbers and gets no rank.
9. **Gate.** *Learned* is the share of runs that pass the task's gate on the training distribution.
   Length curves leave out those that do not: a model that did not learn the task has nothing to
   extrapolate.
10. **Tasks are a sample too.** P(best) *by tasks* also draws the tasks anew, within their families. A separated pair
   does not survive another choice of tasks if 0 lies within 95 % of these draws. A family of one task borrows the
   deviations of the other families' tasks.
11. **Influence.** Equal weights are not equal influence: families with larger differences decide more. The board's
   notes print each family's share of the variance; other orders are below and in `pebench board --order`.
12. **Processors.** Another kind of processor rounds differently and trains another model from the same seed. A record
   is *verified* if it came out equal on the same kind, or within seed spread on another.
"""

SPREAD = {
    "within": NUMBER("between seeds", format="%.3f"),
    "largest": NUMBER("largest", format="%.3f"),
    "between": NUMBER("between encodings", format="%.3f"),
    "agree_low": NUMBER("orders agree, least", format="%.2f"),
    "agree_high": NUMBER("orders agree, most", format="%.2f"),
}


def show() -> None:
    st.title("How a rank comes about")
    board = open_board()
    st.markdown(METHOD)
    sure(board)
    by_seed(board)
    other_ways(board)


def sure(board: Board) -> None:
    """Each encoding and the next, in words and as a table."""
    st.subheader("How sure is the order?")
    sentences = views.how_sure(board)
    if not sentences:
        st.info("Nothing to compare: fewer than two encodings have a rank.")
        return
    st.markdown("\n".join(f"- {plain(sentence)}" for sentence in sentences))
    st.caption(
        "Each encoding and the next, best first. `p` is corrected for all pairs (Holm). `seeds_needed`: with so "
        "many seeds a difference this large would be found four times out of five; empty: separated already, "
        "or over 1000."
    )
    table = ranking.neighbours(board.ranking)
    st.dataframe(table, hide_index=True, height="content", column_config=COLUMNS)
    download(table, "neighbours")


def by_seed(board: Board) -> None:
    """How much runs of one encoding differ, task by task."""
    frame = seeds.spread(board.ranking)
    if frame.empty:
        return
    st.subheader("What does a seed change?")
    st.caption(
        "Standard deviations of the scores of one encoding between its seeds (and `whose` is the largest) and of the "
        "encodings' means, and Spearman's rank correlations of two seeds' orders. Where seeds differ as much as "
        "encodings do, a task tells the best from the worst and no more."
    )
    st.dataframe(frame, hide_index=True, height="content", column_config=COLUMNS | SPREAD)
    download(frame, "seeds")


def other_ways(board: Board) -> None:
    """The order under other aggregations, and what mean ranks alone would say."""
    st.subheader("Would another way to count change it?")
    orders = ranking.other_orders(board.ranking)
    if len(orders) < 2:
        st.info("Fewer than two encodings have every condition.")
        return
    st.caption(
        "Places of the encodings with full coverage under other aggregations. Where they differ, the order is "
        "a matter of taste."
    )
    agreement = ranking.agreement(orders)
    orders = orders.reset_index()
    st.dataframe(orders, hide_index=True, height="content", column_config=COLUMNS)
    download(orders, "orders")
    st.caption(
        "`tau` (Kendall): 1 is the order of this board, 0 is unrelated to it. `moves`: the most places that an "
        "encoding rises or falls."
    )
    st.dataframe(agreement, hide_index=True, column_config=COLUMNS)
    download(agreement, "agreement")
    st.subheader("Mean ranks alone")
    means = views.mean_ranks(board)
    draw(figures.critical_difference(means.ranks, means.distance, means.cliques), "ranks")
    st.caption(
        "Mean rank over tasks, best on the left; a thick bar joins encodings that Nemenyi's test does not separate "
        f"(critical difference {means.distance:.2f}; Friedman's test that all are alike: p = {means.friedman:.2g}). "
        "It sees the order within each task and not how large a difference is: with few tasks it separates little."
    )
